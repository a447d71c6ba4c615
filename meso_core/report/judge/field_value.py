"""A number of one field of view, judged.

What belongs here: what all questions about a field share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...qc import Limits, QCResult, judge

ORIGIN = "meso_core.report.judge"


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges what is measured of one field of view."""

    fov: str
    limits: Limits

    def __call__(self, check: str, value: float, message: str) -> QCResult:
        """Judge a number; of one that could not be measured, it is told why."""
        told = message if math.isfinite(value) else "Not measured: too few good frames, or too little light to tell."
        return judge(check, value, told, ORIGIN, self.fov, self.limits)
