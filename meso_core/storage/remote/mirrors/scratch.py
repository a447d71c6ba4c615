"""Room for what was fetched: a folder of this machine with a limit, cleaned of what nobody uses.

What belongs here: who uses which mirror, and what may go. What does not: what a mirror holds.

Each mirror has a lock of the kernel in its own records: whoever uses it shares the lock, whoever cleans it must have it
alone. So nothing of a living process goes, and what a dead one held may.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ....errors import StorageError
from ....session import MESO_FOLDER
from ...files.atomic import make_folder, storage_errors
from ...files.locks import has_its_name

#: Lock file of a mirror, below its folder; its time is that of the last use.
_LOCK = f"{MESO_FOLDER}/mirror.lock"
#: How often the folders of a lock file are made again if they are removed at that moment.
_TRIES = 100
#: Lock file for finding room, and folder of the promises of room, below the scratch folder.
_ROOM, _PROMISES = ".room.lock", ".promises"
_WEEK_S = 7 * 24 * 3600.0
_LOCKS_OF_KERNEL = Path("/proc/locks")


@dataclass(frozen=True, slots=True)
class MirrorRoom:
    """How much of the scratch folder a session takes."""

    folder: Path
    #: Bytes on the disk: all, and of files that can be fetched again.
    total: int
    fetched: int
    #: When it was last used, s since 1970.
    used: float


@dataclass(frozen=True, slots=True)
class Scratch:
    """The scratch folder of this machine, on a local disk.

    Parameters
    ----------
    folder
        Where mirrors are, at any depth.
    limit_bytes
        How much they may take together.
    abandoned_s
        After this time without use a mirror may go whole, with what an unfinished run has left in it.
    """

    folder: Path
    limit_bytes: int
    abandoned_s: float = 4 * _WEEK_S

    @contextmanager
    def use(self, folder: Path) -> Iterator[Path]:
        """Hold a mirror for this process: nothing in it is removed meanwhile. The folder is made if it is not there.

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        with storage_errors(folder), _locked(folder / _LOCK, fcntl.LOCK_SH) as file:
            os.utime(file.fileno())
            try:
                yield folder
            finally:
                with suppress(OSError):  # only the order of cleaning depends on it
                    os.utime(file.fileno())

    @contextmanager
    def room(self, folder: Path, needed: int) -> Iterator[None]:
        """Make room, and keep it for what this process fetches into a mirror.

        Fetched files that nobody uses go, of the mirrors not used for longest, until ``needed`` bytes more fit. What is
        staged, and the work of unfinished runs, goes last, and only from mirrors that are abandoned.

        Raises
        ------
        StorageError
            If they do not fit within the limit, or on the disk.
        """
        make_folder(self.folder)
        with storage_errors(self.folder), _locked(self.folder / _ROOM, fcntl.LOCK_EX):
            self._make_room(needed)
            promise = self.folder / _PROMISES / f"{os.getpid()}-{time.monotonic_ns()}"
            make_folder(promise.parent)
            file = promise.open("wb")
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(f"{needed} {_taken(folder)} {folder}".encode("utf-8", "surrogateescape"))
            file.flush()
        try:
            yield
        finally:
            promise.unlink(missing_ok=True)
            file.close()

    def mirrors(self) -> tuple[MirrorRoom, ...]:
        """Return all mirrors, those not used for longest first."""
        found = [_mirror(Path(place)) for place, names, _ in os.walk(self.folder) if _is_mirror(place, names)]
        return tuple(sorted(found, key=lambda mirror: mirror.used))

    def _make_room(self, needed: int) -> None:
        promised = self._promised()
        mirrors = self.mirrors()
        missing = self._missing(needed + promised, sum(mirror.total for mirror in mirrors))
        abandoned = [mirror for mirror in mirrors if mirror.used < time.time() - self.abandoned_s]
        for mirror, whole in (*((m, False) for m in mirrors), *((m, True) for m in abandoned)):
            if missing <= 0:
                return
            missing -= _clean(mirror, whole=whole)
        if missing > 0:
            raise self._no_room(needed, promised)

    def _missing(self, needed: int, taken: int) -> int:
        """Bytes that must go."""
        with storage_errors(self.folder):
            free = shutil.disk_usage(self.folder).free
        return needed - min(self.limit_bytes - taken, free)

    def _promised(self) -> int:
        """Bytes that living processes are about to fetch; promises of dead ones are removed."""
        promised = 0
        for promise in sorted((self.folder / _PROMISES).glob("*-*")):
            with suppress(FileNotFoundError), promise.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    needed, before, place = os.fsdecode(file.read()).split(" ", 2)
                    promised += max(0, int(needed) - max(0, _taken(Path(place)) - int(before)))
                else:
                    promise.unlink(missing_ok=True)
        return promised

    def _no_room(self, needed: int, promised: int) -> StorageError:
        mirrors = self.mirrors()
        taken = sum(mirror.total for mirror in mirrors)
        within_limit = needed + promised <= self.limit_bytes - taken
        busy = [f"{mirror.folder.relative_to(self.folder)} ({who})" for mirror in mirrors if (who := _users(mirror))]
        found = f"{_gb(taken)} taken" + (f" and {_gb(promised)} about to be" if promised else "")
        found += f"; in use: {', '.join(busy[:5])}{' …' if len(busy) > 5 else ''}" if busy else ""
        if within_limit:
            expected = f"{_gb(needed)} free on this disk"
            found = f"{_gb(shutil.disk_usage(self.folder).free)} free, {found}"
            remedy = "Free space on the disk, or set MESO_SCRATCH to a folder on a larger one"
        else:
            expected = f"room for {_gb(needed)} within {_gb(self.limit_bytes)}"
            remedy = "Raise MESO_SCRATCH_GB, or wait until the runs that use these sessions have ended"
        return StorageError.at(self.folder, expected=expected, found=found, remedy=remedy)


