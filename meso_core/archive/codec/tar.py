"""The tar format: headers as we write them, and a reader that trusts nothing.

What belongs here: headers, padding, the end mark, and which names are allowed. We write POSIX (pax) archives through
:mod:`tarfile`, without owner and permissions. We read plain files only, from pax and GNU archives, and refuse
everything else that a tar can hold (links, devices, folders, sparse files). A label, the entry ``.`` and a global pax
header name no file: they are skipped or applied.

Reading is our own, because :mod:`tarfile` takes a damaged header, or an archive that is cut at one, for the
end (six of six such archives read without an error), and reads a pax header of any size into memory.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from ...errors import ArchiveError

BLOCK = 512
#: Both GNU tar and :mod:`tarfile` fill an archive up to a multiple of this.
RECORD = 20 * BLOCK
_LONGEST_EXTENSION = 1 << 16
_READ_BYTES = 1 << 20
_TIF_NAME = re.compile(r"\.tiff?$", re.IGNORECASE)
_GNU_LABEL = b"V"


class ByteStream(Protocol):
    """Anything that gives bytes in order."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a buffer with the next bytes; returns how many, fewer than it holds only at the end."""


@dataclass(frozen=True, slots=True)
class TarEntry:
    """Header of one file in a tar."""

    name: str
    #: Bytes.
    size: int
    mtime_ns: int


def entry_header(entry: TarEntry) -> bytes:
    """Header blocks of one file; a pax extension holds what the plain header cannot (ns, long or foreign names)."""
    info = tarfile.TarInfo(entry.name)
    info.size = entry.size
    info.mtime, nanoseconds = divmod(entry.mtime_ns, 10**9)
    if nanoseconds or not 0 <= info.mtime < 1 << 33:
        sign = "-" if entry.mtime_ns < 0 else ""
        info.pax_headers = {"mtime": f"{sign}{abs(entry.mtime_ns) // 10**9}.{abs(entry.mtime_ns) % 10**9:09d}"}
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """Zeros that follow ``size`` bytes of content up to the next block."""
    return bytes(-size % BLOCK)


def end_mark(position: int) -> bytes:
    """Two blocks of zeros, and more up to a whole record, for an archive of ``position`` bytes so far."""
    return bytes(2 * BLOCK + -(position + 2 * BLOCK) % RECORD)


class EntryStream:
    """Content of one entry, read forward; :func:`read_tar` skips what is left."""

    def __init__(self, stream: ByteStream, entry: TarEntry, where: str) -> None:
        self._stream, self._where = stream, where
        self.entry = entry
        self.left = entry.size

    def read(self, size: int = -1, /) -> bytes:
        """Return the next ``size`` bytes of the entry (all that is left, if negative)."""
        wanted = self.left if size < 0 else min(size, self.left)
        data = self._stream.read(wanted)
        self._took(len(data), wanted)
        return data

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill a buffer with the next bytes of the entry; returns how many, fewer only at its end."""
        wanted = min(len(buffer), self.left)
        done = self._stream.readinto(buffer[:wanted])
        self._took(done, wanted)
        return done

    def readable(self) -> bool:
        """Say that this can be read, as file objects do."""
        return True

    def _took(self, n_bytes: int, wanted: int) -> None:
        self.left -= n_bytes
        if n_bytes < wanted:
            raise _bad_tar(self._where, f"{self.entry.name} ends {self.left} bytes too early")


def read_tar(stream: ByteStream, where: str, *, largest: int | None = None) -> Iterator[EntryStream]:
    """Go through the files of a tar, once, forward, to its very end.

    Parameters
    ----------
    stream
        The uncompressed tar.
    where
        Archive, for error messages.
    largest
        Bytes that all files together may have; more counts as a bomb.

    Yields
    ------
    EntryStream
        Valid until the next one is asked for.

    Raises
    ------
    ArchiveError
        If the archive is damaged, ends too early, or holds anything but plain tifs with plain, different names.
    """
    seen: set[str] = set()
    total = 0
    for entry in _headers(stream, where):
        if entry.name in seen:
            raise _hostile(where, f"the name {entry.name!r} twice")
        seen.add(entry.name)
        total += entry.size
        if largest is not None and total > largest:
            raise _hostile(where, f"files of {total} bytes, more than the {largest} that bzip2 can pack into it")
        content = EntryStream(stream, entry, where)
        yield content
        while content.left:
            content.read(_READ_BYTES)
        fill = stream.read(-entry.size % BLOCK)
        if len(fill) < -entry.size % BLOCK or any(fill):
            raise _bad_tar(where, f"no zeros after {entry.name}")
    while rest := stream.read(_READ_BYTES):
        if rest.count(0) != len(rest):
            raise _bad_tar(where, "data after the end mark")


def check_name(name: str, where: str) -> None:
    """Check that a name is that of a tif, without any folder.

    Raises
    ------
    ArchiveError
        If the name is absolute, has a folder or ``..``, holds control characters, or is not that of a tif.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise _hostile(where, f"a member named {name!r}")
    if path.name != name or not _TIF_NAME.search(name) or len(name.encode("utf-8", "surrogateescape")) > 255:
        raise _foreign(where, f"a member named {name!r}")


