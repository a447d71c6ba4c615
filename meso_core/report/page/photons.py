"""How much light there was.

What belongs here: the section of the page. What does not: measuring.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...qc import checks_in
from ..draw.distributions import variance_plot
from ..draw.plots import plot_of
from ..draw.time_series import depth_plot, light_plot
from ..inputs import ReportInputs
from .fields import FovFound
from .limits import first_limit, judged_by
from .parts import Figure, Section
from .render import number


def photons_section(inputs: ReportInputs, found: Sequence[FovFound]) -> Section:
    """Make the section about light: photons, saturation, bleaching."""
    lead = "How much light reached the detector, by the frames' own noise, and whether it stayed."
    verdicts = inputs.verdicts_on(*checks_in("photons"))
    lit = [(one, one.photons) for one in found if one.photons is not None]
    if not lit:
        return Section("photons", "Photons", lead, missing=[f"Light: {_why_none(inputs)}."], verdicts=verdicts)
    figures = [
        Figure(
            "Variance against mean",
            plot_of(variance_plot, [(one.fov.name, photons) for one, photons in lit]),
            "Each point is a sixteenth of the pixels of a field. Of photons, the variance rises with the mean along a "
            "line: its slope is the counts per photon, the same for fields of one detector. A line that bends down at "
            "its bright end is saturation; one that bends up is motion or activity.",
            judged_by(inputs, "photons_per_pixel", "counts_per_photon", "saturated_share"),
            wide=False,
        ),
        Figure(
            "Light over time",
            plot_of(light_plot, [(one.fov.name, photons, one.clock) for one, photons in lit if one.clock is not None]),
            "Mean of sampled frames, above the counts without light, relative to the first third. A slow fall is "
            "bleaching, or drying of the water under the objective; a step is a change of power or of depth.",
            judged_by(inputs, "light_lost", "ends_alike"),
            wide=False,
        ),
        *_depth(inputs, found),
    ]
    head: tuple[str, ...] = (
        "field",
        "photons per pixel and frame, at least",
        "counts per photon, at most",
        "counts without light",
        "change of light, %",
        "values at the end, %",
        "pixels below one photon, %",
    )
    rows: list[list[str]] = [
        [
            one.fov.name,
            number(photons.photons),
            number(photons.gain),
            number(photons.offset),
            number(100 * photons.change),
            f"{100 * photons.saturated:.3f}",
            f"{100 * photons.dark:.1f}" if np.isfinite(photons.dark) else "–",
        ]
        for one, photons in lit
    ]
    bleeding = [one.registered.bleed if one.registered else float("nan") for one, _ in lit]
    has_second = bool(np.isfinite(bleeding).any())
    if has_second:
        head = (*head, "bleed-through, %")
        rows = [[*row, number(100 * share)] for row, share in zip(rows, bleeding, strict=True)]
    note = (
        "From 48 pairs of neighbouring good frames, evenly over the recording, 256 × 256 px in the middle of a field. "
        "What still moves and what is active counts as noise, so there are at least so many photons. Counts without "
        "light hold the amplifier's noise too."
    )
    if has_second:
        note += (
            " Bleed-through: what the second channel gains where cells of the first become active. Above 10 % labels "
            "of the second channel must not be told without taking it out; what still moves counts too."
        )
    table = (head, rows)
    return Section("photons", "Photons", lead, figures=figures, table=table, table_note=note, verdicts=verdicts)


def _why_none(inputs: ReportInputs) -> str:
    """Say why no field has light, as the end of a sentence."""
    if inputs.movies or inputs.far_movies:
        return "there are too few good frames to tell, or a movie has other frames than were registered"
    return inputs.no_movies or inputs.why_missing("motion_registered_frames")


def _depth(inputs: ReportInputs, found: Sequence[FovFound]) -> list[Figure]:
    """Draw the depth of each field in the reference stack over time; nothing where no stack tells it."""
    known = [(one.fov.name, one.registered.axial, one.clock) for one in found if one.registered and one.clock]
    told = [(name, axial, clock) for name, axial, clock in known if axial is not None]
    if not told:
        return []
    limit = first_limit(inputs, "axial_drift")
    return [
        Figure(
            "Depth over time",
            plot_of(depth_plot, told, limit),
            "Depth at which each tenth of the recording is most alike to the reference stack that was taken before it "
            "(referenceImage.stack.tif); 0 is where the field was to be. A slow slope is a drift along the optical "
            f"axis: beyond {limit:g} µm from top to bottom (dashed) other cells are in view. All fields drift "
            "together where the brain or the objective does. A gap: the field was not found in the stack.",
            judged_by(inputs, "axial_drift"),
            wide=False,
        )
    ]
