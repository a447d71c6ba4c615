"""One part of a session told to Alyx, from the plan to the record of what became of it.

What belongs here: the states in which this ends, and the record that stays with the session. A server that cannot be
reached holds nothing up: the record says *pending*, and a later run carries out what is due then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import AlyxUnavailableError, InputFileError, MissingInputError
from ..json_text import json_text
from ..opening import read_json
from ..storage import FileRecord
from .carry import register
from .client import AlyxClient
from .plan import Action, Outcome, Plan, Sent, summary

#: Makes the plan of one part from what the server holds.
PlanMaker: TypeAlias = Callable[[AlyxClient], Plan]

_FOLDER, _SENT, _PLAN = "alyx", ".sent.json", ".plan.json"
_RUN_AGAIN = "Run the asset of this file again"


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
class Registration:
    """What became of telling Alyx."""

    state: State
    #: Why, where it is pending or withheld.
    reason: str = ""
    #: When it became pending, ISO 8601; empty else.
    since: str = ""
    plans: tuple[Plan, ...] = ()
    outcomes: tuple[Outcome, ...] = ()

    @property
    def did_nothing(self) -> bool:
        """Whether the server held everything before."""
        return self.state is State.REGISTERED and all(sent.action is Action.NOTHING for sent in self.sent)

    @property
    def sent(self) -> tuple[Sent, ...]:
        """Records that the server holds."""
        return tuple(sent for outcome in self.outcomes for sent in outcome.records)

    @property
    def summary(self) -> str:
        """What was done, or would be, in a sentence."""
        if self.state is State.PLANNED:
            return summary(self.plans)
        if self.state is State.REGISTERED:
            done = [outcome.summary for outcome in self.outcomes if outcome.summary != "nothing to do"]
            return "; ".join(done) or "nothing to do"
        return f"{self.state.value}: {self.reason}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know."""
        return tuple(remark for plan in self.plans for remark in plan.remarks)

    def to_json(self) -> str:
        """Return the record that stays with the session, the same text where the server holds the same."""
        body: dict[str, Any] = {"state": self.state.value, "reason": self.reason, "since": self.since}
        if self.state is State.PLANNED:
            body["plans"] = [json.loads(plan.to_json()) for plan in self.plans]
        else:
            body["sessions"] = sorted({outcome.eid for outcome in self.outcomes if outcome.eid})
            body["records"] = [
                {"kind": one.kind.value, "name": one.name, "id": one.id, "link": one.link, "path": one.path}
                for one in self.sent
            ]
        return json_text({**body, "remarks": list(self.remarks)}, indent=1, nulls=True) + "\n"


def planned(makers: Sequence[PlanMaker], client: AlyxClient) -> Registration:
    """Make the plans of a part and send nothing; a server that is away is told as pending."""
    plans: list[Plan] = []
    try:
        plans.extend(make(client) for make in makers)
    except AlyxUnavailableError as error:
        return Registration(State.PENDING, str(error), _now(), tuple(plans))
    return Registration(State.PLANNED, plans=tuple(plans))


def registered(
    makers: Sequence[PlanMaker],
    client: AlyxClient,
    session_path: Path,
    *,
    wait: Callable[[float], None] = time.sleep,
) -> Registration:
    """Make the plans of a part, one after the other, and carry each out.

    Parameters
    ----------
    makers
        Make the plans.
    client
        Alyx client.
    session_path
        Session folder.
    wait
        Waits for a number of seconds.

    Raises
    ------
    AlyxError
        If a person has to act first.
    """
    plans, outcomes = list[Plan](), list[Outcome]()
    try:
        for make in makers:
            plan, outcome = register(partial(make, client), client, session_path, wait=wait)
            plans.append(plan)
            outcomes.append(outcome)
    except AlyxUnavailableError as error:
        return Registration(State.PENDING, str(error), _now(), tuple(plans), tuple(outcomes))
    return Registration(State.REGISTERED, plans=tuple(plans), outcomes=tuple(outcomes))


def withheld(reasons: Sequence[str]) -> Registration:
    """Tell that a part may not be sent."""
    return Registration(State.WITHHELD, "; ".join(reasons))


def unavailable(error: AlyxUnavailableError) -> Registration:
    """Tell that the server could not be reached at all."""
    return Registration(State.PENDING, str(error), _now())


def record_path(part: str, registration: Registration) -> str:
    """Path of the record of a registration, below the session."""
    return f"{_FOLDER}/{part}{_PLAN if registration.state is State.PLANNED else _SENT}"


def sent_path(part: str) -> str:
    """Path of the record of what the server answered, below the session."""
    return f"{_FOLDER}/{part}{_SENT}"


def records_path(part: str) -> str:
    """Path of the records as they would be sent, below the session."""
    return f"{_FOLDER}/{part}.json"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A part of a session that waits for the server."""

    #: Path of the record.
    path: str
    since: str
    reason: str


def waiting(session_path: Path, files: Sequence[FileRecord]) -> Waiting | None:
    """Tell whether, by the record among the published files, something waits for the server."""
    for file in files:
        if file.path.startswith(f"{_FOLDER}/") and file.path.endswith(_SENT):
            try:
                record = read_json(session_path / file.path, _RUN_AGAIN)
            except MissingInputError:  # that the file is gone is told by whoever compares files
                return None
            if not isinstance(record, dict):
                raise InputFileError.at(
                    session_path / file.path, expected="a record", found=type(record).__name__, remedy=_RUN_AGAIN
                )
            if record.get("state") == State.PENDING.value:
                return Waiting(file.path, str(record.get("since")), str(record.get("reason")))
    return None


def why_waiting(session_path: Path, files: Sequence[FileRecord]) -> tuple[str, ...]:
    """Return the sentence that ``meso status`` shows for a part that waits; empty where none does."""
    found = waiting(session_path, files)
    return () if found is None else (f"waits for Alyx since {found.since}: {found.reason}",)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
