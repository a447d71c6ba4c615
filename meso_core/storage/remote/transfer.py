"""Bytes that go to a root and come from it, whole and checked.

What belongs here: single files and many. What does not: which files belong together.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from ...errors import StorageError
from ...opening import open_plain
from ...processes import this_process
from ...progress import Progress, silent
from ...session import ListedFile
from ..atomic import make_folder, part_path, storage_errors
from ..hashing import FileHash
from .backend import Backend, Seen
from .filesystem import RemoteRoot
from .side_by_side import Tally, side_by_side

#: Bytes of one request of a download, and how many are on their way at a time.
_RANGE, _AHEAD = 1 << 23, 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that is to be downloaded."""

    #: Below the root.
    path: str
    target: Path
    #: Bytes, as the listing or the manifest says.
    size: int
    sha256: str | None = None
    #: Time of the last change on the server, ns; given to the file here. None: what the server says.
    mtime_ns: int | None = None


def stat(root: RemoteRoot, path: str) -> ListedFile | None:
    """Look at one file; None where there is none."""
    seen = _look(root, path)
    return None if seen is None else ListedFile(path, seen.size, seen.mtime_ns)


def _look(root: RemoteRoot, path: str) -> Seen | None:
    try:
        return root.call("look at", path, lambda server: server.stat(root.place(path)))
    except FileNotFoundError:
        return None


def read_range(root: RemoteRoot, path: str, start: int, length: int) -> bytes:
    """Read a part of a file: fewer bytes where it ends before.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StorageError
        If the server refuses or does not answer.
    """
    if length <= 0:
        return b""
    return root.call("read", path, lambda server: server.read(root.place(path), start, length))


def read_small(root: RemoteRoot, path: str, limit: int) -> bytes | None:
    """Read a small file whole; None where there is none.

    Raises
    ------
    StorageError
        If it has more than ``limit`` bytes, or as :func:`read_range`.
    """
    try:
        content = read_range(root, path, 0, limit + 1)
    except FileNotFoundError:
        return None
    if len(content) > limit:
        raise StorageError.at(
            f"{root.url}/{path}",
            expected=f"at most {limit} bytes, as files of this kind have",
            found="more",
            remedy="Move it away from the root: it is not what its name says",
        )
    return content


def write_small(root: RemoteRoot, path: str, content: bytes, *, if_absent: bool = False) -> bool:
    """Write a small file, whole or not at all.

    Parameters
    ----------
    if_absent
        Write only where there is none. ``content`` must then be unlike that of any other writer: when an answer is
        lost, it tells who has written.

    Returns
    -------
    bool
        False if there was one already, of somebody else.
    """
    place = root.place(path)
    if root.call("write", path, lambda server: server.write(place, content, if_absent=if_absent)):
        return True
    return read_small(root, path, len(content)) == content if _size(root, path) == len(content) else False


def _size(root: RemoteRoot, path: str) -> int:
    seen = _look(root, path)
    return -1 if seen is None else seen.size


def remove(root: RemoteRoot, paths: Iterable[str]) -> None:
    """Remove files; those that are not there are passed over."""
    places = [root.place(path) for path in paths]
    if places:
        root.call("remove", root.path(places[0]), lambda server: server.remove(places))


def copy(root: RemoteRoot, source: str, target: str) -> ListedFile:
    """Copy a file on the server, over what is there."""
    size = _must_have(root, source).size
    root.call("copy", source, lambda server: server.copy(root.place(source), root.place(target), size))
    return _checked(root, target, size)


def move(root: RemoteRoot, source: str, target: str) -> ListedFile:
    """Rename a file, over what is there.

    Where an answer is lost after the rename, the file is found at its new name.
    """
    size = _must_have(root, source).size
    try:
        root.call("move", source, lambda server: server.move(root.place(source), root.place(target)))
    except FileNotFoundError:
        if _size(root, target) != size:
            raise
    return _checked(root, target, size)


def _must_have(root: RemoteRoot, path: str) -> Seen:
    seen = _look(root, path)
    if seen is None:
        raise _missing(root, path)
    return seen


def _missing(root: RemoteRoot, path: str) -> StorageError:
    remedy = "Bring it back, or run again what makes it"
    return StorageError.at(f"{root.url}/{path}", expected="a file", found="no such file", remedy=remedy)


def _checked(root: RemoteRoot, path: str, size: int) -> ListedFile:
    """Look at what was written."""
    seen = _look(root, path)
    if seen is None or seen.size != size:
        found = "no file" if seen is None else f"{seen.size} bytes"
        remedy = "Look who else writes there, then run again"
        raise StorageError.at(
            f"{root.url}/{path}", expected=f"the {size} bytes just written", found=found, remedy=remedy
        )
    return ListedFile(path, seen.size, seen.mtime_ns)


def download(
    root: RemoteRoot,
    path: str,
    target: Path,
    *,
    size: int,
    sha256: str | None = None,
    mtime_ns: int | None = None,
    progress: Progress = silent,
) -> Path:
    """Download a file, whole and checked; one that is there already with this size and time is kept.

    Parameters
    ----------
    target
        Its place here. It takes its name when it is whole; until then it is beside, and a download that was cut goes on
        from there, in another process too.
    size, sha256
        What it must be; without a hash, two looks at the server must agree.
    mtime_ns
        Time to give it, ns; that of the server, by default.

    Raises
    ------
    StorageError
        If the file is not there, is another one than expected, changes meanwhile, or there is no room here.
    """
    seen = _expected(root, path, size)
    time = seen.mtime_ns if mtime_ns is None else mtime_ns
    make_folder(target.parent)
    with storage_errors(target), _alone(_part(target, seen, sha256)) as part:
        if part is None or _is_there(target, size, time):
            return target
        digest = _fetch(root, path, part, size, progress)
        _judge(root, path, seen, part, (sha256, digest))
        os.fsync(part.fileno())
        os.utime(part.fileno(), ns=(time, time))
        Path(part.name).replace(target)
    return target


