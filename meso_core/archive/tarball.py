"""`imaging.frames.tar.bz2`: one per bout, compressed on all cores and verified by content.

What belongs here: making the archive of a bout's tifs, and comparing an archive with tifs or with its record. Reading
frames from it is in ``source``; bringing tifs back, and removing them, in ``restoring`` and ``removal``.
"""

from __future__ import annotations

import bz2
import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ..errors import ArchiveError, problem
from ..progress import Progress, silent
from ..scanimage import ScanImageTif, open_bout
from .atomic import check_room, file_beside
from .codec.bzip2 import LEVEL, STREAM_BYTES, Bzip2Reader, Bzip2Writer
from .codec.tar import end_mark, entry_header, padding, read_tape
from .rawtif import READ_BYTES, HashedTif, disagreements, hash_tifs, tifs_of
from .report import ARCHIVE_NAME, ArchiveMember, ArchiveReport


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
    tifs = open_bout(tifs_of(bout_folder))
    started = time.monotonic()
    if out.exists():
        members = hash_tifs(tifs, progress)
        report = verify_archive(out, members, workers=workers, progress=progress)
        return replace(report, bout=bout_folder.name, seconds=time.monotonic() - started, adopted=True)
    check_room(out, estimate_size(tifs))
    with file_beside(out) as (part, file):
        members, hashes = _write_archive(tifs, file, workers, progress)
        report = verify_archive(part, members, workers=workers, progress=progress)
        if (report.sha256, report.md5) != hashes:
            raise _disagrees(out, ["the archive itself: other bytes came back from the disk than were written"])
    return replace(report, bout=bout_folder.name, name=out.name, seconds=time.monotonic() - started)


def verify_archive(
    archive: str | Path,
    members: Sequence[ArchiveMember] | None = None,
    *,
    workers: int | None = None,
    progress: Progress = silent,
) -> ArchiveReport:
    """Read an archive to its end and compare each member's sha-256 and size with what is expected.

    Times are not compared: a tar of others keeps whole seconds only, and tifs are restored with the recorded ones.

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
    started, archive = time.monotonic(), Path(archive)
    expected = {m.name: m for m in members or ()}
    total = sum(m.size for m in expected.values())
    found = []
    with Bzip2Reader(archive, workers=workers, hashed=True) as stream:
        for content in read_tape(stream, str(archive), largest=stream.largest_content):
            sha256, md5 = hashlib.sha256(), None if members else hashlib.md5(usedforsecurity=False)
            while data := content.read(READ_BYTES):
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
        findings = disagreements(members, found)
        if findings:
            raise _disagrees(archive, findings)
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


def _write_archive(
    tifs: Sequence[ScanImageTif], file: BinaryIO, workers: int | None, progress: Progress
) -> tuple[tuple[ArchiveMember, ...], tuple[str, str]]:
    total = sum(tif.n_bytes for tif in tifs)
    members = []
    done = 0
    with Bzip2Writer(file, workers=workers) as stream:
        for tif in tifs:
            reading = HashedTif(tif.path, tif.n_pages)
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


def _disagrees(archive: Path, findings: Sequence[str]) -> ArchiveError:
    return ArchiveError(
        problem(
            archive,
            expected="the content of the tifs, member by member",
            found="; ".join(findings),
            remedy="Move this archive away and archive the bout again; keep the tifs",
        )
    )


def estimate_size(tifs: Sequence[ScanImageTif]) -> int:
    """Estimate the archive's bytes from samples: the middle of up to eight of the tifs, compressed."""
    raw = packed = 0
    for tif in tifs[:: max(1, len(tifs) // 8)][:8]:
        with tif.path.open("rb") as file:
            file.seek(max(0, tif.n_bytes // 2 - STREAM_BYTES // 2))
            sample = file.read(STREAM_BYTES)
        raw += len(sample)
        packed += len(bz2.compress(sample, LEVEL))
    total = sum(tif.n_bytes for tif in tifs)
    return int(total * packed / max(raw, 1)) + 14 * (total // STREAM_BYTES + 1)
