"""What a session on a server holds, shown in a folder of this machine: names, sizes and times.

What belongs here: making that folder. Records and metadata have their content in it; other files are holes of the right
size, which take no room and are never read.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from ....errors import StorageError
from ....session import GONE, MESO_FOLDER, RAW_PREFIXES, ListedFile
from ....storage.files.atomic import storage_errors
from ....storage.remote.mirrors.mirror import is_record
from ..processed import MOTION_REGISTERED

#: Metadata of a bout, which are read.
_METADATA = re.compile(r"raw_imaging_data[^/]*/[^/]*rawImagingData\.meta\.json")
_REMOVED, _RESTORING = f"{MESO_FOLDER}/removed/", f"{MESO_FOLDER}/restoring/"


def metadata_among(listing: Iterable[ListedFile]) -> tuple[str, ...]:
    """Paths of the metadata of the bouts."""
    return tuple(file.path for file in listing if _METADATA.fullmatch(file.path) and file.size != GONE)


def show(folder: Path, listing: Collection[ListedFile], contents: Path, url: str) -> None:
    """Show the files of a session that the gate asks about.

    Parameters
    ----------
    folder
        Where; what it shows from before goes.
    listing
        All files of the session, the platform's own among them, each with its own time.
    contents
        Folder with the content of records and metadata.
    url
        Of the session, for messages.

    Raises
    ------
    StorageError
        If the server names a file as no folder can show it.
    """
    with storage_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / MESO_FOLDER).mkdir(parents=True)
        read = {*metadata_among(listing), *(file.path for file in listing if is_record(file.path))}
        for file in listing:
            if not (file.path in read or _is_asked_about(file.path)):
                continue
            _insist_on_name(file.path, url)
            place = folder / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            if file.is_link:
                _show_link(folder, place, file)
            elif file.path in read:
                shutil.copyfile(contents / file.path, place)
            else:
                with place.open("xb") as hole:
                    os.truncate(hole.fileno(), file.size)
            if not file.is_link:
                os.utime(place, ns=(file.mtime_ns, file.mtime_ns))


def _is_asked_about(path: str) -> bool:
    return path.startswith((*RAW_PREFIXES, _REMOVED, _RESTORING)) or path.endswith(f"/{MOTION_REGISTERED}")


def _show_link(folder: Path, place: Path, file: ListedFile) -> None:
    """Show a link: to a file elsewhere, or to nothing; where it leads, an SFTP server tells only itself."""
    elsewhere = folder.parent / "elsewhere on the server" / file.path
    if file.size != GONE:
        elsewhere.parent.mkdir(parents=True, exist_ok=True)
        with elsewhere.open("wb") as hole:
            os.truncate(hole.fileno(), file.size)
    place.symlink_to(elsewhere)


def _insist_on_name(path: str, url: str) -> None:
    if {"", ".", ".."} & {*path.split("/")} or "\0" in path:
        remedy = "Move it away: no program should write such names"
        raise StorageError.at(f"{url}/{path!r}", expected="a name that a file can have", found="another", remedy=remedy)
