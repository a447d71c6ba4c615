"""The archive of one bout: made, adopted, or kept, in the format asked for.

What belongs here: the choice. ``tarball`` and ``zarr`` make and verify each format.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..errors import ArchiveError, MesoWarning, SettingsError
from ..opening import open_plain
from ..progress import Progress, silent
from ..scanimage import open_bout
from ..scanimage.metadata.bouts import find_meta
from ..session import raw_tifs
from ..storage.files.atomic import NO_LINKS, make_folder, replacing
from .gate.processed import page_mismatch
from .rawtif import disagreements, hash_tif, hash_tifs
from .report import ARCHIVE_NAME, ZARR_NAME, ArchiveMember, ArchiveReport
from .selection import archive_in_place_of, archives_in, is_archive
from .tarball import compress_tifs, verify_archive
from .zarr.frames import why_not_zarr
from .zarr.write import compress_to_zarr, verify_zarr

ArchiveFormat = Literal["tar.bz2", "zarr"]
FORMATS: dict[str, str] = {"tar.bz2": ARCHIVE_NAME, "zarr": ZARR_NAME}


def archive_bout(
    bout_folder: Path,
    out_folder: Path | None = None,
    *,
    archive_format: ArchiveFormat = "tar.bz2",
    workers: int | None = None,
    find_metadata: Callable[[Path], Path | None] = find_meta,
    progress: Progress = silent,
) -> ArchiveReport:
    """Make, adopt or keep the archive of a bout, verify it, and put it into a folder.

    ==================== =====================================================================================
    the bout holds       what happens
    ==================== =====================================================================================
    tifs                 they are archived, the archive is read back and compared
    tifs and an archive  the archive is compared with the tifs and adopted, or refused
    an archive           it is read to its end, compared with its record if there is one, and kept as it is
    ==================== =====================================================================================

    Where some tifs are gone, the archive on record is kept. A second archive, of the other format, must hold the same.

    Parameters
    ----------
    bout_folder
        ``raw_imaging_data_NN``; only read.
    out_folder
        Where to put the archive, for example a staging folder; the bout's folder by default. An archive that the bout
        holds already is linked, not copied; where the file system knows no links, it is left where it is.
    archive_format
        ``tar.bz2``, which every tar reads, or ``zarr``, which is smaller, ten times as fast, and read by frame.
        Tifs that do not fit the latter are kept as tar.bz2; a MesoWarning and ``report.note`` say why.
    workers
        Cores to use; all by default.
    find_metadata
        Finds the metadata file of a bout, whose number of pages is compared; None where it has none.
    progress
        Told of bytes compressed and verified.

    Returns
    -------
    ArchiveReport
        Keep it with :func:`save_report` once the archive is in its place.

    Raises
    ------
    SettingsError
        If the format is unknown.
    MissingInputError
        If the bout holds neither tifs nor an archive.
    ArchiveError, InputFileError, StorageError
        As :func:`compress_tifs`.
    """
    if archive_format not in FORMATS:
        raise SettingsError.at(
            "settings",
            field="archive_format",
            expected=" or ".join(FORMATS),
            found=repr(archive_format),
            remedy="Correct MESO_ARCHIVE_FORMAT",
        )
    bout_folder = Path(bout_folder)
    out_folder = bout_folder if out_folder is None else Path(out_folder)
    tifs = raw_tifs(bout_folder) if bout_folder.is_dir() else ()
    kept, recorded = archive_in_place_of(bout_folder, tifs)
    if kept is not None:
        return _with_pages(bout_folder, find_metadata, _keep(kept, out_folder, recorded, tifs, workers, progress))
    return _with_pages(
        bout_folder, find_metadata, _make(bout_folder, out_folder, archive_format, recorded, workers, progress)
    )


def verify_any(
    archive: Path,
    members: tuple[ArchiveMember, ...] | None = None,
    *,
    workers: int | None = None,
    progress: Progress = silent,
) -> ArchiveReport:
    """Verify an archive of either format; see :func:`verify_archive`."""
    verify: Callable[..., ArchiveReport] = verify_zarr if archive.is_dir() else verify_archive
    return verify(archive, members, workers=workers, progress=progress)


def _make(
    bout_folder: Path,
    out_folder: Path,
    archive_format: ArchiveFormat,
    recorded: ArchiveReport | None,
    workers: int | None,
    progress: Progress,
) -> ArchiveReport:
    """Archive the tifs of a bout, or compare them with the archive that is there."""
    chosen, note = archive_format, ""
    tifs = open_bout(raw_tifs(bout_folder))
    if chosen == "zarr" and (reason := why_not_zarr(tifs)):
        chosen, note = "tar.bz2", f"kept as tar.bz2: {reason}"
        warnings.warn(f"{bout_folder}: {note}", MesoWarning, stacklevel=3)
    there = bout_folder / FORMATS[chosen]
    others = [archive for archive in archives_in(bout_folder) if archive != there]
    members = hash_tifs(tifs, progress) if others else ()
    for other in others:
        _check_other(other, there, members, recorded, workers, progress)
    make = compress_tifs if chosen == "tar.bz2" else compress_to_zarr
    if is_archive(there) and out_folder != bout_folder:
        report = make(bout_folder, there, workers=workers, progress=progress)
        _link(there, out_folder)
    else:
        report = make(bout_folder, out_folder / FORMATS[chosen], workers=workers, progress=progress)
    return replace(report, note=note)


def _keep(
    archive: Path,
    out_folder: Path,
    recorded: ArchiveReport | None,
    tifs: tuple[Path, ...],
    workers: int | None,
    progress: Progress,
) -> ArchiveReport:
    """Verify an archive whose tifs are gone, all or some, and link it into the folder.

    A record says what the tifs were, even if it is about an archive of the other format.
    """
    started = time.monotonic()
    members = recorded.members if recorded is not None else None
    if members is not None and tifs:
        left = {t.name for t in tifs}
        findings = disagreements([m for m in members if m.name in left], [hash_tif(t) for t in tifs])
        if findings:
            raise ArchiveError.at(
                archive,
                expected="tifs beside it with the content on record",
                found="; ".join(findings),
                remedy="Move these tifs away, then run again; nothing was changed",
            )
    report = verify_any(archive, members, workers=workers, progress=progress)
    if recorded is not None:
        report = replace(report, compared_with_tifs=recorded.compared_with_tifs)
    for other in archives_in(archive.parent):
        if other != archive:
            _check_other(other, archive, report.members, None, workers, progress)
    if archive.parent != out_folder:
        _link(archive, out_folder)
    return replace(report, bout=archive.parent.name, seconds=time.monotonic() - started, adopted=True)


def _check_other(
    other: Path,
    archive: Path,
    members: tuple[ArchiveMember, ...],
    recorded: ArchiveReport | None,
    workers: int | None,
    progress: Progress,
) -> None:
    """Check that a second archive holds the same tifs as the one that is made or kept.

    If it is the one on record, it was compared with its tifs then, so only the records are compared.
    """
    compared = recorded is not None and recorded.name == other.name and recorded.compared_with_tifs
    if recorded is not None and compared:
        found = "; ".join(disagreements(recorded.members, members))
    else:
        try:
            verify_any(other, members, workers=workers, progress=progress)
            found = ""
        except ArchiveError as error:
            found = str(error)
    if found:
        raise ArchiveError.at(
            other,
            expected=f"the same tifs as {archive.name} beside it",
            found=found,
            remedy=f"Find out which is right, and move {other.name} away if {archive.name} is; nothing was changed",
        )
    if not compared:
        warnings.warn(
            f"{other}: holds the same tifs as {archive.name} beside it, and is not used",
            MesoWarning,
            stacklevel=4,
        )


def _with_pages(
    bout_folder: Path, find_metadata: Callable[[Path], Path | None], report: ArchiveReport
) -> ArchiveReport:
    """Note, and warn, if the archive holds other pages than the metadata promise (and pages were counted)."""
    mismatch = page_mismatch(bout_folder, report.n_pages, find_metadata) if report.n_pages else ""
    if not mismatch:
        return report
    warnings.warn(f"{bout_folder}: {mismatch}", MesoWarning, stacklevel=3)
    return replace(report, note="; ".join(filter(None, (report.note, mismatch))))


def _link(archive: Path, folder: Path) -> None:
    """Give an archive a second name in another folder; on another file system, a copy of it.

    Where there are no hard links it stays where it is: a copy would double it, and it must not be moved.
    """
    make_folder(folder)
    files = [p for p in archive.rglob("*") if p.is_file()] if archive.is_dir() else [archive]
    for file in files:
        target = folder / file.relative_to(archive.parent)
        make_folder(target.parent)
        try:
            os.link(file, target)
        except OSError as error:
            if error.errno in NO_LINKS:
                continue
            if error.errno != errno.EXDEV:
                raise
            with open_plain(file) as content, replacing(target) as copy:
                shutil.copyfileobj(content, copy)
