"""`imaging.frames.tar.bz2`: one per bout, compressed on all cores and verified by content.

What belongs here: making the archive of a bout's tifs, and comparing an archive with tifs or with its record. Reading
frames from it is in ``source``; bringing tifs back, and removing them, in ``restore`` and ``removal``.
"""

from __future__ import annotations

import bz2
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ..errors import ArchiveError, InputFileError, MesoError, MissingInputError, StorageError, problem
from ..progress import Progress, silent
from ..session import raw_tifs
from ..storage.hashing import sync_folder
from .bzip2 import LEVEL, STREAM_BYTES, Bzip2Reader, Bzip2Writer
from .report import ARCHIVE_NAME, ArchiveMember, ArchiveReport
from .tape import TapeEntry, check_name, end_mark, entry_header, padding, read_tape

_READ_BYTES = 1 << 20
#: bzip2 packs at best about 45 bytes for 900 kB of one value: nothing honest unpacks to more than this times its size.
_LARGEST_EXPANSION = 25_000
#: Room asked for beyond the estimate, as a share of it.
_MARGIN = 0.05


def compress_tifs(
    bout_folder: Path, out: Path | None = None, *, workers: int | None = None, progress: Progress = silent
) -> ArchiveReport:
    """Pack the tifs of a bout into a tar.bz2, read it back, and compare every member's content.

    An archive that is there already is not trusted: it is verified against the tifs and adopted, or refused.

    Parameters
    ----------
    bout_folder
        ``raw_imaging_data_NN``; its tifs are only read.
    out
        Archive to make; ``imaging.frames.tar.bz2`` in the bout's folder by default.
    workers
        Cores to use; all by default. The bytes written do not depend on it.
    progress
        Told of raw bytes compressed, then verified.

    Returns
    -------
    ArchiveReport
        Members with their hashes and frame counts. Keep it with :func:`~meso_core.archive.save_report`.

    Raises
    ------
    MissingInputError
        If the folder holds no tifs.
    InputFileError
        If a tif is not of ScanImage, or changes while it is read.
    ArchiveError
        If an archive that was there before disagrees with the tifs, or the new one does not read back.
    StorageError
        If there is no room or no right to write; nothing is left behind.
    """
    bout_folder = Path(bout_folder)
    out = bout_folder / ARCHIVE_NAME if out is None else Path(out)
    tifs = _tifs_of(bout_folder)
    started = time.monotonic()
    if out.exists():
        members = tuple(hash_tif(tif) for tif in tifs)
        report = verify_archive(out, members, workers=workers, progress=progress)
        return replace(report, bout=bout_folder.name, seconds=time.monotonic() - started, adopted=True)
    _check_room(tifs, out)
    with _written_beside(out) as (part, file):
        members, hashes = _write_archive(tifs, file, workers, progress)
        report = verify_archive(part, members, workers=workers, progress=progress)
        if (report.sha256, report.md5) != hashes:
            raise _disagrees(out, ["the archive itself: other bytes came back from the disk than were written"])
    return replace(report, bout=bout_folder.name, name=out.name, seconds=time.monotonic() - started)


def verify_archive(
    archive: Path,
    members: Sequence[ArchiveMember] | None = None,
    *,
    workers: int | None = None,
    progress: Progress = silent,
) -> ArchiveReport:
    """Read an archive to its end and compare each member's sha-256, size and time with what is expected.

    Parameters
    ----------
    archive
        A tar.bz2, ours or made by ``tar -cj``.
    members
        What it should hold, from :func:`hash_tif` or a recorded report. Without it the archive is only checked
        for being whole, and the report says so.
    workers
        Cores to use; all by default.
    progress
        Told of raw bytes verified.

    Returns
    -------
    ArchiveReport
        What was found.

    Raises
    ------
    ArchiveError
        If the archive is damaged or hostile, or disagrees; the message names the members.
    """
    started = time.monotonic()
    expected = {m.name: m for m in members or ()}
    total = sum(m.size for m in expected.values())
    found = []
    with Bzip2Reader(archive, workers=workers) as stream:
        for content in read_tape(stream, str(archive), largest=archive.stat().st_size * _LARGEST_EXPANSION):
            sha256, md5 = hashlib.sha256(), None if members else hashlib.md5(usedforsecurity=False)
            while data := content.read(_READ_BYTES):
                sha256.update(data)
                if md5 is not None:
                    md5.update(data)
                progress(stream.position, max(total, stream.position), "bytes verified")
            entry = content.entry
            known = expected.get(entry.name)
            found.append(
                ArchiveMember(
                    entry.name,
                    entry.size,
                    entry.mtime_ns,
                    sha256.hexdigest(),
                    known.md5 if known else md5.hexdigest() if md5 else "",
                    known.n_frames if known else 0,
                )
            )
        size, sha, archive_md5 = stream.bytes_in, stream.sha256, stream.md5
    if members is not None:
        _compare(archive, members, found)
    return ArchiveReport(
        bout=archive.parent.name,
        archive_format="tar.bz2",
        name=archive.name,
        # the tifs' own times are kept, since those in a tar made by others are often whole seconds
        members=tuple(found) if members is None else tuple(members),
        size=size,
        sha256=sha,
        md5=archive_md5,
        seconds=time.monotonic() - started,
        compared_with_tifs=members is not None,
    )


def hash_tif(tif: Path) -> ArchiveMember:
    """Hash a raw tif and count its frames, insisting that it does not change meanwhile."""
    reading = _HashedTif(tif)
    for _ in reading.pieces():
        pass
    return reading.member()


