"""What the rig delivered, whatever archiving, removing and restoring made of it since.

What belongs here: telling the rig's files from those that assets put beside them, and counting tifs that only their
archive holds by now. Kinds of raw files are in ``session.raw_inputs``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import MesoError
from ..opening import is_there
from ..session import (
    GONE,
    RAW_PREFIXES,
    ZARR_NAME,
    ListedFile,
    RawFiles,
    RawKind,
    bout_names,
    files_of_kind,
    imaging_bouts,
    is_frame_archive,
    is_tif,
)
from ..storage import Manifest, Session
from .gate.log import RemovalEvent, load_removals
from .raw_times import given_times, with_own_times
from .report import ArchiveReport
from .selection import readable_records

#: Ending of the rig's metadata file where an earlier version of meso added locations to it.
_RIG_COPY = ".rig"
#: A zarr archive is a folder of many files: it is shown as one.
_IN_ZARR = f"{ZARR_NAME}/"


def delivered_files(
    session: Session, made: Mapping[str, Manifest], listing: Iterable[ListedFile] | None = None
) -> tuple[ListedFile, ...]:
    """List what the rig delivered to a session, sorted by path.

    Files that an asset put beside it do not count; tifs that are gone because their archive holds them do, as they
    were, so that archiving, removing and restoring make nothing stale.

    Parameters
    ----------
    session
        The session.
    made
        What assets have published in it.
    listing
        All files of the session, where the caller has listed them.
    """
    present = session.present(listing)
    files = [file for manifest in made.values() for file in manifest.files if file.path.startswith(RAW_PREFIXES)]
    # a file of the rig may have come to a place where an asset had put one of its own
    published = {file.path for file in files if present.is_unchanged(file)}
    raw = [file for path, file in present.files.items() if path.startswith(RAW_PREFIXES)]
    raw = list(with_own_times(raw, given_times(session.path)))  # of tifs that were put back on a server
    records = readable_records(session.path, bout_names(present.files.values()))
    return as_delivered(raw, published, load_removals(session.path), records)


def files_to_read(raw: RawFiles, listing: Iterable[ListedFile]) -> tuple[str, ...]:
    """Name the files that hold what the rig delivered: a tif that is gone is in its bout's archive.

    Parameters
    ----------
    raw
        Raw files of one kind, as they were delivered.
    listing
        All files of the session that are there.
    """
    there = {file.path for file in listing if file.size != GONE}
    archived = {file.path.split("/")[0] for file in raw.files if is_tif(file.path) and file.path not in there}
    archives = {path for path in there if is_frame_archive(path) and path.split("/")[0] in archived}
    return tuple(sorted(archives | ({file.path for file in raw.files} & there)))


def raw_by_kind(session_path: Path, files: Iterable[ListedFile]) -> dict[RawKind, RawFiles]:
    """Sort what the rig delivered by kind."""
    files = tuple(files)
    return {kind: RawFiles(kind, session_path, files_of_kind(kind, files)) for kind in RawKind}


@contextmanager
def delivered_view(raw: RawFiles, *more: RawFiles, elsewhere: Container[str] = (), where: str = "") -> Iterator[Path]:
    """Show raw files of some kinds as a session folder of links, without what assets put beside them.

    Parameters
    ----------
    elsewhere
        Paths of files that are there but not on this machine: in their place is an empty file.
    where
        What errors and warnings of the block name as the session's folder; by default, the folder of the raw files.

    Yields
    ------
    Path
        Folder with the session's short path; it is gone when the block ends. Errors and warnings of the block name the
        session's own files.
    """

    def is_here(path: str) -> bool:
        return path in elsewhere or is_there(raw.session_path / path)

    with TemporaryDirectory(prefix="meso-delivered-") as folder:
        view = Path(folder).joinpath(*raw.session_path.parts[-3:])
        view.mkdir(parents=True)
        odd = {file.path for kind in (raw, *more) for file in _no_files(kind)}
        listed = {file.path for kind in (raw, *more) for file in kind.files}
        paths = odd | {path for path in listed if not any(path.startswith(f"{folder}/") for folder in odd)}
        archived = {path.split("/")[0] for path in paths if is_tif(path) and not is_here(path)}
        for path in sorted({f"{p.partition(_IN_ZARR)[0]}{ZARR_NAME}" if _IN_ZARR in p else p for p in paths}):
            # a tif may be in its archive only; those left of its bout would look like a recording with gaps
            if is_here(path) and not (is_tif(path) and path.split("/")[0] in archived):
                (view / path).parent.mkdir(parents=True, exist_ok=True)
                if path in elsewhere:
                    (view / path).touch()
                else:
                    (view / path).symlink_to(raw.session_path / path)
        with _named_as(view, where or str(raw.session_path)):
            yield view


def _no_files(raw: RawFiles) -> tuple[ListedFile, ...]:
    """Find what has the name of a raw file and is none (a pipe, a folder, a link to nothing): its reader refuses it."""
    folders = [folder for bout in imaging_bouts(raw.session_path) for folder in (bout, bout / "reference")]
    entries = [entry for folder in folders if folder.is_dir() for entry in folder.iterdir()]
    odd = (entry for entry in entries if not os.path.isfile(entry))  # noqa: PTH113  this one answers for link loops too
    paths = (entry.relative_to(raw.session_path).as_posix() for entry in odd if entry.name != ZARR_NAME)
    return files_of_kind(raw.kind, [ListedFile(path, 0, 0) for path in paths])


@contextmanager
def _named_as(view: Path, true: str) -> Iterator[None]:
    """Let errors and warnings name the true folder: the one that was read is a view of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except MesoError as error:
            error.args = tuple(str(text).replace(str(view), true) for text in error.args)
            raise
    for warning in caught:
        text = str(warning.message).replace(str(view), true)
        warnings.warn_explicit(text, warning.category, warning.filename, warning.lineno)


