"""Sessions below a root on a server, answered from a mirror; see :class:`~meso_core.storage.roots.store.SessionStore`.

What belongs here: which folder is which session, and the order of listing, mirror and publication. What a mirror
holds is in ``mirrors``, how a result becomes whole in ``publishing``.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from ....errors import InputFileError, MissingInputError, StorageError
from ....opening import RECORD_BYTES, RandomFile, open_plain, read_plain
from ....progress import Progress, silent
from ....session import MESO_FOLDER, Child, ListedFile, SessionKey, Survey, labs_that_hold, survey_sessions
from ...files.listing import nothing_there
from ...manifests.basis import Basis
from ...manifests.manifest import Chain, MadeBy, Manifest, manifest_path, record_digest, replaced_path
from ...manifests.ownership import check_places
from ...publication.publishing import input_digests, kept_records, load_manifest, load_manifests, published_assets
from ...publication.staging import Sealed, Staging
from ..mirrors.known_hashes import KnownHashes
from ..mirrors.mirror import Mirror, is_record
from ..mirrors.scratch import Scratch
from ..servers.filesystem import RemoteRoot, children, list_below
from ..servers.reading import missing
from ..transfers.ranges import ranged
from ..transfers.streaming import streamed_sha256
from ..transfers.transfer import read_range, remove, stat, write_small
from .claims import RemoteClaims
from .exclusive import alone
from .publishing import RemoteSession, begin, pending_of, pending_publications, roll_forward, undamaged
from .versions import RemoteVersions

#: Up to so many files are looked at one by one; for more, the session is listed.
_FEW = 4
#: What came into a mirror within this time before a listing began may be younger than it, s: clocks of file systems
#: are coarse.
_COARSE_S = 0.05
#: How long one look at a session counts for the records that are read next, s.
_MOMENT_S = 0.3
#: Mirrors that this process uses, by process id and folder.
_IN_USE: dict[tuple[int, Path], ExitStack] = {}


@dataclass(frozen=True, slots=True)
class RemoteFolders:
    """Folders below a root on a server."""

    remote: RemoteRoot

    @property
    def root(self) -> str:
        """See :class:`~meso_core.session.Folders`."""
        return self.remote.url

    def children(self, folder: str) -> tuple[Child, ...]:
        """See :class:`~meso_core.session.Folders`."""
        return tuple(Child(name, is_folder) for name, is_folder in children(self.remote, folder))

    def are_same(self, one: str, other: str) -> bool:
        """See :class:`~meso_core.session.Folders`; a server does not tell, so a person decides."""
        return one == other


@dataclass(frozen=True, slots=True)
class RemoteStore:
    """Sessions below a root on a server.

    Attributes
    ----------
    remote
        The root.
    scratch
        Folder of this machine for mirrors of sessions.
    """

    remote: RemoteRoot
    scratch: Scratch
    #: Session → its path below the root, once it was found.
    _places: dict[SessionKey, str] = field(default_factory=dict, compare=False, repr=False)
    #: Session → when its mirror was last brought up to date, by this process's clock.
    _looked: dict[SessionKey, float] = field(default_factory=dict, compare=False, repr=False)

    @property
    def root(self) -> str:
        """The URL."""
        return self.remote.url

    @property
    def roots(self) -> tuple[str, ...]:
        """See :class:`SessionStore`."""
        return (self.root,)

    def store_of(self, key: SessionKey) -> RemoteStore:  # noqa: ARG002  there is one
        """See :class:`SessionStore`."""
        return self

    @property
    def is_local(self) -> bool:
        """See :class:`SessionStore`."""
        return False

    def holds(self, key: SessionKey) -> bool:
        """See :class:`SessionStore`."""
        if key not in self._places:
            try:
                self._listed(key)
            except MissingInputError:
                return False
        return True

    def where(self, key: SessionKey, path: str = "") -> str:
        """See :class:`SessionStore`."""
        return f"{self.root}/{self._place(key)}/{path}".rstrip("/")

    def sessions(self) -> tuple[SessionKey, ...]:
        """See :class:`SessionStore`."""
        return self.survey().sessions

    def survey(self) -> Survey:
        """See :class:`SessionStore`."""
        return survey_sessions(RemoteFolders(self.remote))

    def labs_of(self, subject: str) -> tuple[str, ...]:
        """See :class:`SessionStore`."""
        return labs_that_hold(RemoteFolders(self.remote), subject)

    def listing(self, key: SessionKey) -> tuple[ListedFile, ...]:
        """See :class:`SessionStore`."""
        _, listing = self._listed(key)
        return tuple(file for file in listing if not file.path.startswith(f"{MESO_FOLDER}/"))

    def sha256(self, key: SessionKey, path: str, read: Callable[[int], None] = lambda _: None) -> str:
        """See :class:`SessionStore`; the file is read over the network, and not kept."""
        return streamed_sha256(self.remote, f"{self._place(key)}/{path}", read)

    def sha256_as_listed(self, key: SessionKey, file: ListedFile) -> str:
        """See :class:`SessionStore`; what was read once is remembered in the mirror."""
        return KnownHashes(self._mirror(key).folder).of(file, lambda: self.sha256(key, file.path))

    def start_of(self, key: SessionKey, file: ListedFile, n_bytes: int) -> bytes:
        """See :class:`SessionStore`; what is in the mirror already is read there."""
        mirror = self._mirror(key)
        if mirror.holds(file):
            with suppress(MissingInputError), open_plain(mirror.folder / file.path) as opened:
                return opened.read(n_bytes)
        path = f"{self._place(key)}/{file.path}"
        try:
            return read_range(self.remote, path, 0, n_bytes)
        except FileNotFoundError as error:
            raise missing(self.remote, path) from error

    @contextmanager
    def opened(self, key: SessionKey, file: ListedFile) -> Iterator[RandomFile]:
        """See :class:`SessionStore`; what is in the mirror already is read there."""
        mirror = self._mirror(key)
        if mirror.holds(file):
            with open_plain(mirror.folder / file.path, buffering=0) as opened:
                yield opened
            return
        with ranged(self.remote, f"{self._place(key)}/{file.path}", file) as opened_there:
            yield opened_there

    def is_here(self, key: SessionKey, file: ListedFile) -> bool:
        """See :class:`SessionStore`."""
        return self._mirror(key).holds(file)

    def local(self, key: SessionKey, paths: Iterable[str] = (), progress: Progress = silent) -> Path:
        """See :class:`SessionStore`."""
        wanted = tuple(dict.fromkeys(paths))
        if not wanted:
            return self._opened(key).folder
        mirror = self._mirror(key)
        files = self._looked_at(key, wanted)
        known = {
            file.path: file
            for manifest in load_manifests(mirror.folder).values()
            if isinstance(manifest, Manifest)
            for file in manifest.files
        }
        hashes = {}
        for file in files:
            record = known.get(file.path)
            if record is not None and (record.size, record.mtime_ns) == (file.size, file.mtime_ns):
                hashes[file.path] = record.sha256
        if not all(is_record(path) for path in wanted):
            self._in_use(mirror)
        to_fetch = [file for file in files if not mirror.holds(file)]
        if to_fetch:
            with self.scratch.room(mirror.folder, sum(file.size for file in to_fetch)):
                mirror.fetch(to_fetch, hashes, progress)
        return mirror.folder

    def hold(self, key: SessionKey) -> None:
        """See :class:`SessionStore`."""
        self._in_use(self._mirror(key))

    @contextmanager
    def recording(self, key: SessionKey) -> Iterator[Path]:
        """See :class:`SessionStore`; one at a time, and what was written is uploaded when the block ends well."""
        session = RemoteSession(self.remote, self._place(key))
        with alone(session, "records", "a record") as insist:
            mirror = self._opened(key)
            with mirror.copy_of_records() as copied:  # the mirror only holds what the server holds
                before = copied.records()
                yield copied.folder
                after = copied.records()
                if others := copied.other_files():
                    raise StorageError.at(
                        self.where(key, others[0]),
                        expected="a record at one of the places of records",
                        found="a file that would not be uploaded",
                        remedy="Report this as a defect",
                    )
                insist()
                for path in (path for path, status in after.items() if before.get(path) != status):
                    write_small(self.remote, session.place(path), read_plain(copied.folder / path, RECORD_BYTES))
                remove(self.remote, [session.place(path) for path in before if path not in after])
            self._opened(key)

    def stage(self, key: SessionKey, asset: str, *, keep: bool = False) -> Staging:
        """See :class:`SessionStore`; in the mirror, where a killed run finds it again on the same machine."""
        mirror = self._opened(key)
        self._in_use(mirror)
        return Staging(mirror.folder, asset, keep=keep)

    def publish(
        self,
        key: SessionKey,
        sealed: Sealed,
        basis: Basis,
        made_by: MadeBy,
        *,
        places: str | None = None,
        progress: Progress = silent,
        keep: bool = False,
        working_for: str = "",
    ) -> Manifest:
        """See :class:`SessionStore`; ``working_for`` is who claims the asset, where that is not the run itself."""
        asset, new = sealed.asset, sealed.manifest(basis, made_by, session=str(key))
        session, mirror = RemoteSession(self.remote, self._place(key)), self._opened(key)
        with alone(session, asset, f"run {made_by.run_id}") as insist:
            for uploading in pending_of(session, asset):
                roll_forward(session, uploading)
            content = session.read(manifest_path(asset))
            old = undamaged(session, manifest_path(asset), asset)
            check_places(f"{self.root}/{session.base}", old, new, places)
            if old is not None and content is not None:
                write_small(self.remote, session.place(replaced_path(asset, old.digest)), content)
            previous = "" if content is None else record_digest(content.decode("utf-8", "surrogateescape"))
            new = replace(new, chain=Chain(previous, input_digests(mirror.folder, basis)))

            def still_alone() -> None:
                insist()
                self.claims(key, working_for or made_by.run_id).insist_on_run(asset)

            uploading = begin(session, sealed, new, old, still_alone, progress, keep=keep)
            committed = roll_forward(session, uploading)
            assert committed is not None
        self._looked.pop(key, None)
        _keep(mirror, sealed, old, committed)
        return committed

    def manifests(self, key: SessionKey) -> Mapping[str, Manifest | StorageError]:
        """See :class:`SessionStore`."""
        return load_manifests(self._recent(key).folder)

    def history(self, key: SessionKey) -> Mapping[str, Mapping[str, str]]:
        """See :class:`SessionStore`."""
        return kept_records(self._recent(key).folder)

    def published(self, key: SessionKey) -> tuple[str, ...]:
        """See :class:`SessionStore`."""
        return published_assets(self._recent(key).folder)

    def manifest(self, key: SessionKey, asset: str) -> Manifest | None:
        """See :class:`SessionStore`."""
        return load_manifest(self._recent(key).folder, asset)

    def versions(self, key: SessionKey) -> RemoteVersions:
        """See :class:`SessionStore`."""
        return RemoteVersions(self, key)

    def on_server(self, key: SessionKey) -> RemoteSession:
        """Return a session on the server; once it was found, without a look at it."""
        return RemoteSession(self.remote, self._place(key))

    def with_records(self, key: SessionKey) -> tuple[RemoteSession, Path]:
        """Return a session on the server, and its mirror with the records as they are now."""
        mirror = self._opened(key)
        return RemoteSession(self.remote, mirror.base), mirror.folder

    def claims(self, key: SessionKey, run_id: str, command: str = "") -> RemoteClaims:
        """Claims of a run, or of a command, on assets of a session."""
        return RemoteClaims(self.remote, f"{self._place(key)}/{MESO_FOLDER}/claims", run_id, command)

    # ---- which folder, and what is in it

    def _mirror(self, key: SessionKey) -> Mirror:
        folder = self.scratch.folder / sha256(self.root.encode()).hexdigest()[:16] / Path(*key.short_path.parts)
        return Mirror(self.remote, self._place(key), folder)

    def _opened(self, key: SessionKey) -> Mirror:
        """Bring the mirror up to date; a publication that a kill interrupted is finished first."""
        while True:
            began = time.time() - _COARSE_S
            base, listing = self._listed(key)
            pending = pending_publications(listing)
            if not pending:
                mirror = self._mirror(key)
                mirror.bring_up_to_date(listing, began)
                self._looked[key] = time.monotonic()
                return mirror
            session = RemoteSession(self.remote, base)
            for uploading in pending:
                with alone(session, uploading.asset, "a look at the session"):
                    roll_forward(session, uploading)

    def _recent(self, key: SessionKey) -> Mirror:
        """Bring the mirror up to date, unless that was done a moment ago: records are read one after another."""
        looked = self._looked.get(key)
        return self._opened(key) if looked is None or time.monotonic() - looked > _MOMENT_S else self._mirror(key)

    def _place(self, key: SessionKey) -> str:
        return self._places.get(key) or self._listed(key)[0]

    def _listed(self, key: SessionKey) -> tuple[str, tuple[ListedFile, ...]]:
        """Return where a session lies below the root, and all its files."""
        if (place := self._places.get(key)) is not None and (listing := list_below(self.remote, place)):
            return place, listing
        found = set[str]()
        for parent in dict.fromkeys(place.rpartition("/")[0] for place in key.places):
            names = {place.rpartition("/")[2] for place in key.places if place.startswith(f"{parent}/")}
            found |= {f"{parent}/{name}" for name in names & self._folders(parent)}
        if not found:
            raise nothing_there(f"{self.root}/{key.places[0]}")
        if len(found) > 1:
            first, *others = sorted(found)
            remedy = "Keep the folder that holds the session and move the other away, or give it another number"
            raise InputFileError.at(
                f"{self.root}/{first}",
                expected="one folder of this session",
                found=f"also {' and '.join(f'{self.root}/{other}' for other in others)}",
                remedy=remedy,
            )
        (place,) = found
        self._places[key] = place
        return place, list_below(self.remote, place)

    def _folders(self, parent: str) -> set[str]:
        try:
            return {name for name, is_folder in children(self.remote, parent) if is_folder}
        except FileNotFoundError:
            return set()

    def _looked_at(self, key: SessionKey, paths: tuple[str, ...]) -> list[ListedFile]:
        """Look at files that are to be fetched."""
        place = self._place(key)
        if len(paths) <= _FEW:
            seen = {path: stat(self.remote, f"{place}/{path}") for path in paths}
            there = {path: replace(file, path=path) for path, file in seen.items() if file is not None}
        else:
            there = {file.path: file for file in self._listed(key)[1]}
        if absent := [path for path in paths if path not in there]:
            raise nothing_there(f"{self.root}/{place}/{absent[0]}")
        return [there[path] for path in paths]

    def _in_use(self, mirror: Mirror) -> None:
        """Hold a mirror while this process lives: the files that it was given stay there."""
        held = (os.getpid(), mirror.folder)
        if held not in _IN_USE:
            _IN_USE[held] = ExitStack()
            _IN_USE[held].enter_context(self.scratch.use(mirror.folder))


def _keep(mirror: Mirror, sealed: Sealed, old: Manifest | None, new: Manifest) -> None:
    """Keep what was uploaded from here in the mirror, as if it had been fetched."""
    for record in new.files:
        staged = sealed.folder / record.path
        if staged.is_file():
            mirror.take(staged, record.path, record.mtime_ns)
    for path in {record.path for record in (old.files if old else ())} - {record.path for record in new.files}:
        (mirror.folder / path).unlink(missing_ok=True)
    shutil.rmtree(sealed.folder)
