"""The raw tifs of a session on a server.

What belongs here: the steps of :class:`~..place.Place` as requests to the server. Every step that changes something
insists on the claim first: who has lost it, because the machine slept, changes nothing any more.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from ....errors import StorageError
from ....progress import Progress, silent
from ....session import MESO_FOLDER, ListedFile, SessionKey
from ....storage.files.atomic import HashedFile, make_folder, storage_errors
from ....storage.remote import list_below, remove, stat, upload, write_small
from ....storage.remote.servers.backend import Seen
from ....storage.remote.servers.reading import look, must_have
from ....storage.remote.sessions.claims import RemoteClaims
from ....storage.remote.sessions.store import RemoteStore
from ....storage.remote.transfers.download import Wanted, download_all
from ....storage.remote.transfers.moving import changed, move_to_new, remove_as_seen
from ....storage.remote.transfers.streaming import streamed_sha256
from ...atomic import check_room, new_file
from ...raw_times import TIMES_PATH, GivenTime, given_times, own_times, times_text, with_own_times
from ..folder import kept_tifs, not_alone, taken
from ..log import RemovalEvent, record
from ..place import Identity, KeptTif, removed_folder
from .view import metadata_among, show

_REMOVED, _RESTORING = f"{MESO_FOLDER}/removed", f"{MESO_FOLDER}/restoring"
_NAME = "raw_tifs"
#: A file that changed within this time, s, may change again within the second in which an SFTP server counts.
_YOUNG_S = 5.0


@dataclass
class OnServer:
    """See :class:`~..place.Place`.

    Parameters
    ----------
    store, key
        The session.
    session_path
        An empty folder of this machine: it shows what the session holds.
    progress
        Told the bytes that are read to check a copy.
    """

    store: RemoteStore
    key: SessionKey
    session_path: Path
    #: Path of the session below the root, and the folder with its records.
    base: str
    mirror: Path
    progress: Progress = silent
    _claims: RemoteClaims | None = None
    _times: tuple[GivenTime, ...] = ()
    #: Path below the session → entry of the last listing, as the server tells it.
    _listed: dict[str, ListedFile] = field(default_factory=dict)
    #: Path and identity → hash, of copies that were read back: a server never changes an object.
    _hashes: dict[tuple[str, Identity], str] = field(default_factory=dict)
    #: What the server said when it did not answer any more.
    _away: StorageError | None = None
    #: Folders of this machine that stand for the session.
    _stand_ins: list[Path] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where the session lies."""
        return self.store.where(self.key)

    def named(self, text: str) -> str:
        """See :class:`~..place.Place`."""
        for folder in (*self._stand_ins, self.session_path, self.session_path.parent):
            text = text.replace(str(folder), self.url)
        return text

    def _place(self, path: str) -> str:
        """Path below the root."""
        return f"{self.base}/{path}"

    def _below(self, file: Path) -> str:
        """Path below the session of what is shown."""
        return file.relative_to(self.session_path).as_posix()

    def look(self) -> None:
        """See :class:`~..place.Place`."""
        session, _ = self.store.with_records(self.key)
        listing = session.listing()
        self._times = given_times(self.mirror)
        self._listed = {file.path: file for file in listing}
        if paths := metadata_among(listing):
            self.store.local(self.key, paths)
        show(self.session_path, with_own_times(listing, self._times), self.mirror, self.url)

    # ---- who may

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See :class:`~..place.Place`; the claim is renewed while this process lives."""
        claims = RemoteClaims(
            self.store.remote, self._place(f"{MESO_FOLDER}/locks"), "removing or restoring of raw tifs"
        )
        if claims.take([_NAME]):
            raise not_alone(self.url)
        self._claims, self._away = claims, None
        try:
            self.look()
            yield
        finally:
            self._claims = None
            with suppress(StorageError):  # the server is away, and the claim ends by itself
                claims.give_all_back()

    def _insist(self) -> None:
        if self._claims is None:
            raise AssertionError("tifs are moved by who is alone only")
        self._claims.insist(_NAME)

    def doubts(self, bouts: Sequence[Path]) -> list[str]:
        """See :class:`~..place.Place`."""
        folder, remote = self._place(f"{MESO_FOLDER}/locks"), self.store.remote
        reason = remote.call("try conditions of", folder, lambda server: server.may_lose(remote.place(folder)))
        if not reason:
            return []
        return [f"{bout.name}: {reason}, so a tif that is written at that moment could be lost" for bout in bouts]

    def time_there(self, now: datetime) -> tuple[datetime, datetime]:
        """See :class:`~..place.Place`; a small file shows what time it is on the server."""
        clock = self._place(f"{MESO_FOLDER}/locks/{uuid4().hex}.clock")
        write_small(self.store.remote, clock, b"")
        seen = must_have(self.store.remote, clock)
        remove(self.store.remote, [clock])
        there = datetime.fromtimestamp(seen.mtime_ns / 1e9, UTC)
        return min(now, there), max(now, there)

    # ---- moving

    def kept(self) -> tuple[KeptTif, ...]:
        """See :class:`~..place.Place`; nothing is shown anew where nothing is kept."""
        if not list_below(self.store.remote, self._place(_REMOVED)):
            return ()
        self.look()
        return kept_tifs(self.session_path, self._moved_at)

    def _moved_at(self, path: str, status: object) -> float:  # noqa: ARG002  the folder tells nothing of that
        """When a tif was moved: where the server gave it a time then, that; else the record tells."""
        file = self._listed.get(f"{_REMOVED}/{path}")
        return 0.0 if file is None or self.store.remote.backend.renames else file.mtime_ns / 1e9

    def unsettled(self) -> list[KeptTif]:
        """See :class:`~..place.Place`."""
        return [kept for kept in self.kept() if kept.event is None or self._has_its_place(kept)]

    def _has_its_place(self, kept: KeptTif) -> bool:
        """Whether a kill came between the copy of a tif to its place and the end of what was kept."""
        there = self._listed.get(kept.path)
        if there is None or there.size != kept.size or self.store.remote.backend.renames:
            return False
        both = (self._below(kept.file), kept.path)
        one, other = (streamed_sha256(self.store.remote, self._place(path)) for path in both)
        return one == other

    def is_there(self, file: Path) -> bool:
        """See :class:`~..place.Place`."""
        if self._away is not None:  # asking for each tif would take minutes each
            raise self._away
        return self._trying(lambda: look(self.store.remote, self._place(self._below(file))) is not None)

    def _trying(self, ask: Callable[[], bool]) -> bool:
        try:
            return ask()
        except StorageError as error:
            self._away = error
            raise

    def free_place(self, path: str) -> Path:
        """See :class:`~..place.Place`."""
        file = removed_folder(self.session_path) / path
        if look(self.store.remote, self._place(self._below(file))) is not None:
            raise taken(f"{self.url}/{self._below(file)}", path)
        return file

    def take(self, path: str, file: Path, sha256: str) -> None:
        """See :class:`~..place.Place`."""
        seen, listed = must_have(self.store.remote, self._place(path)), self._listed.get(path)
        if listed is None or (seen.size, seen.mtime_ns) != (listed.size, listed.mtime_ns):
            raise changed(self.store.remote, self._place(path))
        if not self._move(path, self._below(file), sha256):
            raise taken(f"{self.url}/{self._below(file)}", path)

    def _move(self, source: str, target: str, sha256: str) -> bool:
        """Move a file of the session; where the server gives it another time, its own is recorded."""
        listed = self._listed[source]
        mtime_ns = own_times(self._times).get((source, listed.size, listed.mtime_ns))
        if mtime_ns is None and not source.startswith(f"{MESO_FOLDER}/"):
            mtime_ns = listed.mtime_ns
        read = 0

        def told(n: int) -> None:
            nonlocal read
            read += n
            self.progress(read, max(read, listed.size), "bytes of copies compared")

        def copied(there: Seen, found: str) -> None:
            self._hashes[target, _identity(there)] = found
            if mtime_ns is not None:  # else the copy was killed before its time was recorded: the tif is at its place
                self._keep_time(GivenTime(target, there.size, there.mtime_ns, mtime_ns))

        return move_to_new(
            self.store.remote,
            self._place(source),
            self._place(target),
            sha256=sha256,
            insist=self._insist,
            copied=copied,
            read=told,
        )

    def _keep_time(self, time: GivenTime) -> None:
        """Record the time of a tif that a server gave another one."""
        self._insist()
        gone = {other for other in self._times if (other.path, other.given_ns) == (time.path, time.given_ns)}
        self._times = (*(other for other in self._times if other not in gone), time)
        write_small(self.store.remote, self._place(TIMES_PATH), times_text(self._times))

    def flush_moves(self, moved: Mapping[str, Path]) -> None:
        """See :class:`~..place.Place`; a server has done what it has answered."""

    def put_back(self, path: str, file: Path) -> bool:
        """See :class:`~..place.Place`."""
        kept = self._below(file)
        return self._trying(lambda: self._put_back(path, kept))

    def _put_back(self, path: str, kept: str) -> bool:
        if kept not in self._listed:  # it was moved since the last look
            seen = must_have(self.store.remote, self._place(kept))
            self._listed[kept] = ListedFile(kept, seen.size, seen.mtime_ns)
        return self._move(kept, path, "")

    def unlink(self, file: Path, was: Identity) -> bool:
        """See :class:`~..place.Place`."""
        self._insist()
        path = self._place(self._below(file))
        seen = look(self.store.remote, path)
        if seen is None or _identity(seen) != was:
            return False
        remove_as_seen(self.store.remote, path, seen)
        return True

    def flush_freed(self, files: Iterable[Path]) -> None:
        """See :class:`~..place.Place`; a server has done what it has answered."""

    def clear_kept(self) -> None:
        """See :class:`~..place.Place`; empty folders on an SFTP server are nobody's harm."""

    def record(self, events: Iterable[RemovalEvent]) -> None:
        """See :class:`~..place.Place`."""
        self._insist()
        with self.store.recording(self.key) as folder:
            record(folder, events)

    # ---- comparing

    def flush_content(self, archive: Path, tifs: Sequence[Path]) -> None:
        """See :class:`~..place.Place`."""

    def identities(self, path: Path) -> tuple[Identity, ...]:
        """See :class:`~..place.Place`."""
        remote, place = self.store.remote, self._place(self._below(path))
        if (seen := look(remote, place)) is not None:
            return (_identity(seen),)
        found = remote.call("list", place, lambda server: list(server.below(remote.place(place))))
        return tuple(_identity(seen) for seen in sorted(found, key=lambda seen: seen.place))

    def sha256(self, tif: Path, read: Callable[[int], None]) -> str:
        """See :class:`~..place.Place`."""
        path, remote = self._below(tif), self.store.remote
        seen = look(remote, self._place(path))
        known = None if seen is None else self._hashes.get((path, _identity(seen)))
        return known or streamed_sha256(remote, self._place(path), read)

    def writer_of(self, tif: Path) -> str:
        """See :class:`~..place.Place`; an object is written whole, and SFTP tells of times in seconds only."""
        if not self.store.remote.backend.renames:
            return ""
        seen = must_have(self.store.remote, self._place(self._below(tif)))
        earliest, _ = self.time_there(datetime.now(UTC))
        young = earliest.timestamp() - seen.mtime_ns / 1e9 < _YOUNG_S
        return f"{tif.name} changed less than {_YOUNG_S:g} s ago, and may be written still" if young else ""

    @contextmanager
    def here(self, archive: Path) -> Iterator[Path]:
        """See :class:`~..place.Place`; what is in the mirror does not count: it is fetched anew."""
        path, remote = self._below(archive), self.store.remote
        paths = [path] if path in self._listed else [p for p in self._listed if p.startswith(f"{path}/")]
        seen = {p: must_have(remote, self._place(p)) for p in paths}
        with self._scratch() as folder:
            wanted = [Wanted(self._place(p), folder / p, s.size, s.mtime_ns) for p, s in seen.items()]
            with self.store.scratch.room(self.mirror, sum(file.size for file in seen.values())):
                download_all(remote, wanted, progress=self.progress)
                yield folder / path

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """Give a folder of the scratch that is gone when the block ends."""
        self.store.hold(self.key)
        folder = self.mirror / MESO_FOLDER / "work" / f"gate-{uuid4().hex}"
        make_folder(folder)
        self._stand_ins.append(folder)
        try:
            yield folder
        finally:
            with storage_errors(folder):
                shutil.rmtree(folder)

    # ---- restoring

    @contextmanager
    def new_tif(self, tif: Path, size: int, mtime_ns: int) -> Iterator[HashedFile]:
        """See :class:`~..place.Place`; it is made here, uploaded beside, and moved."""
        path, remote = self._below(tif), self.store.remote
        with self._scratch() as folder, self.store.scratch.room(self.mirror, size):
            made = folder / path
            check_room(made, size)
            with new_file(made) as (_, file):
                yield file
            content, beside = file.content, f"{_RESTORING}/{path}"
            self._insist()
            uploaded = upload(remote, made, self._place(beside), content=content, progress=self.progress)
        place = self._place(beside)
        if remote.call("set the time of", place, lambda server: server.set_time(remote.place(place), mtime_ns)):
            uploaded = ListedFile(beside, size, mtime_ns)
        self._listed[beside] = ListedFile(beside, uploaded.size, uploaded.mtime_ns)
        if not remote.backend.renames:
            self._keep_time(GivenTime(beside, uploaded.size, uploaded.mtime_ns, mtime_ns))
        if not self._move(beside, path, content.sha256):
            raise StorageError.at(
                f"{self.url}/{path}",
                expected="nothing of this name yet",
                found="a file that appeared meanwhile; it was not changed",
                remedy="Find out which program made it, then try again: it is compared with the archive",
            )

    def keep_time(self, tif: Path, mtime_ns: int) -> None:
        """See :class:`~..place.Place`."""
        listed = self._listed[self._below(tif)]
        if not self.store.remote.backend.renames and tif.stat().st_mtime_ns != mtime_ns:
            self._keep_time(GivenTime(listed.path, listed.size, listed.mtime_ns, mtime_ns))

    def has_restoring(self) -> bool:
        """See :class:`~..place.Place`."""
        return bool(self.half_restored())

    def half_restored(self) -> tuple[str, ...]:
        """See :class:`~..place.Place`."""
        return tuple(f"{_RESTORING}/{f.path}" for f in list_below(self.store.remote, self._place(_RESTORING)))

    def clear_restoring(self) -> None:
        """See :class:`~..place.Place`."""
        if paths := self.half_restored():
            for path in paths:
                self._take_over_time(path)
            self._insist()
            remove(self.store.remote, [self._place(path) for path in paths])

    def _take_over_time(self, path: str) -> None:
        """Record the time of a tif that has its place, where a kill came before that."""
        beside, there = (stat(self.store.remote, self._place(p)) for p in (path, path.removeprefix(f"{_RESTORING}/")))
        own = None if beside is None else own_times(self._times).get((path, beside.size, beside.mtime_ns))
        if own is None or beside is None or there is None or there.size != beside.size:
            return
        if streamed_sha256(self.store.remote, beside.path) == streamed_sha256(self.store.remote, there.path):
            tif = path.removeprefix(f"{_RESTORING}/")
            self._keep_time(GivenTime(tif, there.size, there.mtime_ns, own))

    def clear_second_names(self) -> tuple[str, ...]:
        """See :class:`~..place.Place`; no version has left any on a server."""
        return ()


def _identity(seen: Seen) -> Identity:
    return (0, seen.version, seen.size, seen.mtime_ns, int(seen.is_link))
