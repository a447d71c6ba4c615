"""What Alyx holds of a session, against the files on disk and their records, both ways.

What belongs here: the comparison, as sentences with what a person does. What does not: files against their records,
which ``meso_core.lineage`` compares.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from .plan import Action, Kind, Part, Plan, Planned
from .server.client import AlyxClient
from .server.state import held_datasets


class Reason(StrEnum):
    """What is wrong."""

    #: Here, and not on the server.
    UNREGISTERED = "unregistered"
    #: The server holds something else.
    DIFFERS = "differs"
    #: On the server, and not here.
    ONLY_IN_ALYX = "only in Alyx"
    #: A person has to act before it can be registered.
    CONFLICT = "conflict"
    #: The session could not be compared, as a whole or in part.
    NOT_COMPARED = "not compared"
    #: It may not be sent; nothing is wrong with that.
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class AlyxFinding:
    """One thing in which the server and the session do not agree."""

    reason: Reason
    kind: str
    name: str
    #: What differs, or why.
    told: str
    #: Empty where it is told with the reason.
    remedy: str = ""

    def __str__(self) -> str:
        sentences = [text.rstrip(".") + "." for text in (self.told, self.remedy) if text]
        return f"{self.reason.value:<13}{self.kind} {self.name}: {' '.join(sentences)}"

    @property
    def is_fault(self) -> bool:
        """Whether something is to be done."""
        return self.reason is not Reason.WITHHELD

    def as_record(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**asdict(self), "reason": self.reason.value}


def plan_findings(plans: Iterable[Plan], session: str, assets: Mapping[Part, str]) -> tuple[AlyxFinding, ...]:
    """Turn what plans would do into findings: what is planned is what the server does not hold.

    Parameters
    ----------
    plans
        Plans of a session.
    session
        Its short path.
    assets
        Part → asset that sends it.
    """
    found = []
    for plan in plans:
        run = f"Run {assets[plan.part]} of {session} with MESO_ALYX=online"
        found += [finding for record in plan.records if (finding := _of(record, run)) is not None]
    return tuple(found)


def _of(record: Planned, run: str) -> AlyxFinding | None:
    if record.action is Action.CONFLICT:
        return AlyxFinding(Reason.CONFLICT, record.kind.value, record.name, record.why, f"Then: {run}")
    if record.kind is Kind.FOV and record.why:
        return AlyxFinding(
            Reason.ONLY_IN_ALYX,
            record.kind.value,
            record.name,
            "the session has no such field of view",
            "It is marked and kept; delete it in Alyx if nothing refers to it",
        )
    changes = "; ".join(map(str, record.changes))
    if record.action is Action.CREATE:
        return AlyxFinding(Reason.UNREGISTERED, record.kind.value, record.name, changes or "Alyx does not hold it", run)
    if record.action is Action.CHANGE:
        return AlyxFinding(Reason.DIFFERS, record.kind.value, record.name, changes, run)
    return None


def only_in_alyx(
    client: AlyxClient, eid: str, there: Collection[str], registered: Sequence[str], repository: str
) -> tuple[AlyxFinding, ...]:
    """Find datasets that the server believes to be here and that are not.

    Parameters
    ----------
    client
        Alyx client.
    eid
        Id of the session.
    there
        Paths of all files of the session.
    registered
        Paths below the session of the files that are registered from here; what becomes of those is in their plan.
    repository
        Name of the data repository on which the files lie; what is elsewhere is not asked for.
    """
    known, found = set(registered), []
    for row in held_datasets(client, eid):
        path = _path(row)
        here = [one for one in row.get("file_records", ()) if one["data_repository"] == repository and one["exists"]]
        if here and path not in known and path not in there:
            found.append(
                AlyxFinding(
                    Reason.ONLY_IN_ALYX,
                    Kind.DATASET.value,
                    path,
                    f"Alyx says that {repository} holds it, and the session does not",
                    "Bring the file back, or set 'exists' of its file record to false in Alyx",
                )
            )
    return tuple(sorted(found, key=lambda one: one.name))


def _path(row: Mapping[str, Any]) -> str:
    revision = f"#{row['revision']}#" if row.get("revision") else ""
    return "/".join(filter(None, [str(row.get("collection") or ""), revision, str(row["name"])]))