def _expected(root: RemoteRoot, path: str, size: int) -> Seen:
    seen = _must_have(root, path)
    if seen.size != size:
        remedy = "Look what has changed it, and run again what is made from it"
        found = f"{seen.size} bytes"
        raise StorageError.at(f"{root.url}/{path}", expected=f"{size} bytes", found=found, remedy=remedy)
    return seen


def _is_there(target: Path, size: int, mtime_ns: int) -> bool:
    try:
        status = target.stat()
    except FileNotFoundError:
        return False
    return (status.st_size, status.st_mtime_ns) == (size, mtime_ns)


def _part(target: Path, seen: Seen, sha256: str | None) -> Path:
    """Name under which this version of the file arrives.

    Without a hash a part is not trusted after a restart of the machine, which may have lost what it holds.
    """
    boot = "" if sha256 else this_process().boot
    version = hashlib.sha256(f"{seen.size} {seen.mtime_ns} {seen.version} {sha256} {boot}".encode()).hexdigest()
    return part_path(target.with_name(f"{target.name}.{version[:16]}"), shared=True)


@contextmanager
def _alone(path: Path) -> Iterator[BinaryIO | None]:
    """Open a part for this process alone; another one that downloads the same file is waited for."""
    while True:
        with path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                same = os.path.samestat(os.fstat(file.fileno()), path.stat())
            except FileNotFoundError:
                same = False
            if same:
                yield file
                return


def _fetch(root: RemoteRoot, path: str, part: BinaryIO, size: int, progress: Progress) -> str:
    """Fetch what is not there yet, and return the hash of all."""
    digest = hashlib.sha256()
    part.seek(0)
    done = 0
    while chunk := part.read(_RANGE):
        digest.update(chunk)
        done += len(chunk)
    going: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_AHEAD) as pool:
        starts = iter(range(done, size, _RANGE))

        def ask() -> None:
            if (start := next(starts, None)) is not None:
                going.append(pool.submit(read_range, root, path, start, min(_RANGE, size - start)))

        for _ in range(_AHEAD):
            ask()
        while going:
            chunk = going.popleft().result()
            ask()
            part.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(done, size, "bytes downloaded")
    part.flush()
    return digest.hexdigest()


def _judge(root: RemoteRoot, path: str, seen: Seen, part: BinaryIO, hashes: tuple[str | None, str]) -> None:
    """Refuse what is not the file that was asked for."""
    wanted, found = hashes
    whole = os.fstat(part.fileno()).st_size == seen.size
    if whole and (wanted == found or (wanted is None and (seen.size <= _RANGE or _look(root, path) == seen))):
        return
    Path(part.name).unlink()
    expected, what = "the file as it was at the first look", "it has changed meanwhile"
    remedy = "Wait until it is written, then run again"
    if wanted is not None:
        expected, what = f"content with the hash {wanted}", f"{found}"
        remedy = "The file on the server is damaged or was replaced: bring it back, or run again what makes it"
    raise StorageError.at(f"{root.url}/{path}", expected=expected, found=what, remedy=remedy)


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
            sha256=file.sha256,
            mtime_ns=file.mtime_ns,
            progress=tally.of(file.path),
        )

    return side_by_side([partial(one, file) for file in files], workers)


class _Reading:
    """A file that is uploaded: read from front to back, hashed on the way; pieces may be asked for again."""

    def __init__(self, file: BinaryIO, name: Path, content: FileHash, progress: Progress) -> None:
        self.size = content.size
        self._file, self._name, self._content, self._progress = file, name, content, progress
        self._digest, self._hashed, self._lock = hashlib.sha256(), 0, Lock()

    def piece(self, start: int, length: int) -> bytes:
        """Return these bytes; the last ones only if the whole is what it should be."""
        with self._lock:
            self._file.seek(start)
            content = self._file.read(length)
            if start == self._hashed:
                self._digest.update(content)
                self._hashed += len(content)
                self._progress(self._hashed, self.size, "bytes uploaded")
            at_end = start + length >= self.size
            if at_end and (self._hashed, self._digest.hexdigest()) != (self.size, self._content.sha256):
                remedy = "Look what has changed it, then run again"
                raise StorageError.at(
                    self._name, expected="the content that was hashed", found="other bytes", remedy=remedy
                )
        return content


def upload(root: RemoteRoot, file: Path, path: str, *, content: FileHash, progress: Progress = silent) -> ListedFile:
    """Upload a file, over what is there; it takes its name on the server when it is whole.

    It is hashed while it is read: bytes other than those of ``content`` never take the name.

    Returns
    -------
    ListedFile
        The file as the server tells of it.

    Raises
    ------
    StorageError
        If the file here has changed, or the server has no room, refuses or does not answer.
    """
    with open_plain(file) as opened:

        def send(server: Backend) -> None:
            server.send(root.place(path), _Reading(opened, file, content, progress))

        root.call("upload", path, send)
    return _checked(root, path, content.size)


def upload_all(
    root: RemoteRoot, files: Sequence[tuple[Path, str, FileHash]], *, workers: int = 4, progress: Progress = silent
) -> tuple[ListedFile, ...]:
    """Upload files (here, path below the root, content) side by side; the first failure ends all."""
    tally = Tally(sum(content.size for _, _, content in files), progress)

    def one(file: Path, path: str, content: FileHash) -> ListedFile:
        return upload(root, file, path, content=content, progress=tally.of(path))

    return side_by_side([partial(one, *given) for given in files], workers)
