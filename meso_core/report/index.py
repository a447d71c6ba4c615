"""The index over the reports of many sessions: one table that sorts.

What belongs here: the page. What does not: finding sessions and reading their lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..qc import Verdict
from ..review import PersonVerdict
from .page.parts import SIGNS
from .page.people import SAID
from .page.render import render
from .page.summary import SessionLine


@dataclass(frozen=True, slots=True)
class IndexedSession:
    """A session in the index: its line and the address of its page, or why there is none."""

    session: str
    line: SessionLine | None = None
    #: Relative to the index.
    address: str = ""
    why: str = ""
    #: What a person says of it that is in force; None where nobody has.
    person: PersonVerdict | None = None

    @property
    def points(self) -> str:
        """Points of the line of activity, in a box of 96 by 20."""
        values = self.line.activity if self.line else ()
        step = 96 / max(len(values) - 1, 1)
        return " ".join(f"{k * step:.1f},{20 - value / 5:.1f}" for k, value in enumerate(values))

    @property
    def sign(self) -> tuple[str, str, str]:
        """Sign, word and class of the verdict."""
        return SIGNS[Verdict[self.line.level]] if self.line else ("–", "no report", "none")

    @property
    def said(self) -> tuple[str, str, str]:
        """Sign, word and class of what a person says."""
        return SAID[self.person.says] if self.person else ("–", "nobody", "none")


def make_index(sessions: Sequence[IndexedSession]) -> bytes:
    """Make the page; equal sessions give equal bytes."""
    ordered = sorted(sessions, key=lambda one: (one.line.date if one.line else "", one.session), reverse=True)
    counts = Counter(one.sign[1] for one in ordered)
    told = ", ".join(f"{counts[word]} {word}" for word in ("bad", "look", "good", "no report") if counts[word])
    return render("index.html", sessions=ordered, told=told).encode()
