"""The record of one verdict.

What belongs here: the types. What does not: what a check means (``table``), and files (``stored``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Verdict(IntEnum):
    """Outcome of a check, ordered from good to bad."""

    PASS = 0
    WARNING = 1
    FAIL = 2


@dataclass(frozen=True, slots=True)
class QCResult:
    """One check of a session's data, and its outcome; unit and meaning are in the table of checks, by its name."""

    #: Name of the check in snake case, as in ``frames_match_timestamps``.
    check: str
    verdict: Verdict
    #: What was measured.
    value: float | int | str | None
    #: What it was compared with: as it is read, the limit that decided the verdict.
    threshold: float | int | str | None
    #: One sentence for a person: what it means, and what to do if it is not a pass.
    message: str
    #: Room that made the verdict, as in ``meso_core.timing``.
    origin: str
    #: Folder name of the FOV, if the check is about one.
    fov: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing could be measured, and that is no fault: it passes, and is neither good nor bad."""
        return self.value is None and self.verdict is Verdict.PASS


def worst(results: Iterable[QCResult]) -> Verdict:
    """Return the worst verdict of a list; an empty list passes."""
    return max((r.verdict for r in results), default=Verdict.PASS)
