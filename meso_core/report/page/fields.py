"""The fields of view: pictures, outlines, traces.

What belongs here: the parts of the page about one FOV. What does not: motion, photons and cells of all FOVs, which have
sections of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...qc import checks_in
from ...session import Fov
from ..draw.images import grey_uri
from ..draw.outlines import roi_outlines, svg_path
from ..draw.plots import plot_of
from ..draw.time_series import best_plot, raster_plot
from ..inputs import ReportInputs
from ..measure.activity import BASELINE_PERCENTILE, BASELINE_S, NEUROPIL_COEFFICIENT
from ..measure.clock import FovClock, fov_clock
from ..measure.fov import FovRois
from ..measure.motion import FovMotion, detected_images
from ..measure.photons import FovPhotons
from ..measure.registered import RegisteredMovie
from ..movies import FovMovie
from .limits import judged_by
from .parts import FieldView, Figure, Row
from .render import number

if TYPE_CHECKING:
    from ...location import RegionMap

_CHECKS = (*checks_in("cells"), *checks_in("place"))
#: Checks that traces of a field show.
_OF_TRACES = ("cells_are_active", "noise_level", "neuropil_correlation", "decay_mismatch", "traces_are_finite")


@dataclass(frozen=True, slots=True)
class FovFound:
    """All that was measured of one FOV; None for what could not be."""

    fov: Fov
    clock: FovClock | None
    rois: FovRois | None
    motion: FovMotion | None
    photons: FovPhotons | None = None
    registered: RegisteredMovie | None = None
    #: Its movie, or why there is none, as the end of a sentence.
    movie: FovMovie | str = ""
    #: (n_rois,) acronym of each ROI's area, without and with the layer; None where ROIs are not located.
    areas: NDArray[np.str_] | None = None
    layers: NDArray[np.str_] | None = None


def field_view(inputs: ReportInputs, found: FovFound) -> FieldView:
    """Make the part of the page about one FOV."""
    fov, name = found.fov, found.fov.name
    cells, others = _outlines(inputs, found)
    length_um = _scale_um(fov)
    return FieldView(
        name,
        fov.nx,
        fov.ny,
        _pictures(inputs, found),
        cells,
        others,
        judged_by(inputs, "cells_found", "classifier_share", fov=name),
        length_um / fov.um_per_pixel,
        f"{length_um:g} µm",
        _rows(found),
        _figures(inputs, found),
        _missing(inputs, found),
        inputs.verdicts_on(*_CHECKS, fov=name),
        _data(found) if found.rois is not None and found.rois.n_rois else {},
    )


def clock_of(inputs: ReportInputs, fov: Fov, n_frames: int) -> FovClock:
    """Time axis of a FOV; the first frame of the session's first FOV that has times is at 0."""
    assert inputs.metadata is not None, "a FOV is of the metadata"
    known = (inputs.dataset(other, "mpci.times") for other in inputs.fov_names)
    origin = next((float(times[0]) for times in known if times is not None and len(times)), 0.0)
    return fov_clock(inputs.metadata, fov, n_frames, inputs.dataset(fov.name, "mpci.times"), origin)


def located(inputs: ReportInputs, fov: str, regions: RegionMap | None) -> tuple[Any, Any]:
    """Acronyms of the area of each ROI of a FOV, without and with the layer; None where they are not known."""
    ids = inputs.dataset(fov, "mpciROIs.brainLocationIds_ccf_2017")
    if ids is None or regions is None:
        return None, None
    return regions.acronyms(np.asarray(ids)), regions.layers(np.asarray(ids))


def _pictures(inputs: ReportInputs, found: FovFound) -> list[tuple[str, str]]:
    name, shape = found.fov.name, found.fov.shape
    images: dict[str, Any] = {}
    if (mean := inputs.dataset(name, "mpciMeanImage.images")) is not None:
        images["mean"] = np.asarray(mean)
    elif found.motion is not None:
        images["mean"] = found.motion.mean_image
    if name in inputs.detected and found.motion is not None:
        images |= detected_images(inputs.detected[name], shape, found.motion.corner)
    return [(kind, grey_uri(image)) for kind, image in images.items()]


def _outlines(inputs: ReportInputs, found: FovFound) -> tuple[str, str]:
    if found.rois is None or not found.rois.n_rois:
        return "", ""
    masks = inputs.dataset(found.fov.name, "mpciROIs.masks")
    paths = [svg_path(rings) for rings in roi_outlines(masks, found.rois.n_rois)]
    kinds = (np.flatnonzero(kind) for kind in (found.rois.is_cell, ~found.rois.is_cell))
    cells, others = ("\n".join(paths[i] for i in numbers) for numbers in kinds)
    return cells, others


def _scale_um(fov: Fov) -> float:
    """Choose a round length of about a fifth of the width, µm."""
    fifth = fov.um_per_pixel * fov.nx / 5
    return max((step * 10.0**e for e in range(5) for step in (1, 2, 5) if step * 10.0**e <= fifth), default=1.0)


