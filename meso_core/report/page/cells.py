"""The cells of the whole session: how many, where, how good.

What belongs here: the section of the page. What does not: formulas (``measure``).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..draw.distributions import counts_plot, histograms_plot
from ..draw.plots import plot_of
from ..inputs import ReportInputs
from ..measure.fov import FovRois
from ..measure.population import DOUBLE_CORRELATION, DOUBLE_UM, Doubles, count_by, doubles, nearest_um
from .fields import FovFound, median
from .limits import judged_by
from .parts import Figure, Section
from .render import number

Floats = NDArray[np.float64]


def cells_section(inputs: ReportInputs, found: Sequence[FovFound]) -> Section:
    """Make the section about cells."""
    lead = "ROIs that the classifier, or a person, calls cells, against the others."
    with_rois = [(one, one.rois) for one in found if one.rois is not None and one.rois.n_rois]
    checks = inputs.verdicts_on("all_fovs_present", "shapes_agree")
    if not with_rois:
        return Section("cells", "Cells", lead, missing=[f"Cells: {inputs.why_missing('rois')}."], verdicts=checks)
    figures = [_histograms(inputs, with_rois), *_counts(inputs, with_rois)]
    head = ("field", "ROIs", "cells", "noise, %/√Hz", "SNR", "F with neuropil", "nearest cell, µm")
    rows = [_row(one, rois) for one, rois in with_rois]
    note = f"Medians over cells. F with neuropil: correlation of the two as extracted. {_told(_doubles(found))}"
    return Section("cells", "Cells", lead, figures=figures, table=(head, rows), table_note=note, verdicts=checks)


def _histograms(inputs: ReportInputs, with_rois: Sequence[tuple[FovFound, FovRois]]) -> Figure:
    def both(values: Sequence[Floats]) -> tuple[Floats, Floats]:
        joined, is_cell = np.concatenate(values), np.concatenate([rois.is_cell for _, rois in with_rois])
        known = np.isfinite(joined)
        return joined[known & is_cell], joined[known & ~is_cell]

    of = [rois.activity for _, rois in with_rois]
    sizes = [np.asarray(rois.n_pixels * one.fov.um_per_pixel**2, float) for one, rois in with_rois]
    panels = [
        ("SNR", *both([np.asarray(a.snr, float) for a in of])),
        ("noise (%/√Hz)", *both([np.asarray(a.noise_percent, float) for a in of])),
        ("skew of dF/F", *both([np.asarray(a.skew, float) for a in of])),
        ("classifier", *both([rois.classifier for _, rois in with_rois])),
        ("mask (µm²)", *both(sizes)),
        ("F with neuropil (correlation)", *both([np.asarray(a.neuropil_correlation, float) for a in of])),
    ]
    return Figure(
        "What cells are like",
        plot_of(histograms_plot, [panel for panel in panels if len(panel[1]) + len(panel[2])]),
        "Cells (filled) should have higher SNR and skew than other ROIs (dashed), and lie apart from them by the "
        "classifier. SNR: 99th percentile of dF/F above its median, in standard deviations of the noise. Noise: median "
        "step of dF/F from frame to frame over √rate (Rupprecht et al. 2021). Masks of one cell body have 80 to 300 "
        "µm². F that is correlated with its neuropil by nearly 1 shows little of its own; the verdict speaks of what "
        "is left when 0.7 of the neuropil is taken out.",
        judged_by(inputs, "classifier_share", "noise_level", "neuropil_correlation"),
    )


def _counts(inputs: ReportInputs, with_rois: Sequence[tuple[FovFound, FovRois]]) -> list[Figure]:
    areas = [one.areas[rois.is_cell] for one, rois in with_rois if one.areas is not None]
    layers = [one.layers[rois.is_cell] for one, rois in with_rois if one.layers is not None]
    figures = []
    kinds = (
        (areas, "Cells by area", "areas", ("cells_found", "fields_agree")),
        (layers, "Cells by area and layer", "layers", ()),
    )
    for labels, title, name, checks in kinds:
        if labels and sum(map(len, labels)):
            how = "Where the centre of each cell lies in the atlas; no better than the place of the field is known."
            plotted = plot_of(counts_plot, count_by(labels), f"by-{name}", "cells")
            figures.append(Figure(title, plotted, how, judged_by(inputs, *checks), wide=False))
    return figures


def _row(one: FovFound, rois: FovRois) -> list[str]:
    cells, activity = rois.is_cell, rois.activity
    near = nearest_um(rois.centres[cells] * one.fov.um_per_pixel)
    measures: tuple[NDArray[Any], ...] = (
        activity.noise_percent[cells],
        activity.snr[cells],
        activity.neuropil_correlation[cells],
        near,
    )
    return [one.fov.name, number(rois.n_rois), number(rois.n_cells), *map(median, measures)]


def _doubles(found: Sequence[FovFound]) -> list[Doubles]:
    """Compare fields of one ROI of the microscope at neighbouring depths."""
    stacks: dict[str, list[FovFound]] = {}
    for one in found:
        if one.fov.roi_uuid and one.fov.depths_um and one.rois is not None:
            stacks.setdefault(one.fov.roi_uuid, []).append(one)
    pairs = []
    for stack in stacks.values():
        ordered = sorted(stack, key=lambda one: (one.fov.depths_um or (0.0,))[0])
        pairs += [_pair(a, b) for a, b in pairwise(ordered)]
    return pairs


def _pair(a: FovFound, b: FovFound) -> Doubles:
    places, activity = {}, {}
    for one in (a, b):
        assert one.rois is not None
        places[one.fov.name] = one.rois.centres[one.rois.is_cell] * one.fov.um_per_pixel
        activity[one.fov.name] = one.rois.standardised
    n = min(values.shape[1] for values in activity.values())
    return doubles(places, {name: values[:, :n] for name, values in activity.items()}, a.fov.name, b.fov.name)


def _told(pairs: Sequence[Doubles]) -> str:
    if not pairs:
        return "No two fields lie above each other, so no cell can be seen twice."
    told = ", ".join(f"{p.first} and {p.second}: {p.n_pairs} ({100 * p.share:.0f} %)" for p in pairs)
    return (
        f"Cells that two neighbouring depths may share (nearer than {DOUBLE_UM:g} µm across, correlated above "
        f"{DOUBLE_CORRELATION:g}): {told}."
    )
