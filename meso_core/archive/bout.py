"""What happens to one bout: its archive is made, adopted, or kept, in the format asked for.

What belongs here: the choice. Making and verifying each format is in ``tarball`` and ``zarr_write``.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..errors import ArchiveError, MesoWarning, MissingInputError, SettingsError, problem
from ..progress import Progress, silent
from ..scanimage import open_bout
from ..session import raw_tifs
from .rawtif import disagreements, hash_tif
from .report import ARCHIVE_NAME, ZARR_NAME, ArchiveMember, ArchiveReport, load_report
from .source import find_archive
from .tarball import compress_tifs, verify_archive
from .zarr_frames import why_not_zarr
from .zarr_write import compress_to_zarr, verify_zarr

ArchiveFormat = Literal["tar.bz2", "zarr"]
FORMATS: dict[str, str] = {"tar.bz2": ARCHIVE_NAME, "zarr": ZARR_NAME}


def archive_bout(
    bout_folder: Path,
    out_folder: Path | None = None,
    *,
    archive_format: ArchiveFormat = "tar.bz2",
    workers: int | None = None,
    progress: Progress = silent,
) -> ArchiveReport:
    """Make sure that a bout has a verified archive, and put it into a folder.

    ==================== =====================================================================================
    the bout holds       what happens
    ==================== =====================================================================================
    tifs                 they are archived, the archive is read back and compared
    tifs and an archive  the archive is compared with the tifs and adopted, or refused
    an archive           it is read to its end, compared with its record if there is one, and kept as it is
    ==================== =====================================================================================

    Parameters
    ----------
    bout_folder
        ``raw_imaging_data_NN``; only read.
    out_folder
        Where the archive goes, a staging folder for instance; the bout's folder by default. An archive that is kept
        is linked there, not copied.
    archive_format
        ``tar.bz2``, which every tar reads, or ``zarr``, which is smaller, ten times as fast, and read by frame.
        Tifs that do not fit the latter are kept as tar.bz2; a MesoWarning and ``report.note`` say why.
    workers
        Cores to use; all by default.
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
        raise SettingsError(
            problem(
                "settings",
                field="archive_format",
                expected=" or ".join(FORMATS),
                found=repr(archive_format),
                remedy="Correct the setting",
            )
        )
    bout_folder = Path(bout_folder)
    out_folder = bout_folder if out_folder is None else Path(out_folder)
    tifs = raw_tifs(bout_folder) if bout_folder.is_dir() else ()
    kept = find_archive(bout_folder)
    recorded = load_report(bout_folder.parent, bout_folder.name)
    if kept is not None and recorded is not None and {t.name for t in tifs} < {m.name for m in recorded.members}:
        return _keep(kept, out_folder, recorded, tifs, workers, progress)
    if not tifs:
        if kept is None:
            raise MissingInputError(
                problem(
                    bout_folder,
                    expected=f"raw tifs, {ARCHIVE_NAME} or {ZARR_NAME}",
                    found="none of them",
                    remedy="Copy the bout from the rig, or its archive from the store",
                )
            )
        return _keep(kept, out_folder, None, (), workers, progress)
    chosen, note = archive_format, ""
    if chosen == "zarr" and (reason := why_not_zarr(open_bout(tifs))):
        chosen, note = "tar.bz2", f"kept as tar.bz2: {reason}"
        warnings.warn(f"{bout_folder}: {note}", MesoWarning, stacklevel=2)
    make = compress_tifs if chosen == "tar.bz2" else compress_to_zarr
    there = bout_folder / FORMATS[chosen]
    if there.exists() and out_folder != bout_folder:
        report = make(bout_folder, there, workers=workers, progress=progress)
        _link(there, out_folder)
    else:
        report = make(bout_folder, out_folder / FORMATS[chosen], workers=workers, progress=progress)
    return replace(report, note=note)


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


def _keep(
    archive: Path,
    out_folder: Path,
    recorded: ArchiveReport | None,
    tifs: tuple[Path, ...],
    workers: int | None,
    progress: Progress,
) -> ArchiveReport:
    """Verify an archive whose tifs are gone, all or some, and pass it on."""
    started = time.monotonic()
    members = recorded.members if recorded is not None and recorded.name == archive.name else None
    if members is not None and tifs:
        left = {t.name for t in tifs}
        findings = disagreements([m for m in members if m.name in left], [hash_tif(t) for t in tifs])
        if findings:
            raise ArchiveError(
                problem(
                    archive,
                    expected="the tifs that are still there to be those of its record",
                    found="; ".join(findings),
                    remedy="Find out which are the original ones; nothing was changed",
                )
            )
    report = verify_any(archive, members, workers=workers, progress=progress)
    if recorded is not None and members is not None:
        report = replace(report, compared_with_tifs=recorded.compared_with_tifs)
    if archive.parent != out_folder:
        _link(archive, out_folder)
    return replace(report, bout=archive.parent.name, seconds=time.monotonic() - started, adopted=True)


def _link(archive: Path, folder: Path) -> None:
    """Give an archive a second name in another folder of the same file system."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [p for p in archive.rglob("*") if p.is_file()] if archive.is_dir() else [archive]
    for file in files:
        target = folder / file.relative_to(archive.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, target)
