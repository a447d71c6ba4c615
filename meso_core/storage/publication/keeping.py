"""Files that a publication replaces, kept under their data version.

What belongs here: where they are kept, and giving them that second name before they are replaced. Listing them,
bringing one back and removing them is in ``versions``.
"""

from __future__ import annotations

import errno
from collections.abc import Collection
from pathlib import Path

from ...session import MESO_FOLDER
from ..files.atomic import link_or_copy, link_or_rename, linked, make_folder, storage_errors
from ..files.deferred_renames import remove_name
from ..files.hashing import sync_folder
from ..manifests.manifest import FileRecord, Manifest
from ..manifests.ownership import verify_file

#: Place below the session of all kept versions.
VERSIONS = f"{MESO_FOLDER}/versions"


def versions_folder(session_path: Path, asset: str) -> Path:
    """Folder of the kept versions of an asset."""
    return session_path / VERSIONS / asset


def version_folder(session_path: Path, manifest: Manifest) -> Path:
    """Folder of one version; it mirrors the session."""
    return versions_folder(session_path, manifest.asset) / manifest.data_version


def ask_to_keep(session_path: Path, manifest: Manifest) -> None:
    """Say that the files of a result are to be kept when they are replaced, also by who finishes that after a kill.

    The sign is the folder in which they will be kept.
    """
    make_folder(version_folder(session_path, manifest))


def keep_replaced(session_path: Path, old: Manifest | None, new: Manifest, staying: Collection[str] = ()) -> None:
    """Keep the files of a result that is about to be replaced, where that was asked; may be called again after a kill.

    Each gets a second name, which costs no room and no time, and is on the disk before the first is given away. A file
    that somebody has changed is none of that version, and is not kept.

    Parameters
    ----------
    session_path
        Session folder.
    old, new
        What is published, and what replaces it. The same content again replaces nothing.
    staying
        Paths of files that have their places in both: where the file system knows no links, such a file has one name
        only, and that is its place.
    """
    if old is None or old.data_version == new.data_version:
        return
    folder = version_folder(session_path, old)
    if not folder.is_dir():
        return
    folders = {folder}
    for record in old.files:
        file, kept = session_path / record.path, folder / record.path
        if holds(kept, record) or not holds(file, record):
            continue
        make_folder(kept.parent)
        _give_second_name(file, kept, stays=record.path in staying)
        folders.add(kept.parent)
    for changed in sorted(folders):
        sync_folder(changed)


def holds(file: Path, record: FileRecord) -> bool:
    """Whether a plain file is there that is as the record tells, as far as a quick look shows."""
    return not file.is_symlink() and file.is_file() and not verify_file(file, record, content=False)


def kept_at(session_path: Path, folder: Path, record: FileRecord) -> Path | None:
    """Where a file of a kept version is: in the version's folder, or still at its place; None where it is neither."""
    return next((file for base in (folder, session_path) if holds(file := base / record.path, record)), None)


def _give_second_name(file: Path, kept: Path, *, stays: bool) -> None:
    """Keep a file; where the file system knows no links it is moved unless it stays, and between two it is copied."""
    with storage_errors(kept):
        remove_name(kept)  # half of a copy, or what somebody made of it
        try:
            if stays:
                linked(file, kept)
            else:
                link_or_rename(file, kept)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            if not stays:
                link_or_copy(file, kept)