def as_delivered(
    files: Iterable[ListedFile],
    published: set[str],
    removals: Iterable[RemovalEvent],
    archives: Iterable[ArchiveReport],
) -> tuple[ListedFile, ...]:
    """Tell which files the rig delivered.

    Parameters
    ----------
    files
        What lies in the raw folders now.
    published
        Paths of files that assets put there.
    removals
        Recorded removals of raw tifs.
    archives
        Recorded verifications of archives.
    """
    listed = {file.path: file for file in files}
    there = {path: file for path, file in listed.items() if path not in published}
    there = {**{e.path: ListedFile(e.path, e.size, e.mtime_ns) for e in removals}, **there}
    for path in [path for path in there if path.endswith(_RIG_COPY)]:
        rig, original = there.pop(path), path.removesuffix(_RIG_COPY)
        there[original] = ListedFile(original, rig.size, rig.mtime_ns)
    for report in archives:
        _account_for(report, listed, there)
    with_tifs = {path.split("/")[0] for path in there if is_tif(path)}
    return tuple(
        file
        for path, file in sorted(there.items())
        if path.split("/")[0] not in with_tifs or not is_frame_archive(path)
    )


def _account_for(report: ArchiveReport, listed: Mapping[str, ListedFile], there: dict[str, ListedFile]) -> None:
    """Count a bout as it came: by its tifs, also absent ones, or by its archive, also where tifs were restored."""
    place = f"{report.bout}/{report.name}"
    archive = {path: file for path, file in listed.items() if path == place or path.startswith(f"{place}/")}
    if not archive:
        return
    members = {
        f"{report.bout}/{m.name}": ListedFile(f"{report.bout}/{m.name}", m.size, m.mtime_ns) for m in report.members
    }
    if report.compared_with_tifs:
        there.update({path: file for path, file in members.items() if path not in listed})
    else:
        for path in [path for path, file in members.items() if there.get(path) == file]:
            del there[path]
        there.update(archive)
