"""Everything that the report tells of the ROIs of one FOV, in one pass over their traces.

What belongs here: reading the datasets of a FOV part by part, and what comes out of it. What does not: formulas
(``activity``), and how it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .activity import Activity, corrected, delta_f, in_parts, joined, measure_activity
from .order import Order, in_order
from .packing import PackedTraces, bin_edges, largest, least_and_largest, mean_of, pack

Floats = NDArray[np.float32]

#: Cells whose traces are shown large, and the bins of time of these and of the raster.
N_BEST, FINE_BINS, RASTER_BINS = 10, 800, 600
#: Bytes that the packed traces of a page may take; they get fewer bins of time where there are more ROIs.
_PACKED_BYTES = 13_000_000
_MOST_BINS, _FEWEST_BINS = 800, 60


@dataclass(frozen=True, slots=True)
class Traces:
    """Traces as the page holds them; bins of equal numbers of frames."""

    dff: PackedTraces
    neuropil: PackedTraces
    spikes: PackedTraces
    #: First frame of each bin.
    edges: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class FovRois:
    """ROIs of one FOV, measured."""

    #: (n_rois,) whether each is called a cell.
    is_cell: NDArray[np.bool_]
    #: (n_rois,) probability.
    classifier: NDArray[np.float64]
    uuids: NDArray[np.str_]
    #: (n_rois, 2) y and x, px.
    centres: NDArray[np.float64]
    #: (n_rois,) pixels of each mask.
    n_pixels: NDArray[np.int64]
    activity: Activity
    traces: Traces
    #: Numbers of the cells with the highest SNR, best first.
    best: NDArray[np.intp]
    #: (n_best, bins, 2) least and largest dF/F; the first frame of each bin.
    best_dff: Floats
    best_edges: NDArray[np.intp]
    #: (n_cells, bins) dF/F of cells, each in its own standard deviations, and the order of the raster.
    standardised: Floats
    order: Order
    #: First frame of each bin.
    raster_edges: NDArray[np.intp]
    #: (bins,) mean dF/F of the cells.
    population: Floats

    @property
    def n_rois(self) -> int:
        """Number of ROIs."""
        return len(self.is_cell)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return int(self.is_cell.sum())


def packed_bins(n_rois: int) -> int:
    """Bins of time that the traces of a session's ROIs may have, so that the page stays small."""
    bytes_of_a_bin = 4 * max(n_rois, 1) * 4 / 3  # dF/F twice, neuropil, spikes; base64
    return int(np.clip(_PACKED_BYTES / bytes_of_a_bin, _FEWEST_BINS, _MOST_BINS))


