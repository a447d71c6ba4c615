"""Files that come from a root, whole and checked.

What belongs here: arriving beside, going on after a cut, judging. What does not: where a file belongs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ....errors import StorageError
from ....processes import this_process
from ....progress import Progress, silent
from ...files.atomic import make_folder, part_path, storage_errors
from ...files.locks import has_its_name
from ..servers.filesystem import RemoteRoot
from ..servers.reading import changed_since, missing, must_have, read_range
from ..servers.side_by_side import Tally, in_order, side_by_side

#: Bytes of one request of a download, and how many requests run at a time.
_RANGE, _AHEAD = 1 << 22, 4
_ZEROS = bytes(_RANGE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that is to be downloaded."""

    #: Below the root.
    path: str
    target: Path
    #: Bytes, as the listing or the manifest says.
    size: int
    #: Time of the last change on the server, ns; given to the file here.
    mtime_ns: int
    sha256: str | None = None


def download(
    root: RemoteRoot,
    path: str,
    target: Path,
    *,
    size: int,
    mtime_ns: int,
    sha256: str | None = None,
    progress: Progress = silent,
) -> Path:
    """Download a file, whole and checked; one that is there already with this size and time is kept.

    Parameters
    ----------
    target
        Its place here. It takes its name when it is whole; until then it is beside, and a download that was cut goes on
        from there, in another process too.
    size, sha256
        What it must be. Without a hash, the server must tell of the same size and time when all has arrived.
    mtime_ns
        Time of its last change on the server, ns, as it was listed; it is given to the file here.

    Raises
    ------
    StorageError
        If the file is not there, is another one than expected, changes meanwhile, or there is no room here.
    """
    if _is_there(target, size, mtime_ns):
        return target
    wanted = Wanted(path, target, size, mtime_ns, sha256)
    make_folder(target.parent)
    with storage_errors(target), _alone(_part(wanted)) as part:
        if _is_there(target, size, mtime_ns):  # another process has fetched it meanwhile
            part.path.unlink()
            return target
        resumed = part.size > 0
        digest = _fetch(root, wanted, part, progress)
        if resumed and sha256 not in (None, digest):  # perhaps the part here is damaged, not the file on the server
            part.cut(0)
            digest = _fetch(root, wanted, part, progress)
        _judge(root, wanted, part, digest)
        os.fsync(part.descriptor)
        os.utime(part.descriptor, ns=(mtime_ns, mtime_ns))
        part.path.replace(target)
    return target


def _is_there(target: Path, size: int, mtime_ns: int) -> bool:
    try:
        status = target.stat()
    except FileNotFoundError:
        return False
    return (status.st_size, status.st_mtime_ns) == (size, mtime_ns)


@dataclass(frozen=True, slots=True)
class _Part:
    """A file that is being downloaded, from front to back."""

    path: Path
    descriptor: int

    @property
    def size(self) -> int:
        """How much of it is here, bytes."""
        return os.fstat(self.descriptor).st_size

    def cut(self, size: int) -> None:
        """Cut the file to this size, or extend it with a hole."""
        os.ftruncate(self.descriptor, size)

    def add(self, chunk: bytes, start: int) -> None:
        """Append a chunk; zeros become a hole."""
        if chunk == _ZEROS[: len(chunk)]:
            self.cut(start + len(chunk))
            return
        rest = memoryview(chunk)
        while rest:
            written = os.pwrite(self.descriptor, rest, start)
            rest, start = rest[written:], start + written


def _part(wanted: Wanted) -> Path:
    """Name under which this version of the file is downloaded.

    Without a hash a part is not trusted after a restart of the machine, which may have lost what it holds.
    """
    boot = "" if wanted.sha256 else this_process().boot
    version = hashlib.sha256(f"{wanted.size} {wanted.mtime_ns} {wanted.sha256} {boot}".encode()).hexdigest()
    return part_path(wanted.target.with_name(f"{wanted.target.name}.{version[:16]}"), shared=True)


@contextmanager
def _alone(path: Path) -> Iterator[_Part]:
    """Open a part for this call alone; another process or thread that downloads the same file is waited for."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if has_its_name(descriptor, path):
                yield _Part(path, descriptor)
                return
        finally:
            os.close(descriptor)


def _fetch(root: RemoteRoot, wanted: Wanted, part: _Part, progress: Progress) -> str:
    """Fetch what is not here yet, and return the hash of all."""
    digest, done = hashlib.sha256(), 0
    while chunk := os.pread(part.descriptor, _RANGE, done):
        digest.update(chunk)
        done += len(chunk)
    for chunk in _ranges(root, wanted, done):
        part.add(chunk, done)
        digest.update(chunk)
        done += len(chunk)
        progress(done, wanted.size, "bytes downloaded")
    return digest.hexdigest()


def _ranges(root: RemoteRoot, wanted: Wanted, start: int) -> Iterator[bytes]:
    """Yield the rest of a file in order, with some requests at a time; it ends where the file does."""

    def read(begin: int) -> bytes:
        return read_range(root, wanted.path, begin, min(_RANGE, wanted.size - begin))

    begins = range(start, wanted.size, _RANGE)
    try:
        if len(begins) <= 1:
            yield from map(read, begins)
        else:
            yield from in_order((partial(read, begin) for begin in begins), _AHEAD)
    except FileNotFoundError:
        raise missing(root, wanted.path) from None


def _judge(root: RemoteRoot, wanted: Wanted, part: _Part, digest: str) -> None:
    """Refuse what is not the file that was asked for."""
    if wanted.sha256 is not None:
        if (part.size, digest) != (wanted.size, wanted.sha256):
            part.path.unlink()
            raise StorageError.at(
                f"{root.url}/{wanted.path}",
                expected=f"{wanted.size} bytes with the hash {wanted.sha256}",
                found=f"{part.size} bytes with the hash {digest}",
                remedy="The file on the server is damaged or was replaced: bring it back, or run again what makes it",
            )
        return
    seen = must_have(root, wanted.path)
    if part.size != wanted.size or (seen.size, seen.mtime_ns) != (wanted.size, wanted.mtime_ns):
        part.path.unlink()
        raise changed_since(root, wanted.path, wanted.size, seen.size)


def download_all(
    root: RemoteRoot, files: Sequence[Wanted], *, workers: int = 4, progress: Progress = silent
) -> tuple[Path, ...]:
    """Download files side by side; the first failure ends all, and what has arrived stays."""
    tally = Tally(sum(file.size for file in files), progress)

    def one(file: Wanted) -> Path:
        return download(
            root,
            file.path,
            file.target,
            size=file.size,
            mtime_ns=file.mtime_ns,
            sha256=file.sha256,
            progress=tally.of(file.path),
        )

    return side_by_side([partial(one, file) for file in files], workers, tally)
