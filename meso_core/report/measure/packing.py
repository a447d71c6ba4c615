"""Traces in few bytes: the least and the largest value of each bin of time, in 256 steps.

What belongs here: the form that the page's script reads. What does not: drawing.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
#: Steps between the least and the largest value of a trace; what is drawn is about as many pixels high.
_STEPS = 255


@dataclass(frozen=True, slots=True)
class PackedTraces:
    """Traces of ROIs for the page."""

    #: base64 of u1 (n_rois, n_bins) or (n_rois, n_bins, 2): largest value, or least and largest of each bin.
    data: str
    #: base64 of f4 (n_rois, 2): values of step 0 and step 255.
    scale: str
    n_bins: int


def bin_edges(n_frames: int, n_bins: int, starts: Sequence[int] = ()) -> NDArray[np.intp]:
    """First frame of each bin, ascending; fewer bins where there are fewer frames.

    A bin begins at each of ``starts``, the first frames of bouts, so that none spans a pause.
    """
    even = np.linspace(0, n_frames, min(n_bins, n_frames), endpoint=False).astype(np.intp)
    return np.union1d(even, [start for start in starts if start < n_frames]).astype(np.intp)


def least_and_largest(traces: Floats, edges: NDArray[np.intp]) -> Floats:
    """Least and largest value of each bin, (n_rois, n_bins, 2), of traces (n_rois, n_frames); NaN is passed over."""
    return np.stack([_of_bins(np.fmin, traces, edges), _of_bins(np.fmax, traces, edges)], axis=2)


def largest(traces: Floats, edges: NDArray[np.intp]) -> Floats:
    """Largest value of each bin, (n_rois, n_bins)."""
    return _of_bins(np.maximum, traces, edges)


def mean_of(traces: Floats, edges: NDArray[np.intp]) -> Floats:
    """Mean of each bin, (n_rois, n_bins)."""
    counts = np.diff(np.append(edges, traces.shape[1]))
    return np.asarray(_of_bins(np.add, traces, edges) / counts, np.float32)


def _of_bins(ufunc: np.ufunc, traces: Floats, edges: NDArray[np.intp]) -> Floats:
    """Reduce each bin, (n_rois, n_bins): as ``reduceat``, which takes ten times as long."""
    found = np.empty((len(traces), len(edges)), np.float32)
    for k, (first, last) in enumerate(pairwise([*edges.tolist(), traces.shape[1]])):
        found[:, k] = ufunc.reduce(traces[:, first:last], axis=1)
    return found


def pack(values: Floats) -> PackedTraces:
    """Pack binned values, (n_rois, n_bins) or (n_rois, n_bins, 2); NaN becomes the least value."""
    n = len(values)
    flat = values.reshape(n, -1) if n else values.reshape(0, 1)
    low = np.nanmin(flat, axis=1, initial=np.inf, where=np.isfinite(flat)) if n else np.zeros(0)
    high = np.nanmax(flat, axis=1, initial=-np.inf, where=np.isfinite(flat)) if n else np.zeros(0)
    low, high = np.where(np.isfinite(low), low, 0), np.where(np.isfinite(high), high, 0)
    span = np.where(high > low, high - low, 1)
    steps = np.rint((np.nan_to_num(flat - low[:, None]) / span[:, None]).clip(0, 1) * _STEPS).astype(np.uint8)
    scale = np.stack([low, low + span], axis=1).astype("<f4")
    return PackedTraces(base64_of(steps), base64_of(scale), values.shape[1] if n else 0)


def base64_of(array: NDArray[Any]) -> str:
    """Bytes of an array as text."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
