"""Measures of a movie and of traces with which the quality of a FOV is judged.

What belongs here: formulas, of arrays alone. What does not: limits (``meso_core.qc``), and which verdicts there are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .motion import Floats
from .photons import middle

#: Good frames that are looked at, evenly over the recording, for each measure of a movie.
N_FRAMES = 96
#: Structures between these sizes are compared, px: those of cells.
_CELL_PX = (1.5, 8.0)
#: Share of the recording at either end that is compared for a drift in depth.
_END_SHARE = 0.2
#: Values this near to the largest one, as a share of its distance to the median, count as its neighbours.
_NEAR_TOP = 0.01
#: Fewer values than this at the very top are no wall.
_LEAST_AT_TOP = 8
#: Blocks of so many seconds, whose means are taken out before fast changes are compared.
_SLOW_S = 20.0
#: Standard errors that are no chance.
_ACTIVE_SIGMA = 4.0
#: Peaks of transients are this many standard deviations of noise high, and so many of them are wanted;
#: of one ROI, at most so many count.
_PEAK_SIGMA, _LEAST_PEAKS, _MOST_PEAKS = 6.0, 20, 16
#: Seconds before a peak that must be quiet, and seconds after it that are looked at.
_QUIET_S, _AFTER_S = 1.0, 6.0


def good_sample(is_bad: NDArray[np.bool_], n: int = N_FRAMES) -> NDArray[np.intp]:
    """Numbers of at most ``n`` good frames, evenly over the recording."""
    good = np.flatnonzero(~is_bad)
    return good[np.unique(np.linspace(0, good.size - 1, min(n, good.size)).astype(np.intp))] if good.size else good


def crispness_gain(movie: NDArray[Any], y: Floats, x: Floats, is_bad: NDArray[np.bool_]) -> float:
    """Measure how much crisper the mean image is after rigid registration than before it.

    The movie before registration is had by moving the frames back by their shifts. Crispness is the root of the mean
    squared gradient over the mean, as :func:`~.motion.crispness`; it is told from two halves of the frames, so that
    noise, which they do not share, has no part in it.

    Parameters
    ----------
    movie
        (n_frames, ny, nx) registered frames.
    y, x
        (n_frames,) px, rigid shifts that were taken out.
    is_bad
        (n_frames,) frames that are left out.

    Returns
    -------
    float
        Ratio of after to before: 1 where nothing moved, below 1 where registration made it worse; NaN where the image
        is too faint to tell.
    """
    chosen = good_sample(is_bad)
    if chosen.size < 4:
        return float("nan")
    shifts = np.rint(np.stack([y, x])[:, chosen]).astype(int)
    edge = [int(np.abs(values - int(np.median(values))).max()) for values in shifts]
    shifts = shifts - np.median(shifts, axis=1).astype(int)[:, np.newaxis]
    if any(2 * e >= side // 2 for e, side in zip(edge, movie.shape[1:], strict=True)):
        edge = [min(e, side // 8) for e, side in zip(edge, movie.shape[1:], strict=True)]
    inside = tuple(slice(e, side - e) for e, side in zip(edge, movie.shape[1:], strict=True))
    after = np.zeros((2, *movie.shape[1:]))
    before = np.zeros_like(after)
    for k, frame in enumerate(chosen):
        image = np.asarray(movie[frame], np.float64)
        after[k % 2] += image
        before[k % 2] += np.roll(image, (shifts[0, k], shifts[1, k]), axis=(0, 1))
    crisp_after, crisp_before = (_shared_gradient(halves[(slice(None), *inside)]) for halves in (after, before))
    return float(np.sqrt(crisp_after / crisp_before)) if crisp_after > 0 and crisp_before > 0 else float("nan")


def likeness_of_ends(movie: NDArray[Any], is_bad: NDArray[np.bool_]) -> float:
    """Measure how alike the first and the last fifth of a registered movie look, for a drift in depth.

    The correlation of the two mean images, over what that of two halves of one end would be (Spearman's correction for
    noise): 1 where the tissue in view is the same. A change of brightness alone, as bleaching, has no part in it. Only
    what is of the size of cells counts: the images are smoothed by 1.5 px, less the same smoothed by 8 px.

    Parameters
    ----------
    movie
        (n_frames, ny, nx) registered frames; the middle of at most 256 px is looked at.
    is_bad
        (n_frames,) frames that are left out.

    Returns
    -------
    float
        NaN where there are too few frames, or the image is too faint to tell.
    """
    n = len(is_bad)
    far = np.arange(n) < _END_SHARE * n, np.arange(n) >= (1 - _END_SHARE) * n
    window = tuple(middle(side) for side in movie.shape[1:])
    halves = []
    for end in far:
        chosen = good_sample(is_bad | ~end, N_FRAMES // 2)
        if chosen.size < 4:
            return float("nan")
        means = [np.mean([movie[frame][window] for frame in chosen[k::2]], axis=0) for k in (0, 1)]
        halves.append([of_cell_size(mean) for mean in means])
    (a1, a2), (b1, b2) = halves
    own = float((a1 * a2).sum()), float((b1 * b2).sum())
    if min(own) <= 0:
        return float("nan")
    between = float(((a1 + a2) * (b1 + b2)).sum()) / 4
    return between / float(np.sqrt(own[0] * own[1]))


def saturated_share(movie: NDArray[Any], is_bad: NDArray[np.bool_]) -> float:
    """Share of values that stand at the largest one, where they pile up there; 0 where they thin out towards it.

    An amplifier or digitizer saturates wherever its range ends, which need not be the end of int16.

    Parameters
    ----------
    movie
        (n_frames, ny, nx) int16.
    is_bad
        (n_frames,) frames that are left out.
    """
    chosen = good_sample(is_bad)[::2]  # of those that other measures look at: on a server, a frame is read once
    if not chosen.size:
        return float("nan")
    values = np.stack([np.asarray(movie[frame]) for frame in chosen]).astype(np.int32).ravel()
    top, middle = int(values.max()), float(np.median(values))
    at_top = int((values == top).sum())
    near = int(((values < top) & (values >= top - max(1.0, _NEAR_TOP * (top - middle)))).sum())
    return at_top / values.size if at_top >= max(_LEAST_AT_TOP, near) else 0.0


def fast_correlation(f: NDArray[np.float32], neuropil: NDArray[np.float32], rate_hz: float) -> NDArray[np.float64]:
    """Correlate fluorescence with that of the neuropil, without changes slower than 20 s, which all pixels share.

    Parameters
    ----------
    f, neuropil
        (n_rois, n_frames).
    rate_hz
        Frames per second.

    Returns
    -------
    ndarray
        (n_rois,), NaN where one of them does not change.
    """
    fast = [_without_slow(np.asarray(trace, np.float64), rate_hz) for trace in (f, neuropil)]
    both = np.einsum("ij,ij->i", *fast)
    own = np.sqrt(np.einsum("ij,ij->i", fast[0], fast[0]) * np.einsum("ij,ij->i", fast[1], fast[1]))
    return np.asarray(np.divide(both, own, out=np.full(len(both), np.nan), where=own > 0))


def is_active(f: NDArray[np.float32], rate_hz: float) -> NDArray[np.bool_]:
    """Tell which traces hold more than noise: those that are alike from one frame to the next.

    Noise of the detector is another one in each frame, while transients of an indicator last for longer. A trace is
    active where its correlation with itself a frame later, without changes slower than 20 s, is more than four
    standard errors (``1 / √n``) of that of noise above 0.

    Parameters
    ----------
    f
        (n_rois, n_frames) fluorescence less neuropil, in good frames.
    rate_hz
        Frames per second.

    Returns
    -------
    ndarray
        (n_rois,) bool.
    """
    fast = _without_slow(np.asarray(f, np.float64), rate_hz)
    after, own = np.einsum("ij,ij->i", fast[:, 1:], fast[:, :-1]), np.einsum("ij,ij->i", fast, fast)
    return np.asarray(after > _ACTIVE_SIGMA / np.sqrt(max(f.shape[1], 1)) * own)


def transients(dff: NDArray[np.float32], rate_hz: float) -> NDArray[np.float64]:
    """Cut transients out of traces: peaks of six standard deviations of the noise with a quiet second before them.

    Parameters
    ----------
    dff
        (n_rois, n_frames) dF/F of cells.
    rate_hz
        Frames per second.

    Returns
    -------
    ndarray
        (n_transients, n_after) each over its own height, from its peak on for 6 s; at most 16 of a ROI.
    """
    before, after = max(int(_QUIET_S * rate_hz), 1), max(int(_AFTER_S * rate_hz), 2)
    found = [np.zeros((0, after))]
    for trace in np.asarray(dff, np.float64):
        curves = _transients(trace, before, after)
        found.append(np.array(curves[:: max(-(-len(curves) // _MOST_PEAKS), 1)]).reshape(-1, after))
    return np.concatenate(found)


def decay_time(curves: NDArray[np.float64], rate_hz: float) -> float:
    """Measure how fast transients decay, s: the time to half of their height, over the logarithm of 2.

    The median of all of them is taken at each moment, so that spikes that follow in some do not count.

    Parameters
    ----------
    curves
        What :func:`transients` gave.
    rate_hz
        Frames per second.

    Returns
    -------
    float
        NaN where there are fewer than 20 transients, or they do not fall to a half within 6 s.
    """
    if len(curves) < _LEAST_PEAKS:
        return float("nan")
    middle = np.median(curves, axis=0)
    below = np.flatnonzero(middle < 0.5)
    if not below.size:
        return float("nan")
    k = int(below[0])
    at = k - 1 + (middle[k - 1] - 0.5) / (middle[k - 1] - middle[k])
    return float(at / rate_hz / np.log(2))


def _transients(trace: NDArray[np.float64], before: int, after: int) -> list[NDArray[np.float64]]:
    """Cut transients out of a trace, each over its own height: the peak and what follows."""
    from scipy.signal import find_peaks

    steps = np.abs(np.diff(trace))
    sigma = float(np.median(steps)) / (0.6745 * np.sqrt(2))
    if sigma <= 0:
        return []
    peaks, _ = find_peaks(trace, height=float(np.median(trace)) + _PEAK_SIGMA * sigma, distance=before)
    found = []
    for peak in peaks:
        if peak < 2 * before or peak + after > len(trace):
            continue
        quiet = trace[peak - 2 * before : peak - before]
        base, height = float(quiet.mean()), float(trace[peak] - quiet.mean())
        if height > _PEAK_SIGMA * sigma and np.ptp(quiet) < height / 2:
            found.append((trace[peak : peak + after] - base) / height)
    return found


def _without_slow(traces: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    n = traces.shape[1]
    size = max(int(_SLOW_S * rate_hz), 4)
    starts = np.arange(0, max(n - size // 2, 1), size)
    lengths = np.diff(np.append(starts, n))
    means = np.add.reduceat(traces, starts, axis=1) / lengths
    return np.asarray(traces - np.repeat(means, lengths, axis=1))


def of_cell_size(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave of an image what is of the size of cells: smoothed by 1.5 px, less the same smoothed by 8 px."""
    from scipy.ndimage import gaussian_filter

    fine, coarse = (gaussian_filter(image, sigma, mode="nearest") for sigma in _CELL_PX)
    return np.asarray((fine - coarse) - (fine - coarse).mean())


def _shared_gradient(halves: NDArray[np.float64]) -> float:
    """Mean product of the gradients of two images of the same, over the square of their mean."""
    (y1, x1), (y2, x2) = (np.gradient(half) for half in halves)
    mean = float(halves.mean())
    return float((y1 * y2 + x1 * x2).mean()) / mean**2 if mean else float("nan")
