"""What would be sent to Alyx, and what became of it: typed records, shown before anything happens.

What belongs here: the records, their text and JSON. What does not: how a plan is made (one module per kind of record),
and how it is carried out (``carry``).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from ..counting import counted
from ..errors import AlyxError, brief
from ..json_text import json_text


class Part(StrEnum):
    """What a plan is about."""

    FOVS = "fovs"
    CRANIOTOMY = "craniotomy"
    SNAPSHOTS = "snapshots"
    DATASETS = "datasets"
    SESSION_QC = "session qc"
    REPORT_NOTE = "report"


class Kind(StrEnum):
    """Kind of a record; the value is its name for one."""

    STACK = "imaging stack"
    FOV = "field of view"
    LOCATION = "location"
    CRANIOTOMY = "craniotomy"
    NOTE = "note"
    DATASET = "dataset"
    FILE_RECORD = "file record"
    SESSION = "session"

    @property
    def endpoint(self) -> str:
        """Endpoint of Alyx that holds records of this kind."""
        return _ENDPOINTS[self]

    def counted(self, number: int) -> str:
        """Return a number of records in words, as in ``8 fields of view``."""
        return f"{number} {self.value if number == 1 else _SEVERAL[self]}"


_ENDPOINTS = {
    Kind.STACK: "imaging-stack",
    Kind.FOV: "fields-of-view",
    Kind.LOCATION: "fov-location",
    Kind.CRANIOTOMY: "subjects",
    Kind.NOTE: "notes",
    Kind.DATASET: "datasets",
    Kind.FILE_RECORD: "files",
    Kind.SESSION: "sessions",
}
_SEVERAL = {
    Kind.STACK: "imaging stacks",
    Kind.FOV: "fields of view",
    Kind.LOCATION: "locations",
    Kind.CRANIOTOMY: "craniotomies",
    Kind.NOTE: "notes",
    Kind.DATASET: "datasets",
    Kind.FILE_RECORD: "file records",
    Kind.SESSION: "sessions",
}


class Action(StrEnum):
    """What is to be done with a record."""

    CREATE = "create"
    CHANGE = "change"
    #: The server holds it as it is here.
    NOTHING = "nothing"
    #: A person has to act first; nothing of the plan is sent until then.
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Change:
    """One field that the server holds otherwise."""

    field: str
    server: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.field}: {brief(self.server)} → {brief(self.ours)}"


@dataclass(frozen=True, slots=True)
class Ref:
    """A record of the same plan, whose id may not be known yet."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Planned:
    """One record, and what is to be done with it."""

    kind: Kind
    name: str
    action: Action
    #: Id on the server; None where the record is not there yet.
    id: str | None = None
    changes: tuple[Change, ...] = ()
    #: What is sent, as JSON values.
    payload: Mapping[str, Any] = field(default_factory=dict)
    #: Field of the payload → record of the plan whose id belongs there.
    refs: Mapping[str, Ref] = field(default_factory=dict)
    #: Why, and for a conflict what a person does.
    why: str = ""

    @property
    def ref(self) -> Ref:
        """Kind and name, by which other records of the plan refer to this one."""
        return Ref(self.kind, self.name)

    @property
    def is_work(self) -> bool:
        """Whether something is sent."""
        return self.action in (Action.CREATE, Action.CHANGE)

    def __str__(self) -> str:
        told = "; ".join((*map(str, self.changes), *filter(None, [self.why])))
        return f"{self.action.value:<9}{self.kind.value} {self.name}" + (f": {told}" if told else "")


