"""The raw tifs of a session in a folder of this machine, or of a mounted share.

What belongs here: the steps of :class:`~.place.Place` as this machine's file system does them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ...errors import ArchiveError, StorageError
from ...session import MESO_FOLDER, imaging_bouts, natural_key, raw_tifs
from ...storage.files.atomic import HashedFile, link_or_rename, make_folder, part_path, same_file, storage_errors
from ...storage.files.hashing import sha256_of, sync_file, sync_folder
from ...storage.files.locks import locked
from ...storage.files.times import same_time
from ..atomic import check_room, new_file
from ..untrusted import open_plain, plain_files
from .log import RemovalEvent, load_removals, record
from .place import Identity, KeptTif, removed_folder, restoring_folder

#: File times move on in steps; a change within a step could not be seen.
_STEP_OF_FILE_TIMES_S = 0.02


@dataclass(frozen=True, slots=True)
class Folder:
    """See :class:`~.place.Place`."""

    session_path: Path

    def named(self, text: str) -> str:
        """See :class:`~.place.Place`."""
        return text

    def look(self) -> None:
        """See :class:`~.place.Place`; here the files themselves are looked at."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See :class:`~.place.Place`; the lock dies with the process."""
        path = self.session_path / MESO_FOLDER / "locks" / "raw_tifs.lock"
        make_folder(path.parent)
        with ExitStack() as until_end:
            try:
                with storage_errors(path):
                    until_end.enter_context(locked(path, wait=False))
            except StorageError as error:
                if not isinstance(error.__cause__, BlockingIOError):
                    raise
                raise not_alone(str(self.session_path)) from error
            yield

    def doubts(self, bouts: Sequence[Path]) -> list[str]:
        """See :class:`~.place.Place`."""
        doubts, device = [], (self.session_path / MESO_FOLDER).stat().st_dev
        for bout in bouts:
            if not os.access(bout, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
                doubts.append(f"{bout.name}: files may not be removed from this folder")
            if bout.stat().st_dev != device:
                where = f"on another file system than {MESO_FOLDER}"
                doubts.append(f"{bout.name}: its tifs are {where}, so they cannot be moved")
        return doubts

    def time_there(self, now: datetime) -> tuple[datetime, datetime]:
        """See :class:`~.place.Place`."""
        return now, now

    def kept(self) -> tuple[KeptTif, ...]:
        """See :class:`~.place.Place`."""
        return kept_tifs(self.session_path)

    def unsettled(self) -> list[KeptTif]:
        """See :class:`~.place.Place`."""
        return [
            kept for kept in self.kept() if kept.event is None or same_file(kept.file, self.session_path / kept.path)
        ]

    def is_there(self, file: Path) -> bool:
        """See :class:`~.place.Place`."""
        return os.path.lexists(file)

    def free_place(self, path: str) -> Path:
        """See :class:`~.place.Place`; in plain folders: a link would lead somewhere else."""
        file = removed_folder(self.session_path) / path
        for folder in (file.parent.parent.parent, file.parent.parent, file.parent):
            if folder.is_symlink():
                remedy = "Put a folder in place of the link, on the disk of the session"
                raise ArchiveError.at(
                    folder, expected="a folder", found=f"a link to {folder.readlink()}", remedy=remedy
                )
        make_folder(file.parent)
        if os.path.lexists(file):
            raise taken(str(file), path)
        return file

    def take(self, path: str, file: Path, sha256: str) -> None:  # noqa: ARG002  a rename changes no content
        """See :class:`~.place.Place`."""
        (self.session_path / path).rename(file)

    def flush_moves(self, moved: Mapping[str, Path]) -> None:
        """See :class:`~.place.Place`."""
        for folder in {file.parent for file in moved.values()}:
            sync_folder(folder)
        for folder in {(self.session_path / path).parent for path in moved}:
            sync_folder(folder)

    def put_back(self, path: str, file: Path) -> bool:
        """See :class:`~.place.Place`."""
        place = self.session_path / path
        with storage_errors(place):
            make_folder(place.parent)
            if not same_file(file, place):  # else a kill came in between
                try:
                    link_or_rename(file, place)
                except FileExistsError:
                    return False
            sync_folder(place.parent)
            file.unlink(missing_ok=True)
            sync_folder(file.parent)
        return True

    def unlink(self, file: Path, was: Identity) -> bool:
        """See :class:`~.place.Place`."""
        if self.identities(file) != (was,):
            return False
        file.unlink()
        return True

    def flush_freed(self, files: Iterable[Path]) -> None:
        """See :class:`~.place.Place`."""
        for folder in {file.parent for file in files}:
            sync_folder(folder)
        self.clear_kept()

    def clear_kept(self) -> None:
        """See :class:`~.place.Place`."""
        folder = removed_folder(self.session_path)
        for empty in (*folder.glob("*"), folder):
            with suppress(OSError):
                empty.rmdir()

    def record(self, events: Iterable[RemovalEvent]) -> None:
        """See :class:`~.place.Place`."""
        record(self.session_path, events)

    def flush_content(self, archive: Path, tifs: Sequence[Path]) -> None:
        """See :class:`~.place.Place`."""
        if archive.exists():
            for file in plain_files(archive):  # one that was put there by others may be in memory only
                sync_file(file)
                sync_folder(file.parent)
        for tif in tifs:  # so that also writing through a memory map changes the times from now on
            sync_file(tif)
        time.sleep(_STEP_OF_FILE_TIMES_S)

    def identities(self, path: Path) -> tuple[Identity, ...]:
        """See :class:`~.place.Place`."""
        try:
            statuses = [file.lstat() for file in sorted(plain_files(path))]
        except FileNotFoundError:
            return ()
        return tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in statuses)

    def sha256(self, tif: Path, read: Callable[[int], None]) -> str:  # noqa: ARG002  a disk is fast
        """See :class:`~.place.Place`."""
        return sha256_of(tif)

    def writer_of(self, tif: Path) -> str:
        """See :class:`~.place.Place`; a program that has mapped it into memory counts too."""
        return f"a program has {tif.name} open for writing" if _is_open_for_writing(tif) else ""

    @contextmanager
    def here(self, archive: Path) -> Iterator[Path]:
        """See :class:`~.place.Place`."""
        yield archive

    @contextmanager
    def new_tif(self, tif: Path, size: int, mtime_ns: int) -> Iterator[HashedFile]:
        """See :class:`~.place.Place`."""
        check_room(tif, size)
        with new_file(tif, self._part(tif)) as (part, file):
            yield file
            file.flush()
            os.utime(part, ns=(mtime_ns, mtime_ns))

    def _part(self, tif: Path) -> Path | None:
        """Place in which a tif is made, and which a later call clears; None where the bout is on another system."""
        below = tif.relative_to(self.session_path)
        part = part_path(restoring_folder(self.session_path) / below, shared=True)
        make_folder(part.parent)
        return part if part.parent.stat().st_dev == tif.parent.stat().st_dev else None

    def keep_time(self, tif: Path, mtime_ns: int) -> None:
        """See :class:`~.place.Place`; here a tif keeps the time that it has."""

    def has_restoring(self) -> bool:
        """See :class:`~.place.Place`."""
        return restoring_folder(self.session_path).exists()

    def half_restored(self) -> tuple[str, ...]:
        """See :class:`~.place.Place`."""
        parts = restoring_folder(self.session_path).rglob("*.part")
        return tuple(part.relative_to(self.session_path).as_posix() for part in parts)

    def clear_restoring(self) -> None:
        """See :class:`~.place.Place`."""
        folder = restoring_folder(self.session_path)
        with storage_errors(folder):
            if folder.exists():
                shutil.rmtree(folder)

    def clear_second_names(self) -> tuple[str, ...]:
        """See :class:`~.place.Place`."""
        cleared = []
        for bout in imaging_bouts(self.session_path):
            for tif in raw_tifs(bout):
                if same_file(part := part_path(tif, shared=True), tif):
                    part.unlink()
                    cleared.append(part.relative_to(self.session_path).as_posix())
        return tuple(cleared)


