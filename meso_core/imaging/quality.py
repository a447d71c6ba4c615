"""Verdicts on registration and ROIs of one FOV, and of the FOVs of a session beside each other.

What belongs here: the questions. What does not: limits (``meso_core.qc``), and measuring (``registration``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import median_low

from ..qc import QCResult, Verdict, judge, judged
from ..session import Fov, fov_name
from .detection.fov import DetectionResult
from .registration.fov import RegistrationResult
from .registration.metrics import MIN_FRAMES_FOR_METRICS

_ORIGIN = "meso_core.imaging"

#: Share of the cells that the other FOVs lead to expect, below which a person should look.
FEW_CELLS = 1 / 3
#: Standard deviations of a count that are no chance.
_NO_CHANCE = 3.0
#: Cells of a field, and cells per mm² of one that is smaller than a tenth of that, below which a person should look.
_HANDFUL, _FEW_PER_MM2 = 10, 100.0
_AGREE = "fields_agree"


def registration_qc(result: RegistrationResult, fov: int) -> tuple[QCResult, ...]:
    """Judge the registration of one FOV.

    Parameters
    ----------
    result
        What registration found.
    fov
        Index of the FOV.

    Returns
    -------
    tuple of QCResult
        ``registration_residual`` (largest rigid ``regDX``, px), ``bad_frame_fraction``, and ``shifts_within_reach``
        (share of frames whose shift is the largest that was looked for).
    """
    name = fov_name(fov)
    share = float(result.bad_frames.mean())
    message = f"{share:.1%} of the frames are left out of detection; where that is much, look at the shifts over time."
    bad = judge("bad_frame_fraction", share, message, _ORIGIN, name)
    return (_residual(result, name), bad, _at_limit(result, name))


def _residual(result: RegistrationResult, name: str) -> QCResult:
    check, worst = "registration_residual", result.reg_metrics_max
    if worst is None:
        message = f"Not measured: suite2p's metrics need {MIN_FRAMES_FOR_METRICS} frames, there are {result.n_frames}."
        return judged(QCResult(check, Verdict.WARNING, None, None, message, _ORIGIN, name))
    value = float(worst[0])
    message = (
        f"The extremes of the registered movie's principal components are at most {value:.2f} px apart; where that is "
        "more than a pixel, play the registered movie and look for motion or a drift in depth."
    )
    return judge(check, value, message, _ORIGIN, name)


def _at_limit(result: RegistrationResult, name: str) -> QCResult:
    share = float(result.at_limit.mean())
    message = (
        f"{share:.1%} of the frames are shifted as far as registration looks; where those are many, the brain may "
        "have moved further: look at the shifts over time, raise maxregshift."
    )
    return judge("shifts_within_reach", share, message, _ORIGIN, name)


def detection_qc(result: DetectionResult, fov: int, area: float = math.nan) -> tuple[QCResult, ...]:
    """Judge the ROIs of one FOV: ``cells_found``, the number of ROIs that are called cells.

    Parameters
    ----------
    result
        What detection found.
    fov
        Index of the FOV.
    area
        Its area, mm². A handful of cells asks for a look: fewer than 10, or than 100 per mm² of a field below 0.1 mm².
        Where the area is not known, one cell is enough.
    """
    least = max(1, min(_HANDFUL, math.floor(_FEW_PER_MM2 * area))) if area > 0 else 1
    verdict = Verdict.PASS if result.n_cells >= least else Verdict.WARNING if result.n_rois else Verdict.FAIL
    message = f"{result.n_cells} of {result.n_rois} ROIs are cells{' (curated by hand)' if result.curated else ''}."
    if not result.n_rois:
        message = "No ROI was found: look at the registered movie, then lower detection.threshold_scaling."
    elif result.n_cells < least:
        message += f" A field of this size has {least} or more: look whether it is in focus, and well lit."
    return (QCResult("cells_found", verdict, result.n_cells, least, message, _ORIGIN, fov_name(fov)),)


def fields_qc(cells: Mapping[str, int], areas: Mapping[str, float]) -> tuple[QCResult, ...]:
    """Compare the FOVs of a session: ``fields_agree``, for each that has far fewer cells than the others.

    A FOV is told if it has less than a third of the cells that the others lead to expect in its area, and if chance
    does not explain it. FOVs at other depths or in other areas of the brain differ by a factor of two; where suite2p
    takes cells for twice as wide as they are, it finds a fifth of them or fewer. What is expected are cells per area of
    the median of the others, the lower one of two in the middle. Counts scatter by the square root of what is expected
    (Poisson); three times that is no chance.

    Parameters
    ----------
    cells
        Name of the FOV → number of its cells.
    areas
        Name of the FOV → its area, in any unit that all share. Where one is not known (0 or NaN), none counts.

    Returns
    -------
    tuple of QCResult
        A warning for each such FOV; one pass where there is none.
    """
    if not all(areas[fov] > 0 for fov in cells):
        areas = dict.fromkeys(cells, 1.0)
    found = [result for fov in cells if (result := _far_fewer(fov, cells, areas)) is not None]
    if found:
        return tuple(found)
    message = "One field of view: there is none to compare it with."
    if len(cells) > 1:
        message = f"No field of view has far fewer cells than the others: {_counts(cells.values())}."
    return (QCResult(_AGREE, Verdict.PASS, min(cells.values()), None, message, _ORIGIN),)


def _far_fewer(fov: str, cells: Mapping[str, int], areas: Mapping[str, float]) -> QCResult | None:
    others = [name for name in cells if name != fov]
    if not others:
        return None
    expected = median_low(cells[name] / areas[name] for name in others) * areas[fov]
    few = cells[fov]
    if few >= FEW_CELLS * expected or expected - few <= _NO_CHANCE * math.sqrt(expected):
        return None
    message = (
        f"{fov} has {few} cells, its neighbours {_counts(cells[name] for name in others)}: look at its mean image. If "
        "cells can be seen there, suite2p has mistaken their size: set spatial_scale (docs: the size of cells)."
    )
    return QCResult(_AGREE, Verdict.WARNING, few, round(FEW_CELLS * expected, 1), message, _ORIGIN, fov)


def _counts(numbers: Iterable[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}" if most else last


def area_mm2(fov: Fov) -> float:
    """Area of a FOV on the coverslip, mm²: the parallelogram that its corners span."""
    tl, tr, bl, _ = fov.mm.as_array()
    (a, b), (c, d) = tr - tl, bl - tl
    return abs(float(a * d - b * c))
