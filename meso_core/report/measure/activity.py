"""How active and how noisy each ROI is.

What belongs here: dF/F, noise level, SNR, skew, and the correlation with the neuropil, from fluorescence. What does
not: which ROIs are shown.

Traces are (n_rois, n_frames). Whatever their layout in memory, the results are the same; the work is fastest where the
ROIs of a frame lie side by side, as in the files: then each step goes over many ROIs at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: Share of the neuropil that is taken out, as in suite2p.
NEUROPIL_COEFFICIENT = 0.7
#: Window and percentile of the running baseline.
BASELINE_S, BASELINE_PERCENTILE = 60.0, 10.0
#: Blocks into which the window of the baseline is cut; the baseline is piecewise linear between them.
_BLOCKS = 4
#: ROIs at a time, so that memory does not grow with their number.
_AT_A_TIME = 256
#: Frames (or pairs of them) from which percentiles of a whole trace are told, and those of a window of the baseline.
_SAMPLE, _WINDOW_SAMPLE = 4000, 60
#: Frames that are summed in single precision.
_SUMMED = 1000


@dataclass(frozen=True, slots=True)
class Activity:
    """Measures of the ROIs of one FOV, each (n_rois,) f4."""

    #: %/√Hz: ``median(|dF/F[t + 1] - dF/F[t]|) / √rate`` (Rupprecht et al. 2021, Nat Neurosci 24, 1324).
    noise_percent: Floats
    #: 99th percentile of dF/F above its median, in standard deviations of the noise.
    snr: Floats
    skew: Floats
    #: Correlation of fluorescence with that of the neuropil around it.
    neuropil_correlation: Floats


def corrected(f: Floats, neuropil: Floats) -> Floats:
    """Take the neuropil's changes out of fluorescence: ``F - 0.7 (N - median(N))``; both (n_rois, n_frames)."""
    out = neuropil - _percentiles(_frames(neuropil, _evenly(neuropil.shape[1], _SAMPLE)), 50)[0][:, np.newaxis]
    out *= np.float32(-NEUROPIL_COEFFICIENT)
    out += f
    return np.asarray(out)


