"""Where the fields of view lie.

What belongs here: the section of the page. What does not: finding places (``location``), drawing them (``draw``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...qc import checks_in
from ..draw.place import PlacedFov, map_plot
from ..draw.plots import plot_of
from ..inputs import ReportInputs
from .fields import FovFound
from .limits import judged_by
from .parts import Figure, Row, Section

_CHECKS = ("atlas_is_anatomy", "points_fit")


def place_section(inputs: ReportInputs, found: Sequence[FovFound]) -> Section:
    """Make the map of a session."""
    lead = (
        "The brain from above, front up. Red: fields of view, drawn where their corner pixels lie; + is bregma, × the "
    )
    lead += "centre of the window."
    locations, regions = inputs.locations, inputs.regions
    if locations is None or regions is None:
        why = f"Places: {inputs.why_missing('mean_image_mlapdv')}."
        return Section("place", "Place in the brain", lead, missing=[why])
    provenance = locations.provenance.name.lower()
    figure = Figure(
        "",
        plot_of(map_plot, locations, regions, _placed(inputs, found)),
        "Left: the whole brain with the borders of its areas. Right: mean images in place, and cells coloured by area. "
        "Vessels should go on from field to field. Fields that are bent, or far from the ×, are a sign of wrong "
        f"coordinates. Places are known by {provenance}; atlas: {locations.atlas.caption}.",
        judged_by(inputs, *checks_in("place")),
    )
    rows = [
        Row("known by", provenance, _MEANING.get(locations.provenance.name, "")),
        Row("atlas", locations.atlas.caption, f"frame {locations.frame.value}"),
        Row("window", _mm(locations.window.center_um), "centre, from bregma"),
    ]
    if locations.tilt_deg is not None:
        rows.append(Row("tilt", f"{locations.tilt_deg:.1f}°", "of the optical axis to the surface"))
    missing = (
        [] if any(f.areas is not None for f in found) else [f"Cells: {inputs.why_missing('roi_brain_locations')}."]
    )
    return Section("place", "Place in the brain", lead, rows, [figure], missing, inputs.verdicts_on(*_CHECKS))


_MEANING = {
    "ESTIMATE": "by the microscope's coordinates and the surgery's alone",
    "FUNCTIONAL": "by points of functional maps",
    "LANDMARK": "by points that somebody marked",
    "HISTOLOGY": "by histology",
}


def _mm(at_um: NDArray[np.float64]) -> str:
    """Write ML and AP, with a real minus."""
    ml, ap = at_um[:2] / 1e3
    return f"ML {ml:.2f}, AP {ap:.2f} mm".replace("-", "−")


def _placed(inputs: ReportInputs, found: Sequence[FovFound]) -> list[PlacedFov]:
    assert inputs.locations is not None
    by_name = {one.fov.name: one for one in found}
    placed = []
    for location in inputs.locations.fovs:
        mean = inputs.dataset(location.name, "mpciMeanImage.images")
        at, one = inputs.dataset(location.name, "mpciROIs.mlapdv"), by_name.get(location.name)
        cells, areas = np.zeros((0, 2)), np.zeros(0, "U1")
        if at is not None and one is not None and one.rois is not None and one.areas is not None:
            cells, areas = np.asarray(at)[one.rois.is_cell, :2] / 1e3, one.areas[one.rois.is_cell]
        placed.append(PlacedFov(location, None if mean is None else np.asarray(mean), cells, areas))
    return placed
