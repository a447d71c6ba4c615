"""Tifs that were moved out of their bout and are still kept, in ``.meso/removed/<bout>`` of the session.

What belongs here: the order in which they are moved there and back, and clearing what a killed removal or restoring
left. Who may move them is decided in ``plan`` and ``removal``; how it is done, in ``place``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ...errors import MesoWarning, StorageError
from ...storage.files.atomic import storage_errors
from .folder import Folder
from .place import Place


def as_place(where: Path | Place) -> Place:
    """Take a session's folder as the place of its tifs, or such a place as it is."""
    return where if not isinstance(where, str | Path) else Folder(Path(where))


@contextmanager
def moved_away(place: Place, tifs: Mapping[str, str]) -> Iterator[dict[str, Path]]:
    """Move tifs out of their bouts, so that nobody finds them by their names; after an error they go back.

    Parameters
    ----------
    place
        Where they lie.
    tifs
        Path below the session → sha-256 that it should have.

    Yields
    ------
    dict
        Path below the session → where the tif is now.
    """
    moved: dict[str, Path] = {}
    try:
        for path, sha256 in tifs.items():
            file = place.free_place(path)
            moved[path] = file
            place.take(path, file, sha256)
        place.flush_moves(moved)
        yield moved
    except BaseException:
        for path, file in moved.items():
            put_back_or_tell(place, path, file)
        place.clear_kept()
        raise


def settle(place: Place) -> None:
    """Clear what a killed removal or restoring left, with a MesoWarning for each; the caller is the sole user.

    Tifs that were moved, and whose removal was not recorded, go back to their places. Half-restored tifs, and second
    names of whole ones, are removed.
    """
    with storage_errors(place.session_path):
        for kept in place.unsettled():
            if put_back_or_tell(place, kept.path, kept.file):
                _tell(place, kept.path, "put back: its removal or its restoring was interrupted")
        place.clear_kept()
        for part in place.half_restored():
            _tell(place, part, "left by an interrupted restoring, removed")
        place.clear_restoring()
        for part in place.clear_second_names():  # of versions that wrote beside the tif
            _tell(place, part, "second name of a tif, removed")


def settle_if_needed(where: Path | Place) -> None:
    """Clear what a killed removal or restoring left, if there is any and nobody is at it."""
    place = as_place(where)
    if place.has_restoring() or place.unsettled():
        try:
            with place.alone():
                settle(place)
        except StorageError as error:  # the tifs are in the archive, too: whoever needs them goes on
            warnings.warn(str(error), MesoWarning, stacklevel=2)


def put_back_or_tell(place: Place, path: str, file: Path) -> bool:
    """Put a tif back; if there is another file at its place, both are kept and a MesoWarning names them."""
    try:
        if not place.is_there(file):
            return False
        if place.put_back(path, file):
            return True
        what, remedy = "a new file of this name is there", "Move the new one out of the bout"
    except StorageError as error:
        what, remedy = f"not put back ({str(error).rstrip('.')})", "Make that possible"
    where = file.relative_to(place.session_path).as_posix()
    _tell(place, path, f"{what}; the tif itself is kept as {where}. {remedy}, then run `meso restore`")
    return False


def _tell(place: Place, path: str, what: str) -> None:
    warnings.warn(place.named(f"{place.session_path / path}: {what}"), MesoWarning, stacklevel=3)
