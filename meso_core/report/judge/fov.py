"""Verdicts on one field of view: its clock, its motion, its light, its cells.

What belongs here: the questions, and what a person is told. What does not: formulas (``measure``), and limits
(``meso_core.qc``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...qc import DEFAULT_LIMITS, Limits, QCResult, Verdict, judge, judged
from ..measure.activity import corrected, delta_f, in_parts, noise_level
from ..measure.clock import intervals
from ..measure.motion import FovMotion
from ..measure.photons import measure_photons
from ..measure.quality import (
    crispness_gain,
    decay_time,
    fast_correlation,
    likeness_of_ends,
    saturated_share,
    transients,
)

ORIGIN = "meso_core.report.judge"
#: Indicators decay as fast as this times tau to this power, s: fits 0.79, 0.39 and 0.205 s of GCaMP6s, m and f (Chen et
#: al. 2013, Nature 499, 295) to the tau of 1.5, 1.0 and 0.7 that suite2p recommends for them.
_DECAY_S, _DECAY_POWER = 0.387, 1.775


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges what is measured of one field of view."""

    fov: str
    limits: Limits

    def __call__(self, check: str, value: float, message: str) -> QCResult:
        """Judge a number; of one that could not be measured, it is told why."""
        told = message if math.isfinite(value) else "Not measured: too few good frames, or too little light to tell."
        return judge(check, value, told, ORIGIN, self.fov, self.limits)


def frames_match_timestamps(fov: str, n_frames: int, n_times: int) -> QCResult:
    """Ask whether a FOV has as many timestamps as frames."""
    verdict = Verdict.PASS if n_frames == n_times else Verdict.FAIL
    message = f"{fov}: {n_frames} frames, {n_times} timestamps"
    return QCResult("frames_match_timestamps", verdict, n_times, n_frames, message, ORIGIN, fov=fov)


def judge_clock(
    fov: str, times: NDArray[Any], edges: tuple[int, ...], n_frames: int | None, limits: Limits = DEFAULT_LIMITS
) -> tuple[QCResult, ...]:
    """Judge the times of a field's frames.

    Parameters
    ----------
    fov
        Its folder name.
    times
        ``mpci.times``, s.
    edges
        First frame of each bout, and the number of frames.
    n_frames
        Frames of its traces; None where there are none.
    limits
        Those of a lab.
    """
    told = Judge(fov, limits)
    found = []
    if n_frames is not None:
        found.append(frames_match_timestamps(fov, n_frames, len(times)))
    steps = intervals(times, edges if edges[-1] == len(times) else (0, len(times)))
    jitter = steps.jitter_ms / steps.usual_ms if steps.ms.size else float("nan")
    message = f"Frames follow each other every {steps.usual_ms:.2f} ms, give or take {steps.jitter_ms:.3f} ms."
    found.append(told("interval_jitter", jitter, message))
    message = f"{steps.n_gaps} gaps between frames of a bout; the longest interval is {steps.longest_ms:.1f} ms."
    found.append(told("interval_gaps", steps.n_gaps, message))
    return tuple(found)


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
    """
    told, bad = Judge(fov, limits), motion.is_bad
    gain = crispness_gain(movie, motion.y, motion.x, bad)
    alike, saturated = likeness_of_ends(movie, bad), saturated_share(movie, bad)
    found = [
        told("crispness_gain", gain, f"Registration makes the mean image {gain:.2f} times as crisp."),
        told("ends_alike", alike, f"The first and the last fifth of the recording are alike by {alike:.2f} of 1."),
        told("saturated_share", saturated, f"{100 * saturated:.4f} % of the values stand at the largest one."),
    ]
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


@dataclass(frozen=True, slots=True)
class FovTraces:
    """What is judged of the ROIs of a field."""

    #: (n_frames, n_rois), read part by part.
    f: Any
    neuropil: Any
    spikes: Any
    is_cell: NDArray[np.bool_]
    #: (n_frames,) frames that are left out.
    is_bad: NDArray[np.bool_]
    rate_hz: float
    #: Decay time with which spikes were found, s; None where it is not known.
    tau_s: float | None = None


def judge_cells(fov: str, traces: FovTraces, limits: Limits = DEFAULT_LIMITS) -> tuple[QCResult, ...]:
    """Judge the traces of a field: whether they are whole, how noisy, how much neuropil is in them, how they decay."""
    told, n_rois = Judge(fov, limits), len(traces.is_cell)
    measured = [_measure(traces, part) for part in in_parts(n_rois)]
    n_odd = sum(one[0] for one in measured)
    found = [told("traces_are_finite", n_odd, f"{n_odd} values of F, neuropil and spikes are no numbers.")]
    if not n_rois:
        return tuple(found)
    n_cells = int(traces.is_cell.sum())
    found.append(told("classifier_share", n_cells / n_rois, f"{n_cells} of {n_rois} ROIs are called cells."))
    noise, likeness = (np.concatenate([one[k] for one in measured]) for k in (1, 2))
    cells = traces.is_cell & np.isfinite(noise) & np.isfinite(likeness)
    if not cells.any():
        return tuple(found)
    middle, alike = float(np.median(noise[cells])), float(np.median(likeness[cells]))
    found.append(told("noise_level", middle, f"The noise of the cells' dF/F is {middle:.1f} %/√Hz (median)."))
    message = f"Cells less 0.7 of the neuropil around them are correlated with it by {alike:.2f} (median)."
    found.append(told("neuropil_correlation", alike, message))
    return (*found, *_decay(told, traces, np.concatenate([one[3] for one in measured])))


def _measure(traces: FovTraces, part: slice) -> tuple[int, NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Measure some ROIs: odd values, noise, likeness to the neuropil; and transients of the cells among them."""
    f, around, spikes = (
        np.ascontiguousarray(np.asarray(values[:, part], np.float32).T)
        for values in (traces.f, traces.neuropil, traces.spikes)
    )
    n_odd = sum(int((~np.isfinite(values)).sum()) for values in (f, around, spikes))
    f, around = np.nan_to_num(f, posinf=0, neginf=0), np.nan_to_num(around, posinf=0, neginf=0)
    good = ~traces.is_bad
    own = corrected(f, around)
    likeness = fast_correlation(own[:, good], around[:, good], traces.rate_hz)
    dff = delta_f(own, traces.rate_hz)
    noise = noise_level(dff, traces.rate_hz, good)
    return n_odd, noise, likeness, transients(dff[traces.is_cell[part]][:, good], traces.rate_hz)


def _decay(told: Judge, traces: FovTraces, curves: NDArray[np.float64]) -> Iterator[QCResult]:
    if traces.tau_s is None:
        return
    expected = _DECAY_S * traces.tau_s**_DECAY_POWER
    found = decay_time(curves, traces.rate_hz)
    if not np.isfinite(found):  # few transients are no fault
        message = "Too few large transients to measure how fast they decay."
        yield judged(QCResult("decay_mismatch", Verdict.PASS, None, None, message, ORIGIN, told.fov), told.limits)
        return
    expected = max(expected, 1 / traces.rate_hz)  # nothing faster than a frame can be seen
    message = (
        f"Transients decay within {found:.2f} s; {expected:.2f} s are expected of the indicator for which tau is "
        f"{traces.tau_s:g} s."
    )
    yield told("decay_mismatch", abs(float(np.log2(found / expected))), message)
