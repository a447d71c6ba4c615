"""Verdicts summed up in words, the same wherever a person reads them.

What belongs here: sentences on many verdicts. What each check means is said in ``table``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..counting import counted
from .record import QCResult, Verdict, worst


def short(value: float | int | str | None) -> str:
    """Write a value or a limit of a verdict; what there is none of is a dash."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def in_words(verdicts: Sequence[QCResult]) -> tuple[Verdict, str]:
    """Sum up all verdicts: the worst, and a sentence without its full stop."""
    count = Counter(v.verdict for v in verdicts)
    checks = counted(len(verdicts), "verdict")
    if not verdicts:
        return Verdict.WARNING, "Nothing was judged yet"
    if n := count[Verdict.FAIL]:
        more = f", {count[Verdict.WARNING]} more ask for a look" if count[Verdict.WARNING] else ""
        return Verdict.FAIL, f"Bad: {n} of {checks} failed{more}"
    if n := count[Verdict.WARNING]:
        return Verdict.WARNING, f"Look: {n} of {checks} ask{'s' * (n == 1)} for a look"
    return worst(list(verdicts)), f"Good: all of {checks} passed"