def delta_f(trace: Floats, rate_hz: float) -> Floats:
    """Compute dF/F of traces (n_rois, n_frames): ``(F - F0) / F0``.

    F0 is the 10th percentile within half a minute to both sides, found in blocks of a quarter of a minute and
    interpolated between them; at least a hundredth of the trace's largest value, so that a dark ROI does not explode.
    """
    n_rois, n = trace.shape
    size = max(int(BASELINE_S * rate_hz / _BLOCKS), 8)
    starts = np.arange(0, max(n - size // 2, 1), size)
    every = max(4 * size // _WINDOW_SAMPLE, 1)
    windows = [slice(max(s - 3 * size // 2, 0), s + 5 * size // 2, every) for s in starts]
    low = np.stack([_percentiles(_frames(trace, window), BASELINE_PERCENTILE)[0] for window in windows])
    middles = starts + size / 2
    at = np.interp(np.arange(n), middles, np.arange(len(starts)))
    below = np.minimum(at.astype(int), max(len(starts) - 2, 0))
    part = (at - below).astype(np.float32)[:, np.newaxis]
    above = np.minimum(below + 1, len(starts) - 1)
    base = low[below] * (1 - part)
    base += low[above] * part
    largest = np.maximum(trace.max(axis=1), -trace.min(axis=1)) if n_rois else np.zeros(0, np.float32)
    np.maximum(base, np.maximum(largest / 100, np.float32(1e-6)), out=base)
    dff = np.divide(trace.T, base)
    dff -= 1
    return np.asarray(dff.T)


def noise_level(dff: Floats, rate_hz: float, is_good: NDArray[np.bool_]) -> Floats:
    """Measure noise of dF/F (n_rois, n_frames), %/√Hz, from the differences of neighbouring good frames.

    Activity changes slowly against the frames of noise, so the median of the differences hardly sees it. Of long
    recordings, pairs that lie evenly in time are taken.
    """
    pairs = np.flatnonzero(is_good[1:] & is_good[:-1])
    if not pairs.size:
        return np.full(len(dff), np.nan, np.float32)
    pairs = pairs[_evenly(pairs.size, _SAMPLE)]
    steps = np.abs(_frames(dff, pairs + 1) - _frames(dff, pairs))
    return np.asarray(100 * _percentiles(steps, 50)[0] / np.sqrt(rate_hz), np.float32)


def measure_activity(dff: Floats, f: Floats, neuropil: Floats, rate_hz: float, is_good: NDArray[np.bool_]) -> Activity:
    """Measure ROIs, all arrays (n_rois, n_frames); ``is_good`` (n_frames,) leaves frames out of the noise."""
    noise = noise_level(dff, rate_hz, is_good)
    # the median of |differences| of Gaussian noise is 0.6745 √2 of its standard deviation
    sigma = noise / 100 * np.sqrt(rate_hz) / (0.6745 * np.sqrt(2))
    high, middle = _percentiles(_frames(dff, _evenly(dff.shape[1], _SAMPLE)), 99, 50)
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = np.where(sigma > 0, (high - middle) / sigma, np.nan)
    return Activity(noise, snr.astype(np.float32), _skew(dff), _correlation(f, neuropil))


def in_parts(n_rois: int) -> Iterator[slice]:
    """Cut ROIs into parts that are worked on at a time."""
    for start in range(0, n_rois, _AT_A_TIME):
        yield slice(start, min(start + _AT_A_TIME, n_rois))


def joined(parts: list[Activity]) -> Activity:
    """Join what was measured of parts."""
    nothing = np.zeros(0, np.float32)
    names = ("noise_percent", "snr", "skew", "neuropil_correlation")
    return Activity(*(np.concatenate([nothing, *(getattr(part, name) for part in parts)]) for name in names))


def _evenly(n: int, most: int) -> NDArray[np.intp]:
    """Numbers of at most so many of n frames, evenly over time."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.intp))


def _frames(traces: Floats, which: slice | NDArray[np.intp]) -> Floats:
    """Copy some frames of traces (n_rois, n_frames), so that those of an ROI lie side by side."""
    return np.ascontiguousarray(traces.T[which].T)


def _percentiles(values: Floats, *percentiles: float) -> list[Floats]:
    """Percentiles of each row of (n_rois, n), as numpy's, in a fifth of its time: sorting is what it does best."""
    ordered = np.sort(values, axis=1)
    found = []
    for at in (percentile / 100 * (values.shape[1] - 1) for percentile in percentiles):
        below = ordered[:, int(at)]
        above = ordered[:, min(int(at) + 1, values.shape[1] - 1)]
        found.append(below + np.float32(at - int(at)) * (above - below))
    return found


def _skew(x: Floats) -> Floats:
    middle = x - _mean(x)
    square = middle * middle
    second = _mean(square)[:, 0]
    square *= middle  # a power would take ten times as long
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(_mean(square)[:, 0] / second**1.5, np.float32)


def _correlation(a: Floats, b: Floats) -> Floats:
    a, b = (x - _mean(x) for x in (a, b))
    with np.errstate(divide="ignore", invalid="ignore"):
        both = _mean(a * b)
        a *= a
        b *= b
        return np.asarray((both / np.sqrt(_mean(a) * _mean(b)))[:, 0], np.float32)


def _mean(x: Floats) -> Floats:
    """Mean of each row, (n, 1); summed so that it is right to the last figures however many frames there are."""
    n = x.shape[1]
    parts = [x[:, start : start + _SUMMED].sum(axis=1, dtype=np.float32) for start in range(0, n, _SUMMED)]
    return np.asarray(np.sum(parts, axis=0, dtype=np.float64) / n, np.float32)[:, np.newaxis]
