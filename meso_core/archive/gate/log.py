"""What was removed: a line of ``.meso/removals.jsonl`` for each raw tif, written once the tif was compared.

What belongs here: writing and reading that log. A line counts once it is whole. After a kill or on a full disk, the
other lines can still be read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path

from ...errors import ArchiveError, MissingInputError, SettingsError
from ...json_text import json_text
from ...opening import RECORD_BYTES, read_plain
from ...session import MESO_FOLDER
from ...storage.files.atomic import make_folder, storage_errors
from ...storage.files.hashing import sync_folder
from ...storage.files.locks import locked


@dataclass(frozen=True, slots=True)
class Override:
    """A person's decision to remove tifs although quality control or processing says no."""

    who: str
    why: str

    def __post_init__(self) -> None:
        if not self.who.strip() or not self.why.strip():
            raise SettingsError.at(
                "override", expected="who and why", found=f"{self}", remedy="Give your name and the reason"
            )


@dataclass(frozen=True, slots=True)
class RemovalEvent:
    """One tif that was removed; a line of ``.meso/removals.jsonl``, on the disk before its room is freed."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    md5: str
    archive: str
    archive_sha256: str
    #: ISO 8601, UTC.
    at: str
    #: Who overrode the gate and why; None where it was open.
    override: Override | None = None


def load_removals(session_path: Path) -> tuple[RemovalEvent, ...]:
    """Read the removals recorded for a session, oldest first.

    A last line that is not whole does not count: its tif is put back.

    Raises
    ------
    ArchiveError
        If the log is damaged elsewhere.
    InputFileError
        If it cannot be read.
    """
    path = _log_path(Path(session_path))
    try:
        *lines, tail = read_plain(path, RECORD_BYTES).split(b"\n")
    except MissingInputError:
        return ()
    if _whole(tail):
        lines.append(tail)
    events = []
    for number, line in enumerate(lines, 1):
        try:
            events.append(_parse(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArchiveError.at(
                path,
                field=f"line {number}",
                expected="the record of a removal",
                found=repr(error),
                remedy="Restore this line from a copy of the log, or delete it; the archives still hold the tifs",
            ) from error
    return tuple(events)


def record(session_path: Path, events: Iterable[RemovalEvent]) -> None:
    """Record events and bring them to the disk; if that fails, none of them is recorded.

    Raises
    ------
    StorageError
        If there is no room or no right to write.
    """
    path = _log_path(session_path)
    # ASCII with escapes: a name that is not UTF-8 has no other spelling
    lines = b"".join(json_text(asdict(event), sort_keys=True).encode() + b"\n" for event in events)
    lock = path.parent / "locks" / "removals.lock"
    make_folder(lock.parent)
    with storage_errors(path), locked(lock), FileIO(path, "a+") as file:
        length = _end_of_lines(file)
        try:
            _append(file, lines)
            sync_folder(path.parent)
        except OSError:
            file.truncate(length)
            os.fsync(file.fileno())
            raise


def _end_of_lines(file: FileIO) -> int:
    """Cut a last line that is not whole, or the next would be appended to it; returns the length of the log."""
    file.seek(0)
    data = file.readall()
    length = data.rfind(b"\n") + 1
    if _whole(data[length:]):
        _append(file, b"\n")
        return len(data) + 1
    if length < len(data):
        file.truncate(length)
    return length


def _append(file: FileIO, data: bytes) -> None:
    while data:
        data = data[file.write(data) or 0 :]
    os.fsync(file.fileno())


def _parse(line: bytes) -> RemovalEvent:
    body = json.loads(line)
    override = body.pop("override")
    event = RemovalEvent(**body, override=Override(**override) if override else None)
    for name, kind in (("path", str), ("size", int), ("mtime_ns", int), ("sha256", str), ("archive", str)):
        if type(getattr(event, name)) is not kind:
            raise TypeError(f"{name}: {getattr(event, name)!r}")
    return event


def _whole(tail: bytes) -> bool:
    """Whether the text after the last line break is a whole event (an editor may drop the last line break)."""
    try:
        _parse(tail)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return True


def _log_path(session_path: Path) -> Path:
    return session_path / MESO_FOLDER / "removals.jsonl"