class _HashedTif:
    """A raw tif that is hashed while it is read, and watched for changes."""

    def __init__(self, tif: Path) -> None:
        self._tif = tif
        self._before = _stat(tif)
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._n_frames = count_frames(tif)
        check_name(tif.name, str(tif.parent))
        self.entry = TapeEntry(tif.name, self._before.st_size, self._before.st_mtime_ns)

    def pieces(self) -> Iterator[bytes]:
        left = self.entry.size
        with self._tif.open("rb") as file:
            while data := _read(file, min(_READ_BYTES, left)):
                left -= len(data)
                self._sha256.update(data)
                self._md5.update(data)
                yield data
        if left:
            raise self._changed()

    def member(self) -> ArchiveMember:
        after = _stat(self._tif)
        if _identity(after) != _identity(self._before):
            raise self._changed()
        entry = self.entry
        return ArchiveMember(
            entry.name, entry.size, entry.mtime_ns, self._sha256.hexdigest(), self._md5.hexdigest(), self._n_frames
        )

    def _changed(self) -> InputFileError:
        return InputFileError(
            problem(
                self._tif,
                expected="a file that rests while it is archived",
                found="its size or time changed",
                remedy="Wait until the copy from the rig has finished, then archive again",
            )
        )


def count_frames(tif: Path) -> int:
    """Count the pages of a ScanImage tif."""
    import tifffile

    with tifffile.TiffFile(tif) as file:
        return len(file.pages)


def _write_archive(
    tifs: Sequence[Path], file: BinaryIO, workers: int | None, progress: Progress
) -> tuple[tuple[ArchiveMember, ...], tuple[str, str]]:
    total = sum(tif.stat().st_size for tif in tifs)
    members = []
    done = 0
    with Bzip2Writer(file, workers=workers) as stream:
        for tif in tifs:
            reading = _HashedTif(tif)
            stream.write(entry_header(reading.entry))
            for data in reading.pieces():
                stream.write(data)
                done += len(data)
                progress(done, total, f"bytes compressed (to {stream.ratio:.1%} of their size)")
            stream.write(padding(reading.entry.size))
            members.append(reading.member())
        stream.write(end_mark(stream.bytes_in))
        hashes = stream.finish()
    file.flush()
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):  # so that the verification reads the disk, not the page cache
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return tuple(members), hashes


def _compare(archive: Path, expected: Sequence[ArchiveMember], found: Iterable[ArchiveMember]) -> None:
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
    findings += [f"{name} is not among the tifs" for name in there]
    if findings:
        raise _disagrees(archive, findings)


def _disagrees(archive: Path, findings: Sequence[str]) -> ArchiveError:
    return ArchiveError(
        problem(
            archive,
            expected="the content of the tifs, member by member",
            found="; ".join(findings),
            remedy="Move this archive away and archive the bout again; keep the tifs",
        )
    )


def _read(file: BinaryIO, size: int) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise InputFileError(
            problem(file.name, expected="a readable file", found=str(error), remedy="Check the disk; copy it again")
        ) from error


def _tifs_of(bout_folder: Path) -> tuple[Path, ...]:
    tifs = raw_tifs(bout_folder) if bout_folder.is_dir() else ()
    if not tifs:
        raise MissingInputError(
            problem(
                bout_folder,
                expected="raw tifs of an imaging bout",
                found="none" if bout_folder.is_dir() else "no such folder",
                remedy="Copy the bout from the rig, or use its archive",
            )
        )
    return tifs


def _stat(tif: Path) -> os.stat_result:
    if tif.is_symlink():
        raise InputFileError(problem(tif, expected="a plain file", found="a link", remedy="Copy the tif itself here"))
    return tif.stat()


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


def estimate_size(tifs: Sequence[Path]) -> int:
    """Estimate the archive's bytes from samples: the middle of up to eight of the tifs, compressed."""
    raw = packed = 0
    for tif in tifs[:: max(1, len(tifs) // 8)][:8]:
        with tif.open("rb") as file:
            file.seek(max(0, tif.stat().st_size // 2 - STREAM_BYTES // 2))
            sample = file.read(STREAM_BYTES)
        raw += len(sample)
        packed += len(bz2.compress(sample, LEVEL))
    total = sum(tif.stat().st_size for tif in tifs)
    return int(total * packed / max(raw, 1)) + 14 * (total // STREAM_BYTES + 1)


def _check_room(tifs: Sequence[Path], out: Path) -> None:
    needed = int(estimate_size(tifs) * (1 + _MARGIN))
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise StorageError(
            problem(
                out.parent,
                expected=f"room for an archive of about {needed / 1e9:.3f} GB",
                found=f"{free / 1e9:.3f} GB free",
                remedy="Make room, or archive to another disk",
            )
        )


@contextmanager
def _written_beside(out: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Give a file beside ``out`` that takes its name in the end, or goes."""
    part = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with part.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StorageError(
                    problem(part, expected="no other run", found="one that writes it", remedy="Wait for it")
                ) from error
            file.truncate(0)  # what a killed run left
            try:
                yield part, file
                part.replace(out)
            except BaseException:
                with suppress(FileNotFoundError):
                    part.unlink()
                raise
        sync_folder(out.parent)
    except OSError as error:
        if isinstance(error, MesoError):
            raise
        raise StorageError(
            problem(
                out,
                expected="a disk with room and the right to write",
                found=error.strerror or str(error),
                remedy="Make room or give the platform's user the right to write, then archive again",
            )
        ) from error