def _rows(found: FovFound) -> list[Row]:
    fov, rois = found.fov, found.rois
    um = fov.um_per_pixel
    depth = ", ".join(f"{z:g}" for z in fov.depths_um or ())
    rows = [
        Row("size", f"{fov.nx * um:.0f} × {fov.ny * um:.0f} µm", f"{fov.nx} × {fov.ny} px, {um:.2f} µm/px"),
        Row("depth", f"{depth} µm" if depth else "–"),
    ]
    if fov.channel is not None:
        rows.append(Row("channel", str(fov.channel), "channels are depths"))
    if rois is not None:
        cells = rois.is_cell
        rows += [
            Row("cells", f"{rois.n_cells} of {rois.n_rois} ROIs"),
            Row("noise, median of cells", f"{median(rois.activity.noise_percent[cells])} %/√Hz"),
            Row("SNR, median of cells", median(rois.activity.snr[cells])),
        ]
    if found.areas is not None and rois is not None:
        names, counts = np.unique(found.areas[rois.is_cell], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        rows.append(Row("areas of cells", ", ".join(f"{names[i]} {counts[i]}" for i in order) or "–"))
    return rows


def median(values: NDArray[Any]) -> str:
    """Write the median of the values that are known."""
    known = values[np.isfinite(values)]
    return number(float(np.median(known))) if known.size else "–"


def _figures(inputs: ReportInputs, found: FovFound) -> list[Figure]:
    rois, clock, name = found.rois, found.clock, found.fov.name
    if rois is None or clock is None or not rois.n_cells:
        return []
    best = Figure(
        "The cells with the highest SNR",
        plot_of(best_plot, rois.best_dff, rois.best_edges, rois.best, clock, name),
        "Each trace is dF/F of one cell, the least and the largest value of each stretch of time. Transients should "
        "rise fast and fall slowly, and cells should not all move together: common, sharp steps are motion. F is "
        f"corrected by {NEUROPIL_COEFFICIENT:g} of the neuropil; its baseline is the {BASELINE_PERCENTILE:g}th "
        f"percentile of {BASELINE_S:g} s. Bad frames are left out.",
        judged_by(inputs, *_OF_TRACES, fov=name),
    )
    raster = Figure(
        "All cells",
        plot_of(raster_plot, rois.standardised[rois.order.cells], rois.population, rois.raster_edges, clock, name),
        "Each row is a cell, dark where it is active (standard deviations above its mean), in order "
        f"{rois.order.told}. Vertical stripes are moments in which many cells are active: look "
        "whether they fall on motion. Below, the mean of all cells.",
        judged_by(inputs),
    )
    return [best, raster]


def _missing(inputs: ReportInputs, found: FovFound) -> list[str]:
    missing = []
    if found.rois is None:
        missing.append(f"No ROIs: {inputs.why_missing('rois', found.fov.name)}.")
    elif not found.rois.n_rois:
        missing.append("No ROI was found in this field.")
    elif not found.rois.n_cells:
        missing.append("No ROI of this field is called a cell.")
    if found.clock is not None and not found.clock.is_measured:
        missing.append("Times are counted from the frame rate, without the pauses between bouts: "
                       f"{inputs.why_missing('frame_times', found.fov.name)}.")  # fmt: skip
    return missing


def _data(found: FovFound) -> dict[str, Any]:
    rois, clock = found.rois, found.clock
    assert rois is not None
    assert clock is not None
    traces, n = rois.traces, rois.n_rois
    last = np.append(traces.edges[1:], len(clock.seconds)) - 1
    middles = (clock.seconds[traces.edges] + clock.seconds[last]) / 2
    packed = {
        kind: {"data": one.data, "scale": one.scale, "n_bins": one.n_bins}
        for kind, one in (("dff", traces.dff), ("neuropil", traces.neuropil), ("spikes", traces.spikes))
    }
    areas = {}
    if found.areas is not None:
        names, which = np.unique(found.areas, return_inverse=True)
        areas = {"areas": names.tolist(), "area": which.tolist()}
    return {
        **packed,
        **areas,
        "n_rois": n,
        "n_cells": rois.n_cells,
        "cells": np.flatnonzero(rois.is_cell).tolist(),
        "others": np.flatnonzero(~rois.is_cell).tolist(),
        "best": rois.best.tolist() or [0],
        "uuids": rois.uuids.tolist(),
        "classifier": _rounded(rois.classifier, 3),
        "snr": _rounded(rois.activity.snr, 2),
        "noise": _rounded(rois.activity.noise_percent, 2),
        "middles": _rounded(middles, 2),
        "breaks": np.flatnonzero(np.isin(traces.edges, clock.edges[1:-1])).tolist(),
        "from": float(round(clock.seconds[0], 2)),
        "to": float(round(clock.seconds[-1], 2)),
    }


def _rounded(values: NDArray[Any], digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]
