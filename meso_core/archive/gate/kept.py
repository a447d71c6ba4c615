"""Tifs that were moved out of their bout and are still kept, in ``.meso/removed/<bout>`` of the session.

What belongs here: moving them there and back, which of them a recorded removal is about, and clearing what a killed
removal or restoring left. Who may move them is decided in ``plan`` and ``removal``.
"""

from __future__ import annotations

import os
import shutil
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ...errors import ArchiveError, MesoWarning, StorageError
from ...session import MESO_FOLDER, imaging_bouts, natural_key, raw_tifs
from ...storage.atomic import link_or_rename, make_folder, part_path, same_file, storage_errors
from ...storage.hashing import sync_folder
from ...storage.locks import locked
from ...storage.times import same_time
from .log import RemovalEvent, load_removals

_SECONDS_OF_A_DAY = 86_400.0
#: Last second that has a date.
_LATEST = datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class KeptTif:
    """A tif that was moved out of its bout, and whose room is not free yet."""

    #: Its place: path below the session.
    path: str
    #: Where it is kept.
    file: Path
    size: int
    mtime_ns: int
    #: Its removal; None where that was killed before it was recorded.
    event: RemovalEvent | None
    #: Time of the removal, s since 1970: as recorded, or when it was moved if that is later.
    removed_at: float

    def frees_at(self, kept_days: float) -> datetime:
        """When its room may be freed."""
        return datetime.fromtimestamp(min(self.removed_at + kept_days * _SECONDS_OF_A_DAY, _LATEST), UTC)


def removed_folder(session_path: Path) -> Path:
    """Folder of the tifs that are kept."""
    return session_path / MESO_FOLDER / "removed"


def restoring_folder(session_path: Path) -> Path:
    """Folder in which tifs are written when they are restored."""
    return session_path / MESO_FOLDER / "restoring"


def kept_tifs(session_path: Path) -> tuple[KeptTif, ...]:
    """List the tifs that were moved out of their bouts and are kept, in natural order.

    Raises
    ------
    ArchiveError
        If the log of removals is damaged.
    StorageError
        If something cannot be read.
    """
    folder = removed_folder(session_path)
    if not folder.is_dir() or folder.is_symlink():
        return ()
    with storage_errors(folder):
        events, kept = load_removals(session_path), []
        for file in folder.glob("*/*"):
            status, path = file.lstat(), file.relative_to(folder).as_posix()
            if not stat.S_ISDIR(status.st_mode) and not file.parent.is_symlink():
                event = _removal_of(path, status, events)
                at = max(status.st_ctime, 0.0 if event is None else _seconds(event.at))
                kept.append(KeptTif(path, file, status.st_size, status.st_mtime_ns, event, at))
    return tuple(sorted(kept, key=lambda tif: natural_key(tif.path)))


def _removal_of(path: str, status: os.stat_result, events: Sequence[RemovalEvent]) -> RemovalEvent | None:
    """Find the last removal of a tif as it is."""
    same = (e for e in reversed(events) if (e.path, e.size) == (path, status.st_size))
    return next((e for e in same if same_time(e.mtime_ns, status.st_mtime_ns)), None)


@contextmanager
def sole_user(session_path: Path) -> Iterator[None]:
    """Let nobody else remove or restore tifs of this session meanwhile; the lock dies with the process.

    Raises
    ------
    StorageError
        If somebody does, or the lock cannot be made.
    """
    path = session_path / MESO_FOLDER / "locks" / "raw_tifs.lock"
    make_folder(path.parent)
    with ExitStack() as until_end:
        try:
            with storage_errors(path):
                until_end.enter_context(locked(path, wait=False))
        except StorageError as error:
            if not isinstance(error.__cause__, BlockingIOError):
                raise
            remedy = "Wait until it ends, then try again"
            expected, found = "no other removal or restoring of tifs of this session", "one that is going on"
            raise StorageError.at(session_path, expected=expected, found=found, remedy=remedy) from error
        yield


