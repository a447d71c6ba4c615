"""What a figure is judged by: the checks that it shows, each with what was found, its limits and its verdict.

What belongs here: from the names of checks, with which a figure is declared, to what its caption tells. What does not:
which figure shows which checks (the sections declare it), and the limits themselves (``meso_core.qc``).
"""

from __future__ import annotations

from collections.abc import Sequence

from ...qc import Limit, Limits, QCResult, Verdict, check_of, limit_of, worst
from ..inputs import ReportInputs
from .parts import NOT_JUDGED, SIGNS, Judged
from .render import number


def judged_by(inputs: ReportInputs, *checks: str, fov: str | None = None) -> tuple[Judged, ...]:
    """Tell what a figure is judged by.

    Parameters
    ----------
    inputs
        With the verdicts, and the limits of the lab.
    checks
        Names of the checks that the figure shows, as in the table of checks.
    fov
        Folder name of the field that it is about; of all fields otherwise.
    """
    return tuple(_judged(inputs, check, inputs.verdicts_on(check, fov=fov)) for check in checks)


def first_limit(inputs: ReportInputs, check: str) -> float | None:
    """Value from which on a check asks for a look, to be drawn; or is bad, where it never asks for a look."""
    limit = limit_of(check, inputs.limits)
    if limit is None:
        return None
    return limit.fail if limit.warning is None else limit.warning


def limits_in_words(result: QCResult, limits: Limits) -> str:
    """Write with what a result was compared; empty where no fixed limit decides."""
    unit = check_of(result.check).unit if not isinstance(result.value, float | int) else ""
    compared = "" if result.threshold is None else f"compared with {number(result.threshold)}"
    return _ends(limit_of(result.check, limits), unit) or compared


def _judged(inputs: ReportInputs, check: str, results: Sequence[QCResult]) -> Judged:
    unit, limit = check_of(check).unit, limit_of(check, inputs.limits)
    is_known = any(isinstance(one.value, float | int) for one in results)
    told = _ends(limit, "" if is_known else unit) or _threshold(results)
    if not results:
        return Judged(check, "", told, NOT_JUDGED)
    verdict = worst(results)
    where = [one.fov for one in results if one.fov and one.verdict is verdict]
    some = ", ".join(where) if len(results) > 1 and verdict is not Verdict.PASS else ""
    sign = NOT_JUDGED if all(one.is_open for one in results) else SIGNS[verdict]
    return Judged(check, _values(results, unit), told, sign, some)


def _ends(limit: Limit | None, unit: str) -> str:
    """Write from where on a value asks for a look, and from where on it is bad, with the unit if given."""
    if limit is None:
        return ""
    side = "below" if limit.is_low_bad else "above"
    ends = (("look", limit.warning), ("bad", limit.fail))
    return ", ".join(f"{word} {side} {end:g} {unit}".rstrip() for word, end in ends if end is not None)


def _threshold(results: Sequence[QCResult]) -> str:
    """Write what was compared with, where no limit decides alone."""
    known = list(dict.fromkeys(number(one.threshold) for one in results if one.threshold is not None))
    return f"compared with {', '.join(known)}" if known else "no fixed limit"


def _values(results: Sequence[QCResult], unit: str) -> str:
    """Write what was found: the least and the largest of several."""
    numbers = sorted(one.value for one in results if isinstance(one.value, float | int))
    others = [one.value for one in results if isinstance(one.value, str)]
    parts = list(dict.fromkeys(number(value) for value in (*numbers[:1], *numbers[-1:])))
    found = [f"{' to '.join(parts)} {unit}".rstrip()] if parts else []
    return ", ".join([*found, *dict.fromkeys(others)]) or "not measured"
