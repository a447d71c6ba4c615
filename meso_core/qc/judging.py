"""Verdicts from values: the limits of a lab, and the one place where a value is compared with one.

What belongs here: comparing. What does not: measuring, and the usual limits (``table``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias

from .check import Limit
from .record import QCResult, Verdict
from .table import CHECKS, check_of

#: Check → limit of a lab; a check that is not among them has its usual one.
Limits: TypeAlias = Mapping[str, Limit]
DEFAULT_LIMITS: Limits = MappingProxyType({})

_GRADES = ("warning", "fail")


def limit_of(check: str, limits: Limits = DEFAULT_LIMITS) -> Limit | None:
    """Return the limit with which a check is judged; None for one that no limit decides."""
    usual = check_of(check).limit
    return limits.get(check, usual) if usual is not None else None


def judge(
    check: str,
    value: float | int,
    message: str,
    origin: str,
    fov: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> QCResult:
    """Judge a number that was measured.

    Parameters
    ----------
    check
        Name of a check that a limit decides.
    value
        What was measured, in the unit of the table. One that is not finite could not be measured: a warning.
    message
        For a person; it need not name the limit.
    origin, fov
        As in :class:`QCResult`.
    limits
        Those of a lab.
    """
    known = round(value, 6) if math.isfinite(value) else None
    return judged(QCResult(check, Verdict.WARNING, known, None, message, origin, fov), limits)


def judged(result: QCResult, limits: Limits = DEFAULT_LIMITS) -> QCResult:
    """Judge a result again, by these limits; one without a number, or that no limit decides, stays as it is.

    The threshold is where values ask for a look, whatever the verdict: results are stored so. :func:`as_read` gives
    the limit that decided.
    """
    limit, value = limit_of(result.check, limits), result.value
    if limit is None:
        return result
    threshold = limit.warning if limit.warning is not None else limit.fail
    if isinstance(value, bool) or not isinstance(value, int | float):
        return replace(result, threshold=threshold)
    verdict = Verdict.FAIL if limit.is_beyond(value, limit.fail) else Verdict.PASS
    if verdict is Verdict.PASS and limit.is_beyond(value, limit.warning):
        verdict = Verdict.WARNING
    return replace(result, verdict=verdict, threshold=threshold)


def as_read(result: QCResult, limits: Limits = DEFAULT_LIMITS) -> QCResult:
    """Judge a result again, as whoever reads it sees it: of one that failed, the threshold is where bad values begin.

    It is not stored: other limits may hold when it is read again.
    """
    found, limit = judged(result, limits), limit_of(result.check, limits)
    if limit is None or limit.fail is None or found.verdict is not Verdict.FAIL:
        return found
    return replace(found, threshold=limit.fail)


def parse_limits(chosen: Mapping[str, Mapping[str, float]]) -> dict[str, Limit]:
    """Read the limits of a lab: check → ``warning``, ``fail`` or both; what is not given is as usual.

    Parameters
    ----------
    chosen
        As in ``{"light_lost": {"warning": 0.2, "fail": 0.5}}``.

    Raises
    ------
    ValueError
        If there is no such check, no limit decides it, or a fail comes before a warning.
    """
    found = {}
    for name, values in chosen.items():
        usual = CHECKS[name].limit if name in CHECKS else None
        if usual is None:
            known = ", ".join(sorted(check for check, row in CHECKS.items() if row.limit is not None))
            raise ValueError(f"{name} is no check that a limit decides: give one of {known}")
        if not values or not set(values) <= set(_GRADES):
            raise ValueError(f"{name}: give warning, fail or both, not {', '.join(values) or 'nothing'}")
        limit = Limit(values.get("warning", usual.warning), values.get("fail", usual.fail), usual.is_low_bad)
        if limit.warning is not None and limit.fail is not None and limit.is_beyond(limit.warning, limit.fail):
            side = "below" if limit.is_low_bad else "above"
            raise ValueError(
                f"{name}: fail ({limit.fail:g}) must lie {side} warning ({limit.warning:g}), for values {side} are bad"
            )
        found[name] = limit
    return found
