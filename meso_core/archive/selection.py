"""Which archive is *the* archive of a bout: the one on record.

What belongs here: finding the archives of a bout, and the choice between them. A second archive, of the other format,
may hold something else (a bout that was not whole yet, say); nothing takes it only because it is there.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import ArchiveError, MesoWarning, MissingInputError, problem
from ..session import imaging_bouts
from .atomic import storage_errors
from .report import ARCHIVE_NAME, ZARR_NAME, ArchiveReport, hash_of_listing, load_report


def is_archive(path: Path) -> bool:
    """Whether there is an archive; a tree of empty folders is none."""
    if path.is_dir():
        return any(entry.is_file() for entry in path.rglob("*"))
    return path.exists()


def archives_in(bout_folder: Path) -> tuple[Path, ...]:
    """List the archives of a bout, of either format; the one that reads fastest comes first."""
    with storage_errors(bout_folder):
        return tuple(bout_folder / name for name in (ZARR_NAME, ARCHIVE_NAME) if is_archive(bout_folder / name))


def find_archive(bout_folder: Path) -> Path | None:
    """Archive of a bout: the one whose content is on record, else the only one; None where there is none.

    Raises
    ------
    ArchiveError
        If there are two and no record tells which to trust, or the record is damaged.
    """
    found = archives_in(bout_folder)
    report = load_report(bout_folder.parent, bout_folder.name) if found else None
    for archive in found:
        if report is not None and report.name == archive.name:
            return archive
    if len(found) > 1:
        raise ArchiveError(
            problem(
                bout_folder,
                expected="one archive, or a record that names one",
                found=" and ".join(path.name for path in found),
                remedy="Find out which holds the bout, with meso_core.archive.verify_any, and move the other one away",
            )
        )
    return found[0] if found else None


def archive_in_place_of(bout_folder: Path, tifs: Sequence[Path]) -> tuple[Path | None, ArchiveReport | None]:
    """Find the archive that stands for a bout whose tifs are gone, all or some.

    Parameters
    ----------
    bout_folder
        ``raw_imaging_data_NN``.
    tifs
        The tifs that are there.

    Returns
    -------
    archive : Path or None
        None where all tifs are there.
    report : ArchiveReport or None
        The bout's record. A damaged one is left out of account where there are tifs; a MesoWarning tells.

    Raises
    ------
    MissingInputError
        If tifs are gone and there is no archive.
    ArchiveError
        If tifs are gone, and others are there that are not on record; or no record tells which of two archives to
        trust; or all are gone and the record is damaged.
    """
    report = _record_beside_tifs(bout_folder) if tifs else load_report(bout_folder.parent, bout_folder.name)
    known = set() if report is None else {member.name for member in report.members}
    there = {tif.name for tif in tifs}
    gone = sorted(known - there)
    if tifs and not gone:
        return None, report
    if tifs and (unknown := sorted(there - known)):
        raise ArchiveError(
            problem(
                bout_folder,
                expected=f"the tifs on record ({', '.join(sorted(known))})",
                found=f"{', '.join(unknown)} beside them, while {', '.join(gone)} is gone",
                remedy="Move the foreign tifs away; restore the others from the archive",
            )
        )
    archive = find_archive(bout_folder)
    if archive is None:
        raise MissingInputError(
            problem(
                bout_folder,
                expected=f"raw tifs, {ARCHIVE_NAME} or {ZARR_NAME}",
                found=f"no archive, and {', '.join(gone)} is gone" if gone else "none of them",
                remedy="Copy the bout from the rig, or its archive from the store",
            )
        )
    return archive, report


def _record_beside_tifs(bout_folder: Path) -> ArchiveReport | None:
    """Read the record of a bout that still has tifs: they say what a damaged record cannot."""
    try:
        return load_report(bout_folder.parent, bout_folder.name)
    except ArchiveError as error:
        warnings.warn(f"{error} It is left out of account: the tifs are there.", MesoWarning, stacklevel=4)
        return None


def readable_records(session_path: Path) -> tuple[ArchiveReport, ...]:
    """Read the records of a session's archives; a damaged one is left out, and whoever rests on it says so."""
    reports = []
    for bout in imaging_bouts(session_path):
        with suppress(ArchiveError):
            reports.append(load_report(session_path, bout.name))
    return tuple(report for report in reports if report is not None)


def recorded_archives(session_path: Path, files: Mapping[str, str]) -> tuple[ArchiveReport, ...] | None:
    """Read the records of a session's archives, if they are those of what was published.

    Parameters
    ----------
    session_path
        Session folder.
    files
        Path below the session → sha-256, from the manifest that published the archives.

    Returns
    -------
    tuple of ArchiveReport, or None
        One for each bout. None where a bout has no (readable) record, the record names other content than ``files``
        (a kill came between the two), or another archive lies beside.
    """
    reports = []
    for bout in imaging_bouts(session_path):
        try:
            report = load_report(session_path, bout.name)
        except ArchiveError:  # as good as none: whoever archives anew says so
            return None
        if report is None or not _holds(files, report) or archives_in(bout) != (bout / report.name,):
            return None
        reports.append(report)
    return tuple(reports)


def _holds(files: Mapping[str, str], report: ArchiveReport) -> bool:
    """Whether the files published are the archive that a record names."""
    path = f"{report.bout}/{report.name}"
    if path in files:
        return files[path] == report.sha256
    inside = {p.removeprefix(f"{path}/"): sha256 for p, sha256 in files.items() if p.startswith(f"{path}/")}
    return bool(inside) and hash_of_listing(inside)[0] == report.sha256
