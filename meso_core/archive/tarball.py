"""`imaging.frames.tar.bz2`: one per bout, compressed on all cores and verified by content.

What belongs here: making the archive of a bout's tifs, and comparing an archive with tifs or with its record.
``source`` reads pages from it, ``restoring`` brings tifs back, ``gate`` removes them.
"""

from __future__ import annotations

import bz2
import hashlib
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..opening import open_plain
from ..progress import Progress, silent
from ..scanimage import ScanImageTif, open_bout
from ..storage import FileHash
from ..storage.files.atomic import HashedFile
from .atomic import check_room, new_file
from .codec.bzip2 import LEVEL, STREAM_BYTES, Bzip2Writer
from .codec.lbzip2 import open_reader
from .codec.tar import end_mark, entry_header, padding, read_tar
from .rawtif import READ_BYTES, HashedTif, disagreement, disagreements, hash_tifs, tifs_of
from .report import ARCHIVE_NAME, ArchiveMember, ArchiveReport


def compress_tifs(
    bout_folder: Path, out: Path | None = None, *, workers: int | None = None, progress: Progress = silent
) -> ArchiveReport:
    """Pack the tifs of a bout into a tar.bz2, read it back, and compare every member's content.

    An archive that is there already is compared with the tifs, and adopted or refused.

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
        Members with their hashes and numbers of pages. Keep it with :func:`~meso_core.archive.save_report`.

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
    with new_file(out) as (part, file):
        members = _write_archive(tifs, file, workers, progress)
        report = verify_archive(part, members, workers=workers, progress=progress)
        if FileHash(report.size, report.sha256, report.md5) != file.content:
            raise disagreement(out, ["the archive itself: the disk gave other bytes than were written"])
    return replace(report, bout=bout_folder.name, name=out.name, seconds=time.monotonic() - started)


def verify_archive(
    archive: str | Path,
    members: Sequence[ArchiveMember] | None = None,
    *,
    workers: int | None = None,
    progress: Progress = silent,
) -> ArchiveReport:
    """Read an archive to its end and compare each member's sha-256 and size with what is expected.

    Times are not compared: a tar of others keeps whole seconds only, and restored tifs get the recorded times.

    Parameters
    ----------
    archive
        A tar.bz2, ours or made by ``tar -cj``.
    members
        What it should hold, from :func:`hash_tif` or a recorded report. Without it we only check that the archive is
        whole, and the report says so.
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
        If the archive is damaged or hostile, or holds other tifs; the message names them.
    ProcessingError
        If lbzip2 fails for another reason than the data.
    """
    started, archive = time.monotonic(), Path(archive)
    expected = {m.name: m for m in members or ()}
    total = sum(m.size for m in expected.values())
    found = []
    with open_reader(archive, workers=workers, hashed=True) as stream:
        for content in read_tar(stream, str(archive), largest=stream.largest_content):
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
                    known.n_pages if known else 0,
                )
            )
        packed = stream.content
    if members is not None:
        findings = disagreements(members, found)
        if findings:
            raise disagreement(archive, findings)
    return ArchiveReport(
        bout=archive.parent.name,
        archive_format="tar.bz2",
        name=archive.name,
        # with the times of the tifs, because a tar made by others often has whole seconds
        members=tuple(found) if members is None else tuple(members),
        size=packed.size,
        sha256=packed.sha256,
        md5=packed.md5,
        seconds=time.monotonic() - started,
        compared_with_tifs=members is not None,
    )


def _write_archive(
    tifs: Sequence[ScanImageTif], file: HashedFile, workers: int | None, progress: Progress
) -> tuple[ArchiveMember, ...]:
    total = sum(tif.n_bytes for tif in tifs)
    members = []
    done = 0
    with Bzip2Writer(file, workers=workers) as stream:
        for tif in tifs:
            reading = HashedTif(tif)
            stream.write(entry_header(reading.entry))
            for data in reading.pieces():
                stream.write(data)
                done += len(data)
                so_far = "" if math.isnan(stream.ratio) else f" (to {stream.ratio:.1%} of their size)"
                progress(done, total, f"bytes compressed{so_far}")
            stream.write(padding(reading.entry.size))
            members.append(reading.member())
        stream.write(end_mark(stream.bytes_in))
        stream.finish()
    file.flush()
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):  # so that the verification reads the disk, not the page cache
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return tuple(members)


def estimate_size(tifs: Sequence[ScanImageTif]) -> int:
    """Estimate the archive's bytes from samples: the middle of up to eight of the tifs, compressed."""
    raw = packed = 0
    for tif in tifs[:: max(1, len(tifs) // 8)][:8]:
        with open_plain(tif.path) as file:
            file.seek(max(0, tif.n_bytes // 2 - STREAM_BYTES // 2))
            sample = file.read(STREAM_BYTES)
        raw += len(sample)
        packed += len(bz2.compress(sample, LEVEL))
    total = sum(tif.n_bytes for tif in tifs)
    return int(total * packed / max(raw, 1)) + 14 * (total // STREAM_BYTES + 1)
