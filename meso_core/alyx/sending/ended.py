"""How telling Alyx ended, as the record says that stays with the session.

What belongs here: where these records are, and reading them. What does not: making them (``registering``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from ...errors import InputFileError, MissingInputError
from ...opening import read_json
from ...storage import FileRecord
from ..plan import Kind, Ref

_FOLDER, _SENT, _PLAN = "alyx", ".sent.json", ".plan.json"
_RUN_AGAIN = "Remove it, then run its asset again"


class State(StrEnum):
    """How telling Alyx ended."""

    #: A dry run: the plan was made, nothing was sent.
    PLANNED = "planned"
    #: The server holds all of it.
    REGISTERED = "registered"
    #: The server could not be reached; a later run sends what is due then.
    PENDING = "pending"
    #: It may not be sent.
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class Ended:
    """How telling Alyx of a part of a session ended."""

    state: State
    #: Why, where it is pending or withheld.
    reason: str = ""
    #: Since when it is pending, ISO 8601.
    since: str = ""
    #: Records that were sent without an answer and were not found, and when they were sent.
    unanswered: tuple[Ref, ...] = ()
    unanswered_since: str = ""

    @property
    def why_waiting(self) -> tuple[str, ...]:
        """Say for what the part waits; empty where it waits for nothing."""
        return (f"waits for Alyx since {self.since}: {self.reason}",) if self.state is State.PENDING else ()

    @property
    def why_withheld(self) -> tuple[str, ...]:
        """Say why the part may not be sent; empty where it may."""
        return (self.reason,) if self.state is State.WITHHELD else ()


def record_path(part: str, state: State) -> str:
    """Path of the record of a part that ended in a state, below the session."""
    return f"{_FOLDER}/{part}{_PLAN if state is State.PLANNED else _SENT}"


def records_path(part: str) -> str:
    """Path of the records as they would be sent, below the session."""
    return f"{_FOLDER}/{part}.json"


def ended(session_path: Path, files: Sequence[FileRecord]) -> Ended | None:
    """Read the record among the published files of an asset; None where the server was never told.

    Raises
    ------
    InputFileError
        If it is damaged.
    """
    for file in files:
        if file.path.startswith(f"{_FOLDER}/") and file.path.endswith(_SENT):
            return _read(session_path / file.path)
    return None


def _read(path: Path) -> Ended | None:
    try:
        record = read_json(path, _RUN_AGAIN)
    except MissingInputError:  # that the file is gone is told by whoever compares files
        return None
    try:
        lost = tuple(Ref(Kind(one["kind"]), str(one["name"])) for one in record.get("unanswered", ()))
        moment = str(record.get("unanswered_since") or "")
        if lost:
            datetime.fromisoformat(moment)
        return Ended(State(record["state"]), str(record["reason"]), str(record["since"]), lost, moment)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputFileError.at(path, expected="a record", found=repr(error), remedy=_RUN_AGAIN) from error
