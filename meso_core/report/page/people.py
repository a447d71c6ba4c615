"""What people said of a session, as the page shows it beside the verdicts of machines.

What belongs here: who said what and when, which of it is in force, and what was made since. What does not: keeping it,
and what gates make of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...qc import Verdict
from ...review import ACCEPT, NOTE, REJECT, PersonVerdict, decision
from ..inputs import ReportInputs
from .parts import SIGNS

#: What a person said → sign (told apart without colour), word, and class of the style sheet.
SAID = {
    ACCEPT: (SIGNS[Verdict.PASS][0], "accepted", "pass"),
    REJECT: (SIGNS[Verdict.FAIL][0], "rejected", "fail"),
    NOTE: ("✎", "note", "note"),
}


@dataclass(frozen=True, slots=True)
class Saying:
    """What one person said at one time."""

    #: Sign, word and class.
    sign: tuple[str, str, str]
    who: str
    #: Day and minute, UTC.
    when: str
    note: str
    #: Whether it is the verdict that counts now: the last that is no note.
    is_in_force: bool
    #: What was made since, of what it speaks of; empty for a note.
    since: str = ""


def people_said(inputs: ReportInputs) -> tuple[Saying, ...]:
    """Tell what people said of the session, newest first."""
    counts = decision(tuple(inputs.people))
    return tuple(_saying(inputs, one, is_in_force=one is counts) for one in reversed(inputs.people))


def _saying(inputs: ReportInputs, said: PersonVerdict, *, is_in_force: bool) -> Saying:
    when = said.at[:16].replace("T", " ")
    since = _since(said.versions, inputs) if is_in_force else ""
    return Saying(SAID[said.says], said.who, f"{when} UTC", said.note.strip(), is_in_force, since)


def _since(seen: Mapping[str, str], inputs: ReportInputs) -> str:
    """Name the results that the person has not seen as they are now."""
    others = [one.name for one in inputs.results if one.version and seen.get(one.name) != one.version]
    return f"Made since, and not seen then: {', '.join(others)}." if others else ""
