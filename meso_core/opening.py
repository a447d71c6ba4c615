"""The one way in which meso opens a file of a session: a plain file, without waiting, of a size that fits its kind.

What belongs here: opening, and the forms that many files share (JSON, ``.npy``). What does not: what a file means. A
session is filled by others: in the place of a file there may be a folder, a pipe that nobody writes to, a link to
nothing, a device without end, or far more bytes than its kind ever has. ``tests/test_house.py`` keeps that nothing
else opens files.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, cast

import numpy as np

from .errors import InputFileError, MissingInputError

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

#: Largest sizes by kind, bytes: text that a rig or a person wrote; tables, pictures and small arrays; what meso wrote
#: itself, and arrays that are read whole.
TEXT_BYTES, TABLE_BYTES, RECORD_BYTES = 1 << 24, 1 << 27, 1 << 30

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
}
#: What systems say of a share whose server is gone.
SHARE_GONE = (
    errno.ENOTCONN,
    errno.ECONNABORTED,
    errno.ESTALE,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ETIMEDOUT,
)
#: Bytes that are asked for at a time of a file that is longer than it said.
_MORE = 1 << 20
_REMEDY = "Copy the file itself here again, or move this away"


class RandomFile(Protocol):
    """A file that can be read anywhere."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place; returns it."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Put the next bytes into a buffer; returns how many."""


def is_there(path: Path) -> bool:
    """Whether anything has this name; a link to nothing counts, so that opening it says what it is."""
    return os.path.lexists(path)


def open_plain(path: str | os.PathLike[str], *, limit: int | None = None, buffering: int = -1) -> BufferedReader:
    """Open a plain file for reading; links are followed, and opening never waits for a writer.

    Parameters
    ----------
    path
        The file.
    limit
        Largest size, bytes; None for files that are read piece by piece.
    buffering
        As for :func:`open`; 0 gives a :class:`io.FileIO`.

    Raises
    ------
    MissingInputError
        If nothing has this name.
    InputFileError
        If it is no plain file, is larger than its kind ever is, or may not be read.
    """
    where = Path(path)
    try:
        # look before opening: opening alone can make a device do things
        _check(where, where.stat(), limit)
        file = open(where, "rb", buffering=buffering, opener=_without_waiting)  # noqa: SIM115  it has an opener
    except (OSError, ValueError) as error:
        if isinstance(error, InputFileError):
            raise
        raise _not_opened(where, error) from error
    try:
        _check(where, os.fstat(file.fileno()), limit)  # of what was opened: it may have been replaced since
    except InputFileError:
        file.close()
        raise
    return cast("BufferedReader", file)


def read_plain(path: str | os.PathLike[str], limit: int = TEXT_BYTES) -> bytes:
    """Read a plain file whole; errors as :func:`open_plain`."""
    where = os.fspath(path)  # of very many small records: file and path objects cost more than asking the system
    try:
        _check(where, os.stat(where), limit)  # noqa: PTH116  as said
        descriptor = _without_waiting(where, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            _check(where, status, limit)
            return _whole(descriptor, status.st_size, limit)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        if isinstance(error, InputFileError):
            raise
        raise _not_opened(Path(where), error) from error


def _whole(descriptor: int, size: int, limit: int) -> bytes:
    """Read what an open file holds, of which its size was told; it may grow or shrink meanwhile."""
    parts = [os.read(descriptor, size + 1)]  # room for the limit would cost more than small files themselves
    n_bytes = len(parts[0])
    while n_bytes != size and parts[-1] and n_bytes < limit:  # a share may give less at a time
        parts.append(os.read(descriptor, min(limit - n_bytes, max(size - n_bytes, _MORE))))
        n_bytes += len(parts[-1])
    return b"".join(parts)


def read_json(path: str | os.PathLike[str], remedy: str, limit: int = TEXT_BYTES) -> Any:  # noqa: ANN401  JSON is any
    """Read a JSON file.

    Raises
    ------
    MissingInputError, InputFileError
        As :func:`open_plain`; also, with the remedy, if it is no JSON, is nested too deep, or is not UTF-8.
    """
    content = read_plain(path, limit)
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputFileError.at(path, expected="JSON", found=str(error), remedy=remedy) from error


def map_array(path: str | os.PathLike[str], remedy: str = _REMEDY) -> Array:
    """Map a ``.npy`` file of plain values, read-only.

    Raises
    ------
    MissingInputError, InputFileError
        As :func:`open_plain`; also if it is no such file, holds Python objects, or is not as long as its header says.
    """
    with open_plain(path) as file:
        try:
            shape, fortran, dtype = read_header(file)
            start, size = file.tell(), os.fstat(file.fileno()).st_size
            needed = start + dtype.itemsize * int(np.prod(shape, dtype=object))
            if dtype.hasobject:
                raise ValueError("an array of Python objects, which is not read")  # noqa: TRY301  told below
            if size != needed:
                raise ValueError(f"{size} bytes, where its header of shape {shape} asks for {needed}")  # noqa: TRY301
            if needed == start:
                return np.empty(shape, dtype)
            return np.memmap(file, dtype, "r", start, shape, "F" if fortran else "C")
        except (ValueError, OverflowError, MemoryError, OSError) as error:
            raise InputFileError.at(
                path, expected="a .npy array", found=f"a damaged file ({error})", remedy=remedy
            ) from error


def read_array(path: str | os.PathLike[str], remedy: str = _REMEDY, limit: int = TABLE_BYTES) -> Array:
    """Read a ``.npy`` file of plain values whole; errors as :func:`map_array`."""
    open_plain(path, limit=limit).close()
    return np.array(map_array(path, remedy))


def read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of a ``.npy`` file: shape, whether in Fortran's order, and dtype.

    Raises
    ------
    ValueError
        If it is no such header.
    """
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise ValueError(f"version {version} of the format")
        shape, fortran, dtype = readers[version](file)
    except (SyntaxError, TypeError, EOFError, RecursionError, KeyError, AttributeError) as error:
        raise ValueError(f"no header: {error}") from error
    if any(length < 0 for length in shape):
        raise ValueError(f"shape {shape}")
    return shape, fortran, dtype


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _check(path: str | Path, status: os.stat_result, limit: int | None) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        found = KINDS.get(kind, "something else")
        raise InputFileError.at(path, expected="a plain file", found=found, remedy=_REMEDY)
    if limit is not None and status.st_size > limit:
        expected, found = f"at most {limit} bytes, as files of this kind have", f"{status.st_size} bytes"
        raise InputFileError.at(path, expected=expected, found=found, remedy=_REMEDY)


def _not_opened(path: Path, error: OSError | ValueError) -> InputFileError | MissingInputError:
    """Say why a file could not be opened."""
    remedy, number = _REMEDY, getattr(error, "errno", None)
    found = getattr(error, "strerror", None) or str(error)
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP) and path.is_symlink():
        found = f"a link to {path.readlink()}, where there is none"
    elif number in (errno.ENOENT, errno.ENOTDIR):
        return MissingInputError.at(
            path, expected="a file", found="no such file", remedy="Copy it from the rig, or run what makes it"
        )
    elif number in (errno.EACCES, errno.EPERM):
        remedy = "Give the platform's user the right to read it"
    elif number in SHARE_GONE:
        remedy = "Mount the share again, then run again"
    return InputFileError.at(path, expected="a plain file that can be read", found=found, remedy=remedy)