@dataclass(frozen=True, slots=True)
class Plan:
    """All that Alyx would be told of one part of a session."""

    part: Part
    #: Short path of the session.
    session: str
    #: Its id on the server.
    eid: str
    records: tuple[Planned, ...]
    #: Digest of what the server held of this part when the plan was made.
    server_state: str
    #: What a person should know, in sentences; nothing waits for it.
    remarks: tuple[str, ...] = ()
    #: Nickname of the subject.
    subject: str = ""
    #: Name of the repository of the datasets.
    repository: str = ""

    @property
    def work(self) -> tuple[Planned, ...]:
        """Records to create or change."""
        return tuple(record for record in self.records if record.is_work)

    @property
    def conflicts(self) -> tuple[Planned, ...]:
        """Records for which a person has to act first."""
        return tuple(record for record in self.records if record.action is Action.CONFLICT)

    @property
    def is_empty(self) -> bool:
        """Whether the server holds all of it."""
        return not self.work and not self.conflicts

    @property
    def summary(self) -> str:
        """The plan in a sentence, as in ``would create 8 fields of view, change 2 locations``."""
        return summary([self])

    def insist_on_no_conflict(self) -> None:
        """Refuse a plan for which a person has to act first.

        Raises
        ------
        AlyxError
            That names each conflict, and what to do.
        """
        if self.conflicts:
            raise AlyxError.at(
                self.session,
                expected=f"{self.part.value} that Alyx can take",
                found="; ".join(f"{one.kind.value} {one.name}: {one.why}" for one in self.conflicts[:10])
                + (f"; and {len(self.conflicts) - 10} more" if len(self.conflicts) > 10 else ""),
                remedy="Nothing of this part was sent. Do what stands behind each name, then run this again",
            )

    def as_text(self) -> str:
        """Lay the plan out for a terminal; what needs nothing is only counted."""
        lines = [f"{self.session}, {self.part.value}: {self.summary}"]
        lines += [f"  {record}" for record in self.records if record.action is not Action.NOTHING]
        lines += [f"  remark   {remark}" for remark in self.remarks]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return the plan as JSON, the same text for the same plan."""
        return json_text(asdict(self), indent=1, sort_keys=True, nulls=True) + "\n"


@dataclass(frozen=True, slots=True)
class Sent:
    """A record as the server holds it after a plan was carried out."""

    kind: Kind
    name: str
    id: str
    #: What was done with it.
    action: Action
    #: Address of the record.
    link: str = ""
    #: For a dataset: its path below the session, in the folder of its revision where it has one.
    path: str = ""

    @classmethod
    def of(cls, record: Planned, record_id: str, server: str) -> Sent:
        """Tell where a record of a plan is, now that the server holds it; ``server`` is its address."""
        path = str(record.payload.get("path", "")) if record.kind is Kind.DATASET else ""
        link = f"{server}/{record.kind.endpoint}/{record_id}" if server and record_id else ""
        return cls(record.kind, record.name, record_id, record.action, link, path)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the server answered to a plan."""

    part: Part
    session: str
    eid: str
    records: tuple[Sent, ...]
    remarks: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What was done, in a sentence."""
        return _counted(((one.action, one.kind) for one in self.records), _DONE) or "nothing to do"


_WOULD = {Action.CREATE: "create", Action.CHANGE: "change"}
_DONE = {Action.CREATE: "created", Action.CHANGE: "changed"}


def summary(plans: Iterable[Plan]) -> str:
    """Sum plans up in one sentence."""
    records = [record for plan in plans for record in plan.records]
    told = _counted(((record.action, record.kind) for record in records), _WOULD)
    n_conflicts = sum(record.action is Action.CONFLICT for record in records)
    parts = [f"would {told}" if told else ""]
    parts += [counted(n_conflicts, "conflict") if n_conflicts else ""]
    return "; ".join(filter(None, parts)) or "nothing to do"


def state_digest(state: object) -> str:
    """Digest of what a server holds: JSON values, in an order that the server does not decide."""
    return hashlib.sha256(json_text(state, sort_keys=True, nulls=True).encode()).hexdigest()


def _counted(done: Iterable[tuple[Action, Kind]], words: Mapping[Action, str]) -> str:
    counts = Counter(done)
    phrases: list[str] = []
    for action, word in words.items():
        some = [kind.counted(counts[action, kind]) for kind in Kind if counts[action, kind]]
        phrases += [f"{word} {', '.join(some)}"] if some else []
    return ", ".join(phrases)
