"""Raw tifs as files: read once, hashed on the way, watched for changes, never written.

What belongs here: identity and content of tif files. Their pages are read by ``meso_core.scanimage``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path
from typing import cast

from ..errors import ArchiveError, InputFileError, MissingInputError
from ..opening import open_plain
from ..progress import Progress, silent
from ..scanimage import ScanImageTif
from ..session import raw_tifs
from .codec.tar import TarEntry, check_name
from .report import ArchiveMember

READ_BYTES = 1 << 20


class HashedTif:
    """A raw tif that is hashed while it is read from front to back.

    Parameters
    ----------
    tif
        The file, with its pages counted.

    Raises
    ------
    InputFileError
        If it cannot be read, or changes meanwhile. Of a link, the file that it leads to counts.
    """

    def __init__(self, tif: ScanImageTif) -> None:
        self._tif, self._n_pages = tif.path, tif.n_pages
        self._before = _status(tif.path)
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._file: RawIOBase
        check_name(tif.path.name, str(tif.path.parent))
        self.entry = TarEntry(tif.path.name, self._before.st_size, self._before.st_mtime_ns)
        #: Bytes read so far.
        self.position = 0

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the file open for :meth:`read` and :meth:`read_into`."""
        with cast("RawIOBase", open_plain(self._tif, buffering=0)) as file:
            self._file = file
            yield

    def read(self, size: int) -> bytes:
        """Return exactly the next ``size`` bytes."""
        data = bytearray(size)
        self.read_into(memoryview(data))
        return bytes(data)

    def read_into(self, into: memoryview) -> None:
        """Fill a buffer with the next bytes."""
        done = 0
        while done < len(into):
            try:
                n = self._file.readinto(into[done:])
            except OSError as error:
                raise InputFileError.at(
                    self._tif,
                    expected="a readable file",
                    found=str(error),
                    remedy="Copy it from the rig again, to another disk if this one fails",
                ) from error
            if not n:
                raise self._changed()
            done += n
        self._sha256.update(into)
        self._md5.update(into)
        self.position += len(into)

    def pieces_to(self, end: int) -> Iterator[bytes]:
        """Yield the bytes up to position ``end`` in pieces."""
        while self.position < end:
            yield self.read(min(READ_BYTES, end - self.position))

    def pieces(self) -> Iterator[bytes]:
        """Yield the whole file in pieces."""
        with self.opened():
            yield from self.pieces_to(self.entry.size)

    def member(self) -> ArchiveMember:
        """Identity and hashes, after everything was read."""
        if _of_status(_status(self._tif)) != _of_status(self._before) or self.position != self.entry.size:
            raise self._changed()
        entry = self.entry
        return ArchiveMember(
            entry.name, entry.size, entry.mtime_ns, self._sha256.hexdigest(), self._md5.hexdigest(), self._n_pages
        )

    def _changed(self) -> InputFileError:
        return InputFileError.at(
            self._tif,
            expected="a file that does not change while it is read",
            found="its size or time changed",
            remedy="Wait until the copy from the rig has finished, then try again",
        )


def hash_tif(tif: Path) -> ArchiveMember:
    """Hash a raw tif and count its pages; it is an error if the tif changes meanwhile."""
    return hash_tifs((ScanImageTif(tif),))[0]


def hash_tifs(tifs: Sequence[ScanImageTif], progress: Progress = silent) -> tuple[ArchiveMember, ...]:
    """Hash the tifs of a bout; ``progress`` is told of bytes."""
    total, done, members = sum(tif.n_bytes for tif in tifs), 0, []
    for tif in tifs:
        reading = HashedTif(tif)
        for _ in reading.pieces():
            progress(done + reading.position, total, "bytes of tifs hashed")
        done += reading.position
        members.append(reading.member())
    return tuple(members)


def tifs_of(bout_folder: Path) -> tuple[Path, ...]:
    """Tifs of a bout in natural order.

    Raises
    ------
    MissingInputError
        If there are none.
    """
    tifs = raw_tifs(bout_folder) if bout_folder.is_dir() else ()
    if not tifs:
        raise MissingInputError.at(
            bout_folder,
            expected="raw tifs of an imaging bout",
            found="none" if bout_folder.is_dir() else "no such folder",
            remedy="Copy the bout from the rig, or bring its tifs back from the archive (`meso restore`)",
        )
    return tifs


def disagreements(expected: Sequence[ArchiveMember], found: Iterable[ArchiveMember]) -> list[str]:
    """Name every member that is missing, unexpected or different."""
    there = {m.name: m for m in found}
    findings = []
    for member in expected:
        other = there.pop(member.name, None)
        if other is None:
            findings.append(f"{member.name} is missing")
        elif other.size != member.size:
            findings.append(f"{member.name} has {other.size} bytes, not {member.size}")
        elif other.sha256 != member.sha256:
            findings.append(f"{member.name} has other content")
    return findings + [f"{name} is not among the tifs" for name in there]


def disagreement(archive: Path, findings: Sequence[str]) -> ArchiveError:
    """Make the error of an archive that does not hold the tifs."""
    remedy = "Move this archive away and archive the bout again; keep the tifs"
    expected, found = "the content of the tifs, one by one", "; ".join(findings)
    return ArchiveError.at(archive, expected=expected, found=found, remedy=remedy)


def other_content(archive: Path, name: str) -> ArchiveError:
    """Make the error of a tif in an archive that is not the one that was archived."""
    return ArchiveError.at(
        archive,
        field=name,
        expected="the content that was recorded when this tif was archived",
        found="other content",
        remedy="Restore the archive from a copy; while the tifs exist, move it away instead and archive them again",
    )


def _status(tif: Path) -> os.stat_result:
    try:
        return tif.stat()
    except FileNotFoundError as error:
        raise InputFileError.at(
            tif,
            expected="a file that does not change while it is read",
            found="no such file any more",
            remedy="Copy it from the rig again",
        ) from error


def _of_status(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino
