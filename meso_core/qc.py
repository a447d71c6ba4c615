"""Quality control results as typed records.

What belongs here: the record and its verdicts. One list of such records feeds asset checks, reports and the command
line; how each is shown is their business.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Verdict(IntEnum):
    """Outcome of a check, ordered from good to bad."""

    PASS = 0
    WARNING = 1
    FAIL = 2


@dataclass(frozen=True, slots=True)
class QCResult:
    """One question asked of a session's data, and the answer."""

    #: Name of the check in snake case, as in ``frames_match_timestamps``.
    check: str
    verdict: Verdict
    #: What was measured.
    value: float | int | str | None
    #: What it was compared with.
    threshold: float | int | str | None
    #: One sentence for a person: what this means and what to do when it is not a pass.
    message: str
    #: Function that made the verdict, as in ``meso_core.timing``.
    origin: str
    #: FOV folder name where the check is about one FOV.
    fov: str | None = None
    #: Path of a figure below the session, if there is one.
    figure: str | None = None


def worst(results: list[QCResult] | tuple[QCResult, ...]) -> Verdict:
    """Return the worst verdict of a list; an empty list passes."""
    return max((r.verdict for r in results), default=Verdict.PASS)
