"""Verdicts on registration and ROIs of one FOV.

What belongs here: the questions and their thresholds. What does not: measuring (``registration``, ``metrics``).
"""

from __future__ import annotations

from ..qc import QCResult, Verdict
from ..session import fov_name
from .detection.fov import DetectionResult
from .registration.fov import RegistrationResult
from .registration.metrics import MIN_FRAMES_FOR_METRICS

_ORIGIN = "meso_core.imaging"

#: Rigid shift between the extremes of a principal component, px, above which the movie still moves.
RESIDUAL_LIMIT_PX = 1.0
#: Share of frames left out of detection above which a person should look, and above which the recording is lost.
BAD_FRAMES_WARNING, BAD_FRAMES_FAIL = 0.05, 0.5

#: Share of frames shifted as far as was looked for, above which a person should look.
AT_LIMIT_WARNING = 0.01


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
    verdict = (
        Verdict.FAIL if share > BAD_FRAMES_FAIL else Verdict.WARNING if share > BAD_FRAMES_WARNING else Verdict.PASS
    )
    bad = QCResult(
        "bad_frame_fraction",
        verdict,
        round(share, 6),
        BAD_FRAMES_WARNING,
        f"{share:.1%} of the frames are left out of detection; where that is much, look at the shifts over time.",
        _ORIGIN,
        name,
    )
    return (_residual(result, name), bad, _at_limit(result, name))


def _residual(result: RegistrationResult, name: str) -> QCResult:
    check, worst = "registration_residual", result.reg_metrics_max
    if worst is None:
        message = f"Not measured: suite2p's metrics need {MIN_FRAMES_FOR_METRICS} frames, there are {result.n_frames}."
        return QCResult(check, Verdict.WARNING, None, RESIDUAL_LIMIT_PX, message, _ORIGIN, name)
    value = float(worst[0])
    verdict = Verdict.PASS if value <= RESIDUAL_LIMIT_PX else Verdict.WARNING
    message = (
        f"The extremes of the registered movie's principal components are at most {value:.2f} px apart; above "
        f"{RESIDUAL_LIMIT_PX:g} px, play the registered movie and look for motion or a drift in depth."
    )
    return QCResult(check, verdict, round(value, 6), RESIDUAL_LIMIT_PX, message, _ORIGIN, name)


def _at_limit(result: RegistrationResult, name: str) -> QCResult:
    share = float(result.at_limit.mean())
    verdict = Verdict.WARNING if share > AT_LIMIT_WARNING else Verdict.PASS
    message = (
        f"{share:.1%} of the frames are shifted as far as registration looks; where that is more than "
        f"{AT_LIMIT_WARNING:.0%}, the brain may have moved further: look at the shifts over time, raise maxregshift."
    )
    return QCResult("shifts_within_reach", verdict, round(share, 6), AT_LIMIT_WARNING, message, _ORIGIN, name)


def detection_qc(result: DetectionResult, fov: int) -> tuple[QCResult, ...]:
    """Judge the ROIs of one FOV: ``cells_found``, the number of ROIs that are called cells."""
    verdict = Verdict.PASS if result.n_cells else Verdict.WARNING if result.n_rois else Verdict.FAIL
    message = f"{result.n_cells} of {result.n_rois} ROIs are cells{' (curated by hand)' if result.curated else ''}."
    if not result.n_rois:
        message = "No ROI was found: look at the registered movie, then lower detection.threshold_scaling."
    return (QCResult("cells_found", verdict, result.n_cells, 1, message, _ORIGIN, fov_name(fov)),)