def _headers(stream: ByteStream, where: str) -> Iterator[TarEntry]:
    """Entries up to the end mark; the caller reads each entry's content before asking for the next."""
    extension: dict[str, str] = {}
    everywhere: dict[str, str] = {}
    while True:
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            raise _bad_tar(where, "no end mark")
        if not any(block):
            if extension or stream.read(BLOCK) != bytes(BLOCK):
                raise _bad_tar(where, "half an end mark")
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise _bad_tar(where, f"a damaged header ({error})") from error
        if info.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            extension |= _extension(stream, info, where)
        elif info.type == tarfile.XGLTYPE:
            everywhere |= _extension(stream, info, where)
        elif info.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            yield _entry(info, everywhere | extension, where)
            extension = {}
        elif info.type in (tarfile.DIRTYPE, _GNU_LABEL):
            _check_nothing(info, extension, where)
            extension = {}
        else:
            raise _hostile(where, f"the member {info.name!r} of type {info.type!r}")


def _check_nothing(info: tarfile.TarInfo, extension: dict[str, str], where: str) -> None:
    """Check that an entry is a label, or the folder itself: nothing to unpack."""
    name = extension.get("path", info.name)
    if info.type == tarfile.DIRTYPE and name.rstrip("/") != ".":
        check_name(name, where)
        raise _foreign(where, f"the folder {name!r}")
    if info.size or "size" in extension:
        raise _bad_tar(where, f"{info.size} bytes in {name!r}, a folder or label")


def _entry(info: tarfile.TarInfo, extension: dict[str, str], where: str) -> TarEntry:
    name = extension.get("path", info.name).removeprefix("./")
    check_name(name, where)
    try:
        size = int(extension.get("size", info.size))
        mtime_ns = _nanoseconds(extension["mtime"]) if "mtime" in extension else int(info.mtime) * 10**9
    except ValueError as error:
        raise _bad_tar(where, f"{name!r} with a damaged size or time ({error})") from error
    if size < 0 or not -(1 << 63) <= mtime_ns < 1 << 63:
        raise _bad_tar(where, f"{name!r} with size {size} and time {mtime_ns}")
    return TarEntry(name, size, mtime_ns)


def _extension(stream: ByteStream, info: tarfile.TarInfo, where: str) -> dict[str, str]:
    """Fields of a pax extension, or the long name of a GNU one."""
    if not 0 < info.size <= _LONGEST_EXTENSION:
        raise _bad_tar(where, f"an extension of {info.size} bytes")
    payload = stream.read(info.size + -info.size % BLOCK)[: info.size]
    if len(payload) < info.size:
        raise _bad_tar(where, "no end mark")
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": payload.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    fields = {}
    while payload:
        length, space, _ = payload.partition(b" ")
        if not space or not length.isdigit() or not len(length) + 3 <= int(length) <= len(payload):
            raise _bad_tar(where, "a damaged pax extension")
        key, equals, value = payload[len(length) + 1 : int(length) - 1].partition(b"=")
        if not equals or payload[int(length) - 1 : int(length)] != b"\n":
            raise _bad_tar(where, "a damaged pax extension")
        fields[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        payload = payload[int(length) :]
    if any(key.startswith("GNU.sparse") for key in fields):
        raise _foreign(where, "a sparse file")
    return fields


def _nanoseconds(text: str) -> int:
    match = re.fullmatch(r"(-?)(\d{1,12})(?:\.(\d*))?", text)
    if match is None:
        raise ValueError(f"time {text!r}")
    value = int(match[2]) * 10**9 + int((match[3] or "").ljust(9, "0")[:9])
    return -value if match[1] else value


def _bad_tar(where: str, found: str) -> ArchiveError:
    remedy = "Restore this file from a copy; while the tifs exist, move it away instead and archive them again"
    return ArchiveError.at(where, expected="a whole tar of tifs", found=found, remedy=remedy)


def _foreign(where: str, found: str) -> ArchiveError:
    """Refuse a harmless tar that holds more than tifs, made by hand."""
    expected = "only the tifs of the bout, without a folder in their names"
    remedy = "Move this archive away and archive the tifs again; if they are gone, unpack it with tar elsewhere"
    return ArchiveError.at(where, expected=expected, found=found, remedy=remedy)


def _hostile(where: str, found: str) -> ArchiveError:
    remedy = "Do not unpack this file: move it away; while the tifs exist, archive them again"
    return ArchiveError.at(where, expected="only tifs with plain, different names", found=found, remedy=remedy)