def measure_rois(datasets: Callable[[str], Any], rate_hz: float, n_bins: int, starts: Sequence[int] = ()) -> FovRois:
    """Measure the ROIs of one FOV.

    Parameters
    ----------
    datasets
        Function from the name of a dataset to its value.
    rate_hz
        Frames of this FOV per second.
    n_bins
        Bins of time of the packed traces.
    starts
        First frames of bouts.
    """
    names = ("mpci.ROIActivityF", "mpci.ROINeuropilActivityF", "mpci.ROIActivityDeconvolved")
    light, around, spiking = (datasets(name) for name in names)
    source = _Source(light, around, spiking, np.asarray(datasets("mpci.badFrames"), bool), rate_hz)
    n_rois, is_cell = source.n_rois, np.asarray(datasets("mpciROIs.mpciROITypes")) > 0
    coarse, fine = (bin_edges(source.n_frames, n, starts) for n in (RASTER_BINS, FINE_BINS))
    activities: list[Activity] = []
    raster = [np.zeros((0, len(coarse)), np.float32)]
    packing = _Packing(bin_edges(source.n_frames, n_bins, starts))
    for part in in_parts(n_rois):
        light, around, spiking, dff = source.read(part)
        activities.append(measure_activity(dff, light, around, rate_hz, ~source.is_bad))
        raster.append(mean_of(dff[is_cell[part]], coarse))
        packing.add(source.without_bad(dff), around, spiking)
    activity = joined(activities)
    cells, order, population = _raster(np.concatenate(raster))
    best = _best(activity, is_cell)
    return FovRois(
        is_cell,
        np.asarray(datasets("mpciROIs.cellClassifier"), np.float64),
        np.asarray(datasets("mpciROIs.uuids")),
        np.asarray(datasets("mpciROIs.stackPos"), np.float64).reshape(-1, 3)[:, :2],
        pixels_of(datasets("mpciROIs.masks"), n_rois),
        activity,
        packing.packed(),
        best,
        least_and_largest(source.without_bad(source.read(best)[3]), fine),
        fine,
        cells,
        order,
        coarse,
        population,
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """The datasets of a FOV, (n_frames, n_rois), read part by part."""

    f: Any
    neuropil: Any
    spikes: Any
    #: (n_frames,) frames that are left out: there the last good one stands for them.
    is_bad: NDArray[np.bool_]
    rate_hz: float

    @property
    def n_frames(self) -> int:
        return int(self.f.shape[0])

    @property
    def n_rois(self) -> int:
        return int(self.f.shape[1])

    def read(self, part: slice | NDArray[np.intp]) -> tuple[Floats, Floats, Floats, Floats]:
        """Return fluorescence, neuropil, deconvolved activity and dF/F of some ROIs, each (n, n_frames)."""
        light, around, spiking = (self._rows(values, part) for values in (self.f, self.neuropil, self.spikes))
        return light, around, spiking, delta_f(corrected(light, around), self.rate_hz)

    def without_bad(self, traces: Floats) -> Floats:
        """Blank bad frames; in place."""
        traces[:, self.is_bad] = np.nan
        return traces

    def _rows(self, values: Any, part: slice | NDArray[np.intp]) -> Floats:  # noqa: ANN401  maybe on disk
        frames = np.array(values[:, part], np.float32, order="C")
        bad = np.flatnonzero(self.is_bad)
        frames[bad] = frames[last_good(self.is_bad)[bad]]
        return frames.T


class _Packing:
    """Collects the binned traces of all parts."""

    def __init__(self, edges: NDArray[np.intp]) -> None:
        self._edges = edges
        self._dff = [np.zeros((0, len(edges), 2), np.float32)]
        self._neuropil, self._spikes = ([np.zeros((0, len(edges)), np.float32)] for _ in range(2))

    def add(self, dff: Floats, neuropil: Floats, spikes: Floats) -> None:
        """Bin the traces of some ROIs."""
        self._dff.append(least_and_largest(dff, self._edges))
        self._neuropil.append(mean_of(neuropil, self._edges))
        self._spikes.append(largest(spikes, self._edges))

    def packed(self) -> Traces:
        """Pack what was collected."""
        dff, neuropil, spikes = (pack(np.concatenate(parts)) for parts in (self._dff, self._neuropil, self._spikes))
        return Traces(dff, neuropil, spikes, self._edges)


def last_good(is_bad: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Tell the last good frame at or before each frame; before the first good one, that one."""
    good = np.flatnonzero(~is_bad)
    if not good.size:
        return np.arange(len(is_bad))
    return good[np.maximum(np.searchsorted(good, np.arange(len(is_bad)), side="right") - 1, 0)]


def pixels_of(masks: Any, n_rois: int) -> NDArray[np.int64]:  # noqa: ANN401  sparse stack
    """Count the pixels of each mask of a sparse stack (n_rois, nY, nX)."""
    coordinates = masks.tocoo() if hasattr(masks, "tocoo") else masks
    return np.bincount(np.asarray(coordinates.coords[0]), minlength=n_rois).astype(np.int64)


def _raster(dff: Floats) -> tuple[Floats, Order, Floats]:
    """Standardise cells (n_cells, n_bins), and put them in order; also their mean dF/F."""
    population = dff.mean(axis=0) if len(dff) else np.zeros(dff.shape[1], np.float32)
    spread = dff.std(axis=1, keepdims=True)
    cells = (dff - dff.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
    return cells, in_order(cells), np.asarray(population)


def _best(activity: Activity, is_cell: NDArray[np.bool_]) -> NDArray[np.intp]:
    cells = np.flatnonzero(is_cell)
    snr = np.nan_to_num(activity.snr[cells], nan=-1.0)
    return cells[np.argsort(-snr, kind="stable")][:N_BEST]
