"""What was published, taken back into the work folder of a FOV: its registered movie, and what a person curated since.

What belongs here: comparing published files with those of the work folder, and bringing them over. What does not: which
FOVs are open (``session``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import CurationError, MissingInputError
from ..opening import TABLE_BYTES, open_plain
from ..session import fov_name, plane_name
from ..storage.files.hashing import hash_file
from ..storage.manifests.manifest import FileRecord
from .detection.fov import CURATED_FILES, GIVE_UP, edited_by_hand
from .detection.results import CLASSIFICATION
from .fovs import plane
from .fovs.job import NO_BASIS
from .fovs.marker import Marker, changed_outputs, read_marker, remove_marker, write_marker
from .fovs.plane import REGISTRATION
from .staging import copy_checked, copy_file, link_file

#: What registration leaves and detection does not read: suite2p's GUI may rewrite it where it is published.
_NOT_FOR_DETECTION = frozenset(("ops.npy", "settings.npy"))
#: What the GUI writes over when merged ROIs are saved: the options that it has loaded, which nobody decides in it.
BY_THE_WAY = frozenset(("settings.npy",))


def take_curated(folder: Path, root: Path, published: Mapping[str, str]) -> None:
    """Take back the files that suite2p's GUI rewrites; every curation changes ``iscell.npy``.

    Parameters
    ----------
    folder
        Work folder of the FOV.
    root
        Folder in which published files lie by their paths.
    published
        Path → sha-256 of what was published of ROIs.
    """
    source = root / "suite2p" / folder.name
    recorded = published.get(f"suite2p/{folder.name}/{CLASSIFICATION}")
    if recorded is None or not (source / CLASSIFICATION).is_file():
        return
    open_plain(source / CLASSIFICATION, limit=TABLE_BYTES).close()  # it is hashed and copied before it is read
    if (folder / CLASSIFICATION).is_file() and hash_file(source / CLASSIFICATION).sha256 == recorded:
        return
    for name in sorted(CURATED_FILES):
        if (source / name).is_file():
            copy_file(source / name, folder / name)


def as_edited(root: Path, paths: Iterable[str]) -> tuple[FileRecord, ...]:
    """Tell what is in files that suite2p's GUI has written over, so that just this may go.

    Parameters
    ----------
    root
        Folder in which published files lie by their paths.
    paths
        Those files.
    """
    there = {path: hash_file(root / path) for path in paths}
    return tuple(FileRecord(path, content.size, content.sha256, content.md5) for path, content in there.items())


def refuse_to_lose_curation(fov: int, root: Path, published: Collection[str], why: str) -> None:
    """Refuse to publish ROIs without a FOV whose ROIs a person has curated: they would be removed.

    Raises
    ------
    CurationError
        If ``iscell.npy`` was edited by hand.
    """
    path = f"suite2p/{plane_name(fov)}/{CLASSIFICATION}"
    if path in published and edited_by_hand(root / path):
        raise CurationError.at(
            root / path,
            expected=f"no edit by hand, for {fov_name(fov)} would be published no more: {why}",
            found="a classification edited by hand",
            remedy=f"Make that field of view again first, or {GIVE_UP}",
        )


def take_registered(folder: Path, root: Path, registered: Sequence[FileRecord], fov: int, identity: str) -> None:
    """Make the work folder of a FOV hold what registration published.

    Parameters
    ----------
    folder, root
        As for :func:`take_curated`.
    registered
        Files that registration published.
    fov, identity
        FOV and session, for messages.

    Raises
    ------
    MissingInputError
        If the FOV is not among what registration published.
    InputFileError
        If a published file has changed.
    """
    prefix = f"suite2p/{folder.name}/"
    wanted = {
        file.path.removeprefix(prefix): file.content
        for file in registered
        if file.path.startswith(prefix) and file.path.removeprefix(prefix) not in _NOT_FOR_DETECTION
    }
    if plane.REGISTERED not in wanted:
        raise MissingInputError.at(
            f"{identity}/{prefix}{plane.REGISTERED}",
            expected=f"the registered movie of {fov_name(fov)} among what was published",
            found="none",
            remedy="Register the frames of this session again",
        )
    marker = read_marker(folder, REGISTRATION)
    if marker is not None and wanted.items() <= marker.outputs.items() and not changed_outputs(folder, marker):
        return
    remove_marker(folder, REGISTRATION)
    for name, content in wanted.items():
        if not name.endswith(".bin"):
            copy_checked(root / prefix / name, folder / name, content)
        elif not link_file(root / prefix / name, folder / name, content):
            plane.note_moved(folder, [root / prefix])  # it is read there
    # registration itself is not whole by this: what the files were made from is for the publisher to know
    write_marker(folder, Marker(REGISTRATION, NO_BASIS, wanted, {"taken_from": "published files"}))
