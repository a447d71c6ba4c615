"""Where the raw tifs of a session lie, and what the gate does with them there.

What belongs here: the steps that differ between a folder and a server, as one interface. Their order, and every
decision, is the same for both: ``plan``, ``kept``, ``comparison``, ``removal`` and ``restoring`` know no servers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from ...session import MESO_FOLDER
from ...storage.files.atomic import HashedFile
from .log import RemovalEvent

#: What tells that a file is the one that it was. Of a file of a disk: device, inode, size, time of change of the
#: content, and of the file. Of one on a server: nothing, its name for this content, size, time. The third is the size.
Identity = tuple[int, int | str, int, int, int]

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


class Place(Protocol):
    """The raw tifs of a session, and what is kept of them.

    Files are named by their paths below :attr:`session_path`. Of a server, that is a folder that shows what lies there
    by name, size and time; only records have their content.
    """

    @property
    def session_path(self) -> Path:
        """The session's folder, or what shows it."""

    def named(self, text: str) -> str:
        """Name the session's own place in a text that names what shows it."""

    def look(self) -> None:
        """Look at the session as it is now."""

    def alone(self) -> AbstractContextManager[None]:
        """Let nobody else remove or restore tifs of this session meanwhile; raises StorageError if somebody does."""

    def doubts(self, bouts: Sequence[Path]) -> list[str]:
        """Say why tifs cannot be moved out of bouts without any risk."""

    def time_there(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the earliest and the latest that it may be, by this machine's clock and the server's."""

    # ---- moving

    def kept(self) -> tuple[KeptTif, ...]:
        """List the tifs that were moved out of their bouts and are kept, in natural order."""

    def unsettled(self) -> list[KeptTif]:
        """List those whose removal was not recorded, or that have their place again."""

    def is_there(self, file: Path) -> bool:
        """Whether a tif is kept there."""

    def free_place(self, path: str) -> Path:
        """Give the place at which a tif will be kept; raises ArchiveError if there is something."""

    def take(self, path: str, file: Path, sha256: str) -> None:
        """Move a tif out of its bout; where that is a copy, only once it was read back and has this content."""

    def flush_moves(self, moved: Mapping[str, Path]) -> None:
        """Bring new names to the disk before the loss of the old ones."""

    def put_back(self, path: str, file: Path) -> bool:
        """Give a tif that is kept its place again; False where there is something else: then both stay."""

    def unlink(self, file: Path, was: Identity) -> bool:
        """Free the room of a tif that is kept; False, and it stays, if it is not the one that it was."""

    def flush_freed(self, files: Iterable[Path]) -> None:
        """Bring to the disk that tifs are gone from where they were kept."""

    def clear_kept(self) -> None:
        """Remove the folders of the tifs that are kept, if there are none."""

    def record(self, events: Iterable[RemovalEvent]) -> None:
        """Record removals; when this returns, the record outlives a loss of power."""

    # ---- comparing

    def flush_content(self, archive: Path, tifs: Sequence[Path]) -> None:
        """Bring what others have written to the disk, so that every later change is seen in an identity."""

    def identities(self, path: Path) -> tuple[Identity, ...]:
        """Identity of a file, or of all files of a folder; empty where it is gone."""

    def sha256(self, tif: Path, read: Callable[[int], None]) -> str:
        """Hash of a tif as it lies there; ``read`` is told the bytes of each piece where that takes long."""

    def writer_of(self, tif: Path) -> str:
        """Say that a program may be writing a tif; empty if none does, or the system does not tell."""

    def here(self, archive: Path) -> AbstractContextManager[Path]:
        """Give an archive as a file or folder of this machine: of a server, one that is fetched anew."""

    # ---- restoring

    def new_tif(self, tif: Path, size: int, mtime_ns: int) -> AbstractContextManager[HashedFile]:
        """Let a tif be written; when the block ends it gets its place, which nothing else has, and its time."""

    def keep_time(self, tif: Path, mtime_ns: int) -> None:
        """Let a tif that was found to be the one of the archive have its time, where the server gave it another one."""

    def has_restoring(self) -> bool:
        """Whether the place in which tifs are written when they are restored is there."""

    def half_restored(self) -> tuple[str, ...]:
        """List what an interrupted restoring has left: paths below the session."""

    def clear_restoring(self) -> None:
        """Remove the place in which tifs are written when they are restored."""

    def clear_second_names(self) -> tuple[str, ...]:
        """Remove second names of whole tifs, which earlier versions have left; returns their paths."""


def removed_folder(session_path: Path) -> Path:
    """Folder of the tifs that are kept."""
    return session_path / MESO_FOLDER / "removed"


def restoring_folder(session_path: Path) -> Path:
    """Folder in which tifs are written when they are restored."""
    return session_path / MESO_FOLDER / "restoring"
