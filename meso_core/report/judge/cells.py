"""Verdicts on the cells of a field.

What belongs here: the questions, and what a person is told. What does not: formulas (``measure``), and limits
(``meso_core.qc``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...qc import DEFAULT_LIMITS, Limits, QCResult, Verdict, judged
from ..measure.activity import corrected, delta_f, in_parts, noise_level
from ..measure.fov import last_good
from ..measure.quality import decay_time, fast_correlation, is_active, transients
from .field_value import ORIGIN, Judge

#: Indicators decay as fast as this times tau to this power, s: fits 0.79, 0.39 and 0.205 s of GCaMP6s, m and f (Chen et
#: al. 2013, Nature 499, 295) to the tau of 1.5, 1.0 and 0.7 that suite2p recommends for them.
_DECAY_S, _DECAY_POWER = 0.387, 1.775
#: Transients that decay within fewer frames cannot be told from noise by what follows them.
_LEAST_FRAMES = 0.7


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
    noise, likeness, active = (np.concatenate([one[k] for one in measured]) for k in (1, 2, 4))
    found += _activity(told, traces, active)
    cells = traces.is_cell & np.isfinite(noise) & np.isfinite(likeness)
    if not cells.any():
        return tuple(found)
    middle, alike = float(np.median(noise[cells])), float(np.median(likeness[cells]))
    found.append(told("noise_level", middle, f"The noise of the cells' dF/F is {middle:.1f} %/√Hz (median)."))
    message = f"Cells less 0.7 of the neuropil around them are correlated with it by {alike:.2f} (median)."
    found.append(told("neuropil_correlation", alike, message))
    return (*found, *_decay(told, traces, np.concatenate([one[3] for one in measured])))


def _activity(told: Judge, traces: FovTraces, active: NDArray[np.bool_]) -> Iterator[QCResult]:
    """Ask whether cells are more than noise; not where frames are further apart than transients last."""
    n_cells, decay = int(traces.is_cell.sum()), _expected_decay(traces.tau_s)
    if not n_cells or (decay is not None and decay * traces.rate_hz < _LEAST_FRAMES):
        return
    n = int((active & traces.is_cell).sum())
    yield told("cells_are_active", n / n_cells, f"The traces of {n} of {n_cells} cells hold more than noise.")


def _expected_decay(tau_s: float | None) -> float | None:
    return None if tau_s is None else float(_DECAY_S * tau_s**_DECAY_POWER)


def _measure(
    traces: FovTraces, part: slice
) -> tuple[int, NDArray[Any], NDArray[Any], NDArray[np.float64], NDArray[np.bool_]]:
    """Measure some ROIs: odd values, noise, likeness to the neuropil, transients of cells, whether they are active."""
    f, around, spikes = (
        np.ascontiguousarray(np.asarray(values[:, part], np.float32).T)
        for values in (traces.f, traces.neuropil, traces.spikes)
    )
    n_odd = sum(int((~np.isfinite(values)).sum()) for values in (f, around, spikes))
    f, around = np.nan_to_num(f, posinf=0, neginf=0), np.nan_to_num(around, posinf=0, neginf=0)
    good, bad = ~traces.is_bad, np.flatnonzero(traces.is_bad)
    held = last_good(traces.is_bad)[bad]
    f[:, bad], around[:, bad] = f[:, held], around[:, held]  # else a dark frame would count as the baseline
    own = corrected(f, around)
    likeness = fast_correlation(own[:, good], around[:, good], traces.rate_hz)
    dff = delta_f(own, traces.rate_hz)
    noise = noise_level(dff, traces.rate_hz, good)
    curves = transients(dff[traces.is_cell[part]][:, good], traces.rate_hz)
    return n_odd, noise, likeness, curves, is_active(own[:, good], traces.rate_hz)


def _decay(told: Judge, traces: FovTraces, curves: NDArray[np.float64]) -> Iterator[QCResult]:
    expected = _expected_decay(traces.tau_s)
    if expected is None:
        return
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
