"""Which archive is *the* archive of a bout: the one on record.

What belongs here: finding the archives of a bout, and choosing one. A second archive, of the other format, may hold
something else (a bout that was not whole yet, for example), so it is never used just because it is there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import ArchiveError, MesoWarning, MissingInputError
from ..session import bout_names, imaging_bouts
from ..storage import FileRecord, PresentFiles, hash_file
from ..storage.files.atomic import storage_errors
from ..storage.files.times import same_time
from .report import ARCHIVE_NAME, ZARR_NAME, ArchiveReport, hash_of_listing, load_report


def is_archive(path: Path) -> bool:
    """Whether there is an archive; a tree of empty folders does not count."""
    if path.is_dir():
        return any(entry.is_file() for entry in path.rglob("*"))
    return path.exists()


def archives_in(bout_folder: Path) -> tuple[Path, ...]:
    """List the archives of a bout, of either format; the one that reads fastest comes first."""
    with storage_errors(bout_folder):
        return tuple(bout_folder / name for name in (ZARR_NAME, ARCHIVE_NAME) if is_archive(bout_folder / name))


def find_archive(bout_folder: Path) -> Path | None:
    """Find the archive of a bout: the one on record, else the only one; None where there is no archive.

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
        raise ArchiveError.at(
            bout_folder,
            expected="one archive, or a record that names one",
            found=" and ".join(path.name for path in found),
            remedy="Find out which holds the bout, with meso_core.archive.verify_any, and move the other one away",
        )
    return found[0] if found else None


def archive_in_place_of(bout_folder: Path, tifs: Sequence[Path]) -> tuple[Path | None, ArchiveReport | None]:
    """Find the archive to use for a bout whose tifs are gone, all or some.

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
        The bout's record. Where there are tifs, a damaged one is ignored with a MesoWarning.

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
    if unknown := sorted((there - known) | _others(tifs, report)):
        raise ArchiveError.at(
            bout_folder,
            expected=f"the tifs on record ({', '.join(sorted(known))})",
            found=f"{', '.join(unknown)} beside them, while {', '.join(gone)} is gone",
            remedy=f"Move {', '.join(unknown)} away; `meso restore` brings the others back",
        )
    archive = find_archive(bout_folder)
    if archive is None:
        raise MissingInputError.at(
            bout_folder,
            expected=f"raw tifs, {ARCHIVE_NAME} or {ZARR_NAME}",
            found=f"no archive, and {', '.join(gone)} is gone" if gone else "none of them",
            remedy="Copy the bout from the rig, or its archive from the store",
        )
    return archive, report


def _others(tifs: Sequence[Path], report: ArchiveReport | None) -> set[str]:
    """Names of tifs that are not the ones on record, by size, and by content where the time differs."""
    members = {member.name: member for member in report.members} if report else {}
    others = set()
    for tif in tifs:
        member, status = members.get(tif.name), tif.stat()
        untouched = member is not None and same_time(status.st_mtime_ns, member.mtime_ns)
        if member is not None and status.st_size == member.size and (untouched or _hash(tif) == member.sha256):
            continue
        others.add(tif.name)
    return others


def _hash(tif: Path) -> str:
    with storage_errors(tif):
        return hash_file(tif).sha256


def _record_beside_tifs(bout_folder: Path) -> ArchiveReport | None:
    """Read the record of a bout that still has tifs; without it they are simply archived again."""
    try:
        return load_report(bout_folder.parent, bout_folder.name)
    except ArchiveError as error:
        warnings.warn(f"{error} It is ignored: the tifs are there.", MesoWarning, stacklevel=4)
        return None


def archive_doubts(session_path: Path, present: PresentFiles, files: Iterable[FileRecord]) -> tuple[str, ...]:
    """Say where the archives of a session are not those of what was published, by their records.

    Parameters
    ----------
    session_path
        Session folder, for the records.
    present
        The session's files.
    files
        What was published.

    Returns
    -------
    tuple of str
        A sentence for each bout that has no readable record, whose record names other content (a kill came between the
        two), or beside whose archive another one lies.
    """
    hashes = {file.path: file.sha256 for file in files}
    doubts = []
    for bout in bout_names(present.files.values()):
        try:
            report = load_report(session_path, bout)
        except ArchiveError:
            report = None
        if report is None or not holds(hashes, report):
            doubts.append(f"{bout}: the record of its archive is missing, damaged, or of another archive")
        elif _archives_among(present.files, bout) != {report.name}:
            doubts.append(f"{bout}: another archive lies beside {report.name}")
    return tuple(doubts)


def _archives_among(paths: Iterable[str], bout: str) -> set[str]:
    """Names of the archives of a bout, of either format."""
    return {path.split("/")[1] for path in paths if path.startswith(f"{bout}/")} & {ARCHIVE_NAME, ZARR_NAME}


def holds(files: Mapping[str, str], report: ArchiveReport) -> bool:
    """Whether the files published are the archive that a record names."""
    path = f"{report.bout}/{report.name}"
    if path in files:
        return files[path] == report.sha256
    inside = {p.removeprefix(f"{path}/"): sha256 for p, sha256 in files.items() if p.startswith(f"{path}/")}
    return bool(inside) and hash_of_listing(inside)[0] == report.sha256


def readable_records(session_path: Path, bouts: Iterable[str] | None = None) -> tuple[ArchiveReport, ...]:
    """Read the records of a session's archives; a damaged one is left out: whatever needs it raises its own error.

    ``bouts`` names the bouts, where the caller knows them; by default those that have a folder.
    """
    reports = []
    for bout in [folder.name for folder in imaging_bouts(session_path)] if bouts is None else bouts:
        with suppress(ArchiveError):
            reports.append(load_report(session_path, bout))
    return tuple(report for report in reports if report is not None)
