"""Sweeps over good sessions and over faults.

What belongs here: which sessions are judged, and counting what fired. What does not: printing (``tables``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meso_core.qc import QCResult, Verdict

from .parts import PARTS, WHOLE
from .record import Part, Record, values
from .sessions import FAULTS, LONG, SHORT, SHORT_FAULTS, Fault, Session, good
from .whole import judge_beside


@dataclass(frozen=True)
class Row:
    """How often which checks fired on sessions with one fault of one severity."""

    fault: Fault
    severity: Any
    n: int
    #: Sessions in which a check of the fault fired, and those in which another one did.
    n_told: int
    n_other: int
    checks: Mapping[str, int]


@dataclass(frozen=True)
class Study:
    """Sessions of one length, and what can be wrong with them."""

    n_frames: int
    parts: tuple[Part, ...]
    faults: Mapping[str, Fault]
    #: Whether the number of cells is compared with that of two good sessions, as of fields beside it.
    has_neighbours: bool = False

    def verdicts(self, session: Session, record: Record) -> tuple[QCResult, ...]:
        """Judge a session."""
        found = [result for part in self.parts for result in record.results(part, session)]
        if self.has_neighbours:
            n, *others = (self._cells(one, record) for one in (session, *self._neighbours(session)))
            found += judge_beside(n, (others[0], others[1]))
        return tuple(found)

    def fired(self, session: Session, record: Record) -> frozenset[str]:
        """Names of the checks that do not pass."""
        return frozenset(one.check for one in self.verdicts(session, record) if one.verdict is not Verdict.PASS)

    def false_alarms(self, seeds: Iterable[int], record: Record) -> tuple[int, Counter[str]]:
        """Judge good sessions; returns how many there were, and which checks fired on how many."""
        found = [self.fired(good(seed, self.n_frames), record) for seed in seeds]
        return len(found), Counter(name for one in found for name in one)

    def sweep(self, seeds: Iterable[int], record: Record, faults: Iterable[str] | None = None) -> Iterator[Row]:
        """Judge sessions with each fault at each severity, the mildest first."""
        seeds = tuple(seeds)
        for name in self.faults if faults is None else faults:
            fault = self.faults[name]
            for severity in fault.severities:
                found = [self.fired(fault.session(seed, severity, self.n_frames), record) for seed in seeds]
                told = sum(bool(one & fault.checks) for one in found)
                other = sum(bool(one - fault.checks) for one in found)
                yield Row(fault, severity, len(found), told, other, Counter(check for one in found for check in one))

    def _neighbours(self, session: Session) -> Iterator[Session]:
        return (good((session.seed + step) % 10, self.n_frames) for step in (1, 2))

    def _cells(self, session: Session, record: Record) -> int:
        (part,) = self.parts
        return int(values(record.results(part, session))["cells_found"] or 0)


LONG_STUDY = Study(LONG, PARTS, FAULTS)
SHORT_STUDY = Study(SHORT, (WHOLE,), SHORT_FAULTS, has_neighbours=True)