def _opened(path: Path) -> BinaryIO:
    """Open a lock file; a cleaner may remove its folders at any moment, then they are made again."""
    for tries_left in reversed(range(_TRIES)):
        try:
            for folder in (path.parent.parent, path.parent):
                make_folder(folder)
            return path.open("ab")
        except (FileNotFoundError, StorageError) as error:
            has_gone = isinstance(error, FileNotFoundError) or isinstance(error.__cause__, FileNotFoundError)
            if not has_gone or not tries_left:
                raise
    raise AssertionError("unreachable")


@contextmanager
def _locked(path: Path, how: int) -> Iterator[BinaryIO]:
    """Hold a lock; the holder before may have removed its file, then it is made again.

    Raises
    ------
    BlockingIOError
        If somebody else holds it and ``how`` says not to wait.
    """
    while True:
        with _opened(path) as file:
            fcntl.flock(file, how)
            if has_its_name(file.fileno(), path):
                yield file
                return


def _is_mirror(place: str, names: list[str]) -> bool:
    """Whether a folder is a mirror; a walk need not go further into it."""
    if MESO_FOLDER in names and (Path(place) / _LOCK).exists():
        names.clear()
        return True
    return False


def _mirror(folder: Path) -> MirrorRoom:
    own = _taken(folder / MESO_FOLDER)
    fetched = _taken(folder, beside=MESO_FOLDER)
    try:
        used = (folder / _LOCK).stat().st_mtime
    except FileNotFoundError:
        used = 0.0
    return MirrorRoom(folder, own + fetched, fetched, used)


def _taken(folder: Path, beside: str | None = None) -> int:
    """Bytes on the disk of all files below a folder, but those of one folder in it."""
    taken = 0
    for place, names, files in os.walk(folder):
        if beside is not None and Path(place) == folder:
            names[:] = [name for name in names if name != beside]
        for name in files:
            with suppress(FileNotFoundError):  # it has just gone
                taken += (Path(place) / name).lstat().st_blocks * 512
    return taken


def _clean(mirror: MirrorRoom, *, whole: bool) -> int:
    """Remove what was fetched into a mirror, or all else; return how many bytes that were. In use: nothing."""
    lock = mirror.folder / _LOCK
    try:
        with _locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB):
            for entry in sorted(mirror.folder.iterdir()):
                if entry.name != MESO_FOLDER:
                    _remove(entry)
            if not whole:
                return mirror.fetched
            for entry in sorted(lock.parent.iterdir()):
                if entry != lock:
                    _remove(entry)
            lock.unlink()  # last, so that a kill leaves a folder that still counts as a mirror
            with suppress(OSError):  # somebody has begun to use it again
                lock.parent.rmdir()
                mirror.folder.rmdir()
            return mirror.total - mirror.fetched
    except BlockingIOError:
        return 0


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _users(mirror: MirrorRoom) -> str:
    """Return which processes hold a mirror, as the kernel tells."""
    try:
        lock = (mirror.folder / _LOCK).stat()
        lines = _LOCKS_OF_KERNEL.read_text().splitlines()
    except OSError:
        return ""
    device = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
    fields = [line.split() for line in lines if " -> " not in line]  # those wait
    pids = sorted({int(field[4]) for field in fields if device in field})
    return ", ".join(f"process {pid}" for pid in pids)


def _gb(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