@contextmanager
def moved_away(session_path: Path, paths: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Move tifs out of their bouts, so that nobody finds them by their names; after an error they go back.

    Yields
    ------
    dict
        Path below the session → where the tif is now.
    """
    moved: dict[str, Path] = {}
    try:
        for path in paths:
            file = _free_place(session_path, path)
            moved[path] = file
            (session_path / path).rename(file)
        _sync_both(session_path, moved)
        yield moved
    except BaseException:
        for path, file in moved.items():
            put_back_or_tell(session_path, path, file)
        remove_empty(removed_folder(session_path))
        raise


def put_back(session_path: Path, path: str, file: Path) -> bool:
    """Give a tif that is kept its place again; False where there is something of its name: then both stay."""
    place = session_path / path
    with storage_errors(place):
        make_folder(place.parent)
        if not same_file(file, place):  # else a kill came in between
            try:
                link_or_rename(file, place)
            except FileExistsError:
                return False
        sync_folder(place.parent)
        file.unlink(missing_ok=True)
        sync_folder(file.parent)
    return True


def settle(session_path: Path) -> None:
    """Clear what a killed removal or restoring left, with a MesoWarning for each; the caller is the sole user.

    Tifs that were moved, and whose removal was not recorded, go back to their places. Half-restored tifs, and second
    names of whole ones, are removed.
    """
    with storage_errors(session_path):
        for kept in _unsettled(session_path):
            if put_back_or_tell(session_path, kept.path, kept.file):
                _tell(session_path, kept.path, "put back: its removal or its restoring was interrupted")
        remove_empty(removed_folder(session_path))
        for part in restoring_folder(session_path).rglob("*.part"):
            _tell(session_path, part.relative_to(session_path).as_posix(), "left by an interrupted restoring, removed")
        clear_restoring(session_path)
        for part in _second_names(session_path):  # of versions that wrote beside the tif
            part.unlink()
            _tell(session_path, part.relative_to(session_path).as_posix(), "second name of a tif, removed")


def clear_restoring(session_path: Path) -> None:
    """Remove the folder in which tifs are written when they are restored."""
    folder = restoring_folder(session_path)
    with storage_errors(folder):
        if folder.exists():
            shutil.rmtree(folder)


def settle_if_needed(session_path: Path) -> None:
    """Clear what a killed removal or restoring left, if there is any and nobody is at it."""
    if restoring_folder(session_path).exists() or _unsettled(session_path):
        try:
            with sole_user(session_path):
                settle(session_path)
        except StorageError as error:  # the tifs are in the archive, too: whoever needs them goes on
            warnings.warn(str(error), MesoWarning, stacklevel=2)


def _unsettled(session_path: Path) -> list[KeptTif]:
    """Tifs whose removal was not recorded, or that have their place again."""
    return [
        kept for kept in kept_tifs(session_path) if kept.event is None or same_file(kept.file, session_path / kept.path)
    ]


def sync_freed(session_path: Path, tifs: Iterable[Path]) -> None:
    """Bring to the disk that tifs are gone from where they were kept."""
    for folder in {tif.parent for tif in tifs}:
        sync_folder(folder)
    remove_empty(removed_folder(session_path))


def remove_empty(folder: Path) -> None:
    """Remove the folders of the tifs that are kept, if there are none."""
    for empty in (*folder.glob("*"), folder):
        with suppress(OSError):
            empty.rmdir()


def put_back_or_tell(session_path: Path, path: str, file: Path) -> bool:
    """Put a tif back; if there is another file at its place, both are kept and a MesoWarning names them."""
    if not os.path.lexists(file):
        return False
    try:
        if put_back(session_path, path, file):
            return True
        what, remedy = "a new file of this name is there", "Move the new one out of the bout"
    except StorageError as error:
        what, remedy = f"not put back ({str(error).rstrip('.')})", "Make that possible"
    where = file.relative_to(session_path).as_posix()
    _tell(session_path, path, f"{what}; the tif itself is kept as {where}. {remedy}, then run `meso restore`")
    return False


def _sync_both(session_path: Path, moved: dict[str, Path]) -> None:
    """Bring new names to the disk before the loss of the old ones."""
    for folder in {file.parent for file in moved.values()}:
        sync_folder(folder)
    for folder in {(session_path / path).parent for path in moved}:
        sync_folder(folder)


def _free_place(session_path: Path, path: str) -> Path:
    """Give the place at which a tif will be kept, in plain folders: a link would lead somewhere else."""
    file = removed_folder(session_path) / path
    for folder in (file.parent.parent.parent, file.parent.parent, file.parent):
        if folder.is_symlink():
            remedy = "Put a folder in place of the link, on the disk of the session"
            raise ArchiveError.at(folder, expected="a folder", found=f"a link to {folder.readlink()}", remedy=remedy)
    make_folder(file.parent)
    if os.path.lexists(file):
        remedy = f"`meso restore` brings {path} back; or free its room: meso remove-raw --yes --now"
        raise ArchiveError.at(file, expected="nothing yet", found="a tif of an earlier removal", remedy=remedy)
    return file


def _second_names(session_path: Path) -> Iterator[Path]:
    for bout in imaging_bouts(session_path):
        for tif in raw_tifs(bout):
            if same_file(part := part_path(tif, shared=True), tif):
                yield part


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _tell(session_path: Path, path: str, what: str) -> None:
    warnings.warn(f"{session_path / path}: {what}", MesoWarning, stacklevel=3)
