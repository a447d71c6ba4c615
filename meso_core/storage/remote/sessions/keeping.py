"""Files that a publication on a server replaces, kept under their data version.

What belongs here: the sign that asks for it, and keeping them before they are replaced. Listing them, bringing one back
and removing them is in ``versions``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

from ....session import ListedFile
from ...manifests.manifest import FileRecord, Manifest
from ...publication.keeping import VERSIONS
from ..servers.filesystem import RemoteRoot
from ..transfers.transfer import put_in_place, second_name

#: Calls to the server at a time.
_AT_A_TIME = 8


def version_place(asset: str, data_version: str, path: str = "") -> str:
    """Place below the session of a file of a kept version, or of the version."""
    return f"{VERSIONS}/{asset}/{data_version}/{path}"


def is_kept(files: Mapping[str, ListedFile], place: str, record: FileRecord) -> bool:
    """Whether a file of this size is kept at a place: only meso writes there, and a copy has a time of its own."""
    file = files.get(place)
    return file is not None and not file.is_link and file.size == record.size


def keep_replaced(
    root: RemoteRoot,
    base: str,
    old: Manifest,
    files: Mapping[str, ListedFile],
    ours: Collection[str],
    staying: Collection[str],
) -> None:
    """Keep the files of a result that is about to be replaced; may be called again after a kill.

    Each gets a second name, or a copy that the server makes. Where it can do neither it is moved, unless it stays.

    Parameters
    ----------
    root, base
        Where the session lies.
    old
        What is replaced.
    files
        The files of the session, by path.
    ours
        Paths of those that are as the old record tells; a file that somebody has changed is none of that version.
    staying
        Paths of those that have their places in the new result too.
    """
    to_keep = []
    for record in old.files:
        kept = version_place(old.asset, old.data_version, record.path)
        if record.path in ours and not is_kept(files, kept, record):
            to_keep.append((record.path, kept))

    def keep(pair: tuple[str, str]) -> None:
        path, kept = pair
        source, target = f"{base}/{path}", f"{base}/{kept}"
        if not second_name(root, source, target) and path not in staying:
            put_in_place(root, source, target)

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        list(pool.map(keep, to_keep))
