"""Whose a file is: that of the asset that published it, or somebody else's.

What belongs here: comparing a file on disk with the record of it, and the refusal to touch what is not one's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from ...errors import StorageError
from ...session import MESO_FOLDER, ListedFile, is_beyond_assets, some
from ..files.atomic import same_file
from ..files.hashing import sha256_of
from .manifest import FileRecord, Manifest, manifest_path
from .present import difference

#: Folders of the rig, and of the platform's records.
_NOT_OF_ASSETS = re.compile(rf"raw_\w+_data(_\d+)?|snapshots|{re.escape(MESO_FOLDER)}")
#: Folder of the results of one field of view.
_RESULTS = re.compile(r"(alf/FOV_|suite2p/plane)[^/]*/")
_MOVE_AWAY = "Move this record away, then run the asset again"


def verify_file(file: str | Path, record: FileRecord, *, content: bool, sha256: Callable[[], str] | None = None) -> str:
    """Compare a file with its record.

    Parameters
    ----------
    file, record
        The file on disk, and what was published.
    content
        Hash it in any case; otherwise only a file up to 64 MB whose time of change is not the recorded one.
    sha256
        Gives its hash, where the caller has it or may need it again.

    Returns
    -------
    str
        What is wrong with it; empty when all is well.
    """
    try:
        stat = os.stat(file)  # noqa: PTH116  of very many files
    except OSError:
        return difference(record, None, lambda: "", content=content)
    there = ListedFile(record.path, stat.st_size, stat.st_mtime_ns)
    return difference(record, there, sha256 or (lambda: sha256_of(Path(file))), content=content)


def is_ours(session_path: Path, record: FileRecord, sha256: Callable[[], str] | None = None) -> bool:
    """Whether a file may be replaced or removed: its content is that of the record, and no link leads to raw data.

    ``sha256`` as for :func:`verify_file`.
    """
    file = session_path / record.path
    plain = not file.is_symlink() and file.is_file() and not _leads_to_raw_data(file.parent, record.path)
    return plain and not verify_file(file, record, content=True, sha256=sha256)


def _leads_to_raw_data(folder: Path, path: str) -> bool:
    """Whether a folder is, by a link, one of the rig or of records, although the path in the session says otherwise."""
    return any(_NOT_OF_ASSETS.fullmatch(part) and f"{part}/" not in path for part in folder.resolve().parts)


def replaceable(
    session_path: Path, old: Manifest | None, new: Manifest, staged: Path, left: frozenset[str] = frozenset()
) -> tuple[set[str], list[str]]:
    """Sort out the files that are at the places of a publication.

    Parameters
    ----------
    session_path
        Session folder.
    old, new
        What the asset has published before, and what it is about to publish. A file that the old record describes as
        it is, or that has the new content already, may be replaced.
    staged
        Folder with the new files.
    left
        Paths of those of them that were hashed where they are, a moment ago.

    Returns
    -------
    ours : set of str
        Paths of those that may be replaced.
    foreign : list of str
        Paths of those of somebody else.
    """
    own = {record.path: record for record in (old.files if old else ())}
    ours, foreign = set[str](), []
    for record in new.files:
        path, file = record.path, session_path / record.path
        sha256 = cache(partial(sha256_of, file))  # a movie is read once, although it is compared with two records
        here = _has_content(file, record, None if path in left else staged / path, sha256)
        if here or (path in own and is_ours(session_path, own[path], sha256)):
            ours.add(path)
        elif os.path.lexists(file):
            foreign.append(path)
    return ours, foreign


def going(
    new: Manifest, foreign: Collection[str], given_up: Iterable[FileRecord], is_as_told: Callable[[FileRecord], bool]
) -> set[str]:
    """Choose those of the files that a person gives up which are in the way, or would be left behind.

    Parameters
    ----------
    new
        What the asset is about to publish.
    foreign
        Paths of the files of somebody else at its places.
    given_up
        The files that are given up.
    is_as_told
        Tells whether a file is still the one that was given up.
    """
    made = {record.path for record in new.files}
    return {r.path for r in given_up if (r.path in foreign or r.path not in made) and is_as_told(r)}


def in_the_way(session_path: Path | str, asset: str, foreign: Sequence[str]) -> StorageError:
    """Make the error of files of somebody else at the places of an asset."""
    return StorageError.at(
        session_path,
        expected=f"no file at the places of {asset} but those that it has published",
        found=f"{some(foreign)}, which somebody else has put there or changed",
        remedy="If the rig wrote it, run this asset again: it is used then. Else move it away and run again",
    )


def foreign_results(paths: Iterable[str], made: Mapping[str, Manifest]) -> tuple[str, ...]:
    """Name folders of results that no asset has published, as ``alf/FOV_09`` or ``suite2p/plane9`` of somebody else.

    Parameters
    ----------
    paths
        All files of a session, by their paths below it.
    made
        What assets have published in it, by asset.
    """
    own = _folders_of_results(record.path for manifest in made.values() for record in manifest.files)
    return tuple(sorted(folder.rstrip("/") for folder in _folders_of_results(paths) - own))


def _folders_of_results(paths: Iterable[str]) -> set[str]:
    return {match[0] for path in paths if (match := _RESULTS.match(path))}


def check_places(session_path: Path | str, old: Manifest | None, new: Manifest, places: str | None) -> None:
    """Insist that an asset claims only files at the places that are declared for it.

    Parameters
    ----------
    session_path
        Session folder.
    old, new
        What the asset has published before, and what it is about to publish.
    places
        Regular expression of the paths; None: any at which some asset publishes.

    Raises
    ------
    StorageError
        If either names other files: raw files in a forged record would be removed as superseded.
    """
    for manifest, remedy in (
        (new, "Report this as a defect" if places else _MOVE_AWAY),
        (old, _MOVE_AWAY),
    ):
        claimed = [r.path for r in manifest.files] if manifest else []
        strangers = [p for p in claimed if is_beyond_assets(p) or not re.fullmatch(places or ".*", p, re.DOTALL)]
        if strangers and manifest:
            raise StorageError.at(
                f"{session_path}/{manifest_path(manifest.asset)}",
                expected=f"files that {manifest.asset} publishes",
                found=some(strangers),
                remedy=remedy,
            )


def _has_content(file: Path, record: FileRecord, staged: Path | None, sha256: Callable[[], str]) -> bool:
    """Whether a file has the content of a record; ``staged`` is None where it was hashed in place."""
    if file.is_symlink() or not file.is_file() or (status := file.stat()).st_size != record.size:
        return False
    if staged is None and status.st_mtime_ns == record.mtime_ns:
        return True
    # an archive that is kept as it is was staged as a second name of the file
    return (staged is not None and same_file(file, staged)) or sha256() == record.sha256