def _is_open_for_writing(tif: Path) -> bool:
    if not hasattr(fcntl, "F_SETLEASE"):  # Linux only
        return False
    with open_plain(tif) as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            return error.errno == errno.EAGAIN
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def kept_tifs(
    session_path: Path, moved_at: Callable[[str, os.stat_result], float] | None = None
) -> tuple[KeptTif, ...]:
    """List the tifs that were moved out of their bouts and are kept, in natural order.

    Parameters
    ----------
    session_path
        Session folder.
    moved_at
        Tells when a file was moved, s since 1970, by its path and status; by default, when its name was changed.

    Raises
    ------
    ArchiveError
        If the log of removals is damaged.
    StorageError
        If something cannot be read.
    """
    folder = removed_folder(session_path)
    if not folder.is_dir() or folder.is_symlink():
        return ()
    with storage_errors(folder):
        events, kept = load_removals(session_path), []
        for file in folder.glob("*/*"):
            status, path = file.lstat(), file.relative_to(folder).as_posix()
            if not stat.S_ISDIR(status.st_mode) and not file.parent.is_symlink():
                event = _removal_of(path, status, events)
                moved = status.st_ctime if moved_at is None else moved_at(path, status)
                at = max(moved, 0.0 if event is None else _seconds(event.at))
                kept.append(KeptTif(path, file, status.st_size, status.st_mtime_ns, event, at))
    return tuple(sorted(kept, key=lambda tif: natural_key(tif.path)))


def _removal_of(path: str, status: os.stat_result, events: Sequence[RemovalEvent]) -> RemovalEvent | None:
    """Find the last removal of a tif as it is."""
    same = (e for e in reversed(events) if (e.path, e.size) == (path, status.st_size))
    return next((e for e in same if same_time(e.mtime_ns, status.st_mtime_ns)), None)


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).astimezone(UTC).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def not_alone(where: str) -> StorageError:
    """Make the error of a second removal or restoring."""
    expected, found = "no other removal or restoring of tifs of this session", "one that is going on"
    return StorageError.at(where, expected=expected, found=found, remedy="Wait until it ends, then try again")


def taken(where: str, path: str) -> ArchiveError:
    """Make the error of a place at which something is kept already."""
    remedy = f"`meso restore` brings {path} back; or free its room: meso remove-raw --yes --now"
    return ArchiveError.at(where, expected="nothing yet", found="a tif of an earlier removal", remedy=remedy)
