"""Files that appear whole or not at all, hashed while they are written.

What belongs here: the one way in which meso writes a file: beside its place, flushed, renamed. What does not: which
files belong together (``staging``, ``publishing``).
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ...errors import MesoError, StorageError
from ...opening import SHARE_GONE
from ...session import MESO_FOLDER
from .deferred_renames import IN_USE, replace_name
from .hashing import FileHash, sync_file, sync_folder
from .permissions import as_its_folder, folder_as_its_parent

#: Bytes of a file name, on the usual file systems.
_LONGEST_NAME = 255
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: What file systems say that know no hard links, or no more of this file.
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class HashedFile:
    """A binary file that is written from front to back, and hashed on the way.

    It has no ``seek``: what was hashed cannot change any more. ``zipfile`` and ``numpy.save`` write to it as it is.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._size = 0
        #: What the disk said when writing failed: a writer on top of this may hide it behind an error of its own.
        self.failed: OSError | None = None

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Write and hash; returns the number of bytes."""
        view = memoryview(data).cast("B")
        try:
            self._file.write(view)
        except OSError as error:
            self.failed = error
            raise
        self._sha256.update(view)
        self._md5.update(view)
        self._size += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._file.flush()

    def fileno(self) -> int:
        """Return the descriptor, for ``fsync``."""
        return self._file.fileno()

    @property
    def content(self) -> FileHash:
        """What was written so far."""
        return FileHash(self._size, self._sha256.hexdigest(), self._md5.hexdigest())


@contextmanager
def replacing(path: Path, *, buffering: int = -1, flush: bool = True) -> Iterator[HashedFile]:
    """Write a file that takes its name only when it is whole; what had the name before stays until then.

    Parameters
    ----------
    path
        The file. Its folder is made where it is not there.
    buffering
        As for :func:`open`.
    flush
        Wait until it is on the disk. Without, a loss of power may leave it empty: only for what can be had again.

    Yields
    ------
    HashedFile
        To write to. At the end of the block it is flushed to the disk and renamed; after an error it is removed.

    Raises
    ------
    StorageError
        If the disk has no room, or does not allow writing.
    """
    hashed: HashedFile | None = None
    with making(path, flush=flush) as beside:
        try:
            with beside.open("wb", buffering=buffering) as file:
                hashed = HashedFile(file)
                yield hashed
        except Exception as error:
            if hashed is None or hashed.failed is None:
                raise
            raise hashed.failed from error


@contextmanager
def making(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Let another program write a file that takes its name only when it is whole, as :func:`replacing`.

    Yields
    ------
    Path
        Name beside the final one, to write to.
    """
    beside = part_path(path)
    make_folder(path.parent)
    with storage_errors(path):
        try:
            yield beside
            as_its_folder(beside)  # whoever wrote it does not know of the group
            if flush:
                sync_file(beside)
            replace_name(beside, path)
        except BaseException:
            with suppress(OSError):  # the first error is the one to tell
                beside.unlink(missing_ok=True)
            raise
        if flush:
            sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, and bring each new one to the disk.

    Raises
    ------
    StorageError
        If the disk has no room, or does not allow writing; or if the folder is one for the platform's own records and
        the session that they belong to is gone: an empty session is not made in its place.
    """
    with storage_errors(folder):
        if folder.is_dir():
            return
        made = [new for new in (folder, *folder.parents) if not new.exists()]
        if gone := next((new for new in made if (MESO_FOLDER in folder.relative_to(new).parts)), None):
            raise FileNotFoundError(errno.ENOENT, "the session is not there any more", str(gone))
        folder.mkdir(parents=True, exist_ok=True)
        for new in reversed(made):
            folder_as_its_parent(new)
            sync_folder(new.parent)


def move_file(source: Path, target: Path) -> None:
    """Rename a file; where a folder of the session is a link to another file system, copy it there first."""
    try:
        replace_name(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target)
        with storage_errors(target):
            source.unlink()


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or make a copy of it with its time where that cannot be; nothing may have the name."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (*NO_LINKS, errno.EXDEV):
            raise
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    """Copy a file with its time, whole or not at all."""
    beside, status = part_path(target), source.stat()
    with storage_errors(target):
        clear_parts(target)
        shutil.copyfile(source, beside)
        as_its_folder(beside)
        os.utime(beside, ns=(status.st_atime_ns, status.st_mtime_ns))
        sync_file(beside)
        replace_name(beside, target)


def write_file(path: Path, content: bytes, *, flush: bool = True) -> FileHash:
    """Write a small file whole or not at all, and return its hashes; ``flush`` as for :func:`replacing`.

    Raises
    ------
    StorageError
        As :func:`replacing`.
    """
    with replacing(path, flush=flush) as file:
        file.write(content)
    return file.content


def link_or_rename(file: Path, out: Path) -> None:
    """Give a file the name ``out`` too, or instead where the file system knows no links; never overwrite.

    Raises
    ------
    FileExistsError
        If there is something of this name.
    """
    if not linked(file, out):
        if os.path.lexists(out):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(out))
        file.rename(out)


def linked(file: Path, out: Path) -> bool:
    """Give a file a second name that nothing has; False where the file system knows no links, or no more of it."""
    try:
        os.link(file, out, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return False
    return True


def same_file(one: Path, other: Path) -> bool:
    """Whether both are names of one file; links are not followed."""
    with suppress(FileNotFoundError):
        return os.path.samestat(one.lstat(), other.lstat())
    return False


def part_path(path: Path, *, shared: bool = False) -> Path:
    """Name under which a file is being made: hidden, in the same folder; of this process, or shared by all."""
    ending = ".part" if shared else f".{os.getpid()}.part"
    name = f".{path.name}{ending}"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}{ending}"
    return path.with_name(name)


def clear_parts(path: Path) -> None:
    """Remove what killed processes left of a file that they were making; only where nobody else can be making it."""
    part = part_path(path)
    ending = f".{os.getpid()}.part"
    for left in path.parent.glob(f"{glob.escape(part.name.removesuffix(ending))}.*.part"):
        left.unlink(missing_ok=True)


@contextmanager
def storage_errors(where: Path) -> Iterator[None]:
    """Turn what the disk says into a StorageError that tells what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, MesoError):
            raise
        # numpy tells of a full disk in words of its own, without a number: "62208 requested and 31145 written"
        full = error.errno in _NO_ROOM or (error.errno is None and str(error).endswith("written"))
        gone = error.errno == errno.ENOENT
        first = "Free space on this disk" if full else "Check the permissions and the disk"
        first = "Close the programs that have it open" if error.errno in IN_USE else first
        first = "Bring the folder back, or name the session where it is now" if gone else first
        first = "Mount the share again" if error.errno in SHARE_GONE else first
        raise StorageError.at(
            error.filename or where,
            expected="room on the disk" if full else "a place that can be read and written",
            found=error.strerror or str(error),
            remedy=f"{first}, then run again",
        ) from error
