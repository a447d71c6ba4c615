"""Verdicts on the motion of a field, its light, and what it shows from beginning to end.

What belongs here: the questions, and what a person is told. What does not: formulas (``measure``), and limits
(``meso_core.qc``).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...qc import DEFAULT_LIMITS, Limits, QCResult, Verdict, judge
from ...scanimage.reference_field import FieldStack
from ..measure.axial import AxialDrift, axial_drift
from ..measure.motion import FovMotion
from ..measure.photons import measure_photons
from ..measure.quality import crispness_gain, likeness_of_ends, saturated_share
from .field_value import ORIGIN, Judge


def judge_motion(
    fov: str, motion: FovMotion, um_per_px: float, limits: Limits = DEFAULT_LIMITS
) -> tuple[QCResult, ...]:
    """Judge how a field moved."""
    told, far, step = Judge(fov, limits), motion.range_px * um_per_px, motion.jump_px * um_per_px
    return (
        told("rigid_range", far, f"The brain was {far:.1f} µm apart between its furthest usual places."),
        told("rigid_jump", step, f"The largest step between good frames is {step:.1f} µm."),
    )


def judge_movie(
    fov: str,
    movie: NDArray[Any],
    motion: FovMotion,
    limits: Limits = DEFAULT_LIMITS,
    stack: FieldStack | None = None,
) -> tuple[QCResult, ...]:
    """Judge the light of a registered movie, and whether it shows the same from beginning to end.

    Parameters
    ----------
    fov
        Its folder name.
    movie
        (n_frames, ny, nx) int16; a sample of the frames is read.
    motion
        How it moved: shifts, and frames that are left out.
    limits
        Those of a lab.
    stack
        The field in the reference stack, where there is one that tells depths.
    """
    told, bad = Judge(fov, limits), motion.is_bad
    gain = crispness_gain(movie, motion.y, motion.x, bad)
    alike, saturated = likeness_of_ends(movie, bad), saturated_share(movie, bad)
    found = [
        told("crispness_gain", gain, f"Registration makes the mean image {gain:.2f} times as crisp."),
        told("ends_alike", alike, f"The first and the last fifth of the recording are alike by {alike:.2f} of 1."),
        told("saturated_share", saturated, f"{100 * saturated:.4f} % of the values stand at the largest one."),
    ]
    if stack is not None and (drift := axial_drift(movie, bad, stack)) is not None:
        found.append(_drifted(told, drift))
    if (light := measure_photons(movie, bad, motion.step)) is None:
        return tuple(found)
    message = f"At least {light.photons:.1f} photons per pixel and frame; {light.dark:.0%} of the pixels have fewer "
    found.append(told("photons_per_pixel", light.photons, f"{message}than one."))
    message = (
        f"At most {light.gain:.0f} counts per photon." if np.isfinite(light.gain) else "The counts tell no photons."
    )
    known = round(light.gain, 3) if np.isfinite(light.gain) else None
    found.append(QCResult("counts_per_photon", Verdict.PASS, known, None, message, ORIGIN, fov))
    message = f"The light of the last third is {1 + light.change:.0%} of that of the first."
    found.append(told("light_lost", -light.change, message))
    return tuple(found)


def _drifted(told: Judge, drift: AxialDrift) -> QCResult:
    if not math.isfinite(drift.range_um):
        message = "The field was not found in the reference stack, which may be of another place or too dim to tell."
        return judge("axial_drift", drift.range_um, message, ORIGIN, told.fov, told.limits)
    further = ", or more: it reached the end of the reference stack" if drift.is_at_end else ""
    message = f"The field was {drift.range_um:.1f} µm apart between its highest and lowest depth{further}."
    return told("axial_drift", drift.range_um, message)
