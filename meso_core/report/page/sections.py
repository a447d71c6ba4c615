"""Sections about the whole session: time, motion, lineage.

What belongs here: their parts. What does not: measuring and drawing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...lineage import as_text, other_settings
from ...qc import checks_in
from ..draw.distributions import components_plot, interval_plot, offsets_plot
from ..draw.images import contrast, webp_uri
from ..draw.plots import plot_of
from ..draw.time_series import flow_plot, motion_plot, two_clocks_plot
from ..inputs import MadeResult, ReportInputs
from ..measure.clock import GAP, Intervals, against_microscope, intervals
from ..measure.flow import BLOCK_PX, FLOW_PX, N_AVERAGED, N_MOMENTS
from ..measure.motion import FovMotion, crispness
from ..movies import FovMovie
from .fields import FovFound
from .limits import first_limit, judged_by
from .parts import Elsewhere, Figure, Movie, Row, Section
from .render import number

_TIME, _MOTION = checks_in("time"), checks_in("motion")


def time_section(inputs: ReportInputs, found: Sequence[FovFound]) -> Section:
    """When frames were taken: pulses and frames, intervals, the offset of each FOV."""
    lead = (
        "When each frame was taken, on the DAQ's clock, and whether the DAQ's pulses and the microscope's frames agree."
    )
    verdicts = inputs.verdicts_on(*_TIME)
    measured = [one for one in found if one.clock is not None and one.clock.is_measured and one.clock.seconds.size]
    if not measured:
        why = f"Times of frames: {inputs.why_missing('frame_times')}."
        return Section("time", "Time", lead, missing=[why], verdicts=verdicts)
    first = measured[0]
    assert first.clock is not None
    steps = intervals(first.clock.seconds, first.clock.edges)
    offsets = [(one.fov.name, 1e3 * float(one.clock.seconds[0])) for one in measured if one.clock is not None]
    rows = [
        Row("interval", _in_ms(steps.usual_ms), f"median, {first.fov.name}"),
        Row("jitter", _in_ms(steps.jitter_ms, 3), "standard deviation without gaps"),
        Row("gaps", str(steps.n_gaps), f"intervals above {GAP:g} usual ones within bouts"),
        Row("longest interval", _in_ms(steps.longest_ms)),
    ]
    figures = [
        *_intervals(inputs, steps),
        Figure(
            "Offset of each field in the volume",
            plot_of(offsets_plot, offsets),
            "When the first line of each field is scanned, after that of the session's first frame. Fields of one "
            "slice follow each other within a frame; slices follow at the frame period.",
            judged_by(inputs),
            wide=False,
        ),
        *_two_clocks(inputs, first, steps.usual_ms),
    ]
    table, note = _by_bout(inputs, first)
    return Section("time", "Time", lead, rows, figures, verdicts=verdicts, table=table, table_note=note)


def _in_ms(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f} ms" if value == value else "–"


def _intervals(inputs: ReportInputs, steps: Intervals) -> list[Figure]:
    """Draw the time from frame to frame; nothing where no bout has two frames."""
    if not steps.ms.size:
        return []
    return [
        Figure(
            "Time from frame to frame",
            plot_of(interval_plot, steps),
            "All intervals within bouts. One narrow peak is right; it is as wide as the DAQ's samples are apart. "
            "Counts at twice the usual interval are frames that were lost, or pulses that the DAQ missed.",
            judged_by(inputs, "interval_jitter", "interval_gaps"),
            wide=False,
        )
    ]


def _by_bout(inputs: ReportInputs, first: FovFound) -> tuple[tuple[Sequence[str], Sequence[Sequence[str]]], str]:
    """Tell of each bout its frames, intervals and clocks, of the first field, and what that means."""
    assert inputs.metadata is not None
    assert first.clock is not None
    seconds, edges, apart = first.clock.seconds, first.clock.edges, _apart(inputs, first)
    head = ("imaging bout", "frames", "begins, s", "lasts, s", "interval, ms", "longest, ms", "gaps",
            "DAQ − microscope, at most, ms")  # fmt: skip
    names = [bout.name for bout in inputs.metadata.bouts]
    rows = []
    for name, (a, b) in zip(names if len(names) + 1 == len(edges) else ["all"], pairwise(edges), strict=True):
        steps, most = intervals(seconds, (a, b)), "–" if apart is None or a == b else f"{np.abs(apart[a:b]).max():.2f}"
        begins, lasts = ("–", "–") if a == b else (f"{seconds[a]:.1f}", f"{seconds[b - 1] - seconds[a]:.1f}")
        known = [_known(steps.usual_ms), _known(steps.longest_ms)]
        rows.append([name, number(b - a), begins, lasts, *known, str(steps.n_gaps), most])
    note = (
        f"Frames of {first.fov.name}; interval: median. DAQ − microscope: difference of the two clocks since the bout "
        "began. How many pulses of a bout belong to no frame stands among the verdicts below."
    )
    return (head, rows), note


def _apart(inputs: ReportInputs, first: FovFound) -> NDArray[np.float64] | None:
    """DAQ's clock less the microscope's, of the first field, ms; None where their frames differ."""
    assert inputs.metadata is not None
    assert first.clock is not None
    return against_microscope(inputs.metadata, first.fov, first.clock)


def _two_clocks(inputs: ReportInputs, first: FovFound, period_ms: float) -> list[Figure]:
    """Compare the DAQ's clock with the microscope's, of the first field; nothing where their frames differ."""
    assert first.clock is not None
    difference = _apart(inputs, first)
    if difference is None or not difference.size:
        return []
    return [
        Figure(
            "Dropped and surplus pulses",
            plot_of(two_clocks_plot, difference, first.clock, period_ms),
            "Time since the first frame of each bout by the DAQ's pulses, less that by the microscope's own clock, "
            f"{first.fov.name}. A slow slope is two clocks that run at slightly different rates. A step by the time of "
            "a frame (dashed) is a pulse that was dropped, or one too many: from there on frames have wrong times.",
            judged_by(inputs, "pulse_intervals_match_scanimage", "frames_match_pulses", "frame_counter_is_clean"),
        )
    ]


def motion_section(inputs: ReportInputs, found: Sequence[FovFound], figures: Sequence[Figure]) -> Section:
    """How each FOV moved, and what registration left; ``figures`` are those of :func:`motion_figures`."""
    lead = "How far the brain moved, and how well registration took that out. Shaded: frames that are left out of "
    lead += "detection; dashed: where a new bout begins."
    moved = [(one, one.motion) for one in found if one.motion is not None]
    verdicts = tuple(dict.fromkeys(inputs.verdicts_on(*_MOTION)))  # two results may say the same of all fields
    if not moved:
        why = f"Shifts: {inputs.why_missing('motion_registered_frames')}."
        return Section("motion", "Motion", lead, missing=[why], verdicts=verdicts)
    missing, flow = _no_movies([one for one, _ in moved]), _flow_figure(inputs, [one for one, _ in moved])
    if not flow and inputs.far_movies:
        missing.append("No residual flow: it would fetch three times as many frames of the movies on the server.")
    head = ("field", "range, µm", "largest step, µm", "largest non-rigid, µm", "bad frames, %", "crispness of the mean",
            "crisper by registration, ×", "residual flow, µm", "likeness of both ends")  # fmt: skip
    rows = [_motion_row(one, motion) for one, motion in moved]
    note = (
        "Range: from the 1st to the 99th percentile of rigid shifts, both axes together. Step: between neighbouring "
        "good frames. Crispness: root mean square gradient of the mean image over its mean; compare fields of one "
        "session. Crisper by registration: the same of what the frames share, after rigid registration over before it; "
        "1 where nothing moved, below 1 where registration made it worse. Likeness of both ends: correlation of the "
        "mean of the first fifth with that of the last, without noise and brightness; 1 where the same tissue is in "
        "view, less where it drifted along the optical axis."
    )
    table = (head, rows)
    return Section("motion", "Motion", lead, (), [*figures, *flow], missing, verdicts, table=table, table_note=note)


def _no_movies(found: Sequence[FovFound]) -> list[str]:
    """Say which fields have no movie, and why; fields with one reason share a sentence."""
    reasons: dict[str, list[str]] = {}
    for one in found:
        if isinstance(one.movie, str):
            reasons.setdefault(one.movie, []).append(one.fov.name)
    every = len(next(iter(reasons.values()))) == len(found) if reasons else False
    return [f"No movie{'' if every else ' of ' + ', '.join(names)}: {why}." for why, names in reasons.items()]


def _motion_row(one: FovFound, motion: FovMotion) -> list[str]:
    um, registered = one.fov.um_per_pixel, one.registered
    flow = registered.flow if registered else None
    nonrigid = "–" if motion.nonrigid is None else f"{motion.nonrigid.max() * um:.1f}"
    return [
        one.fov.name,
        f"{motion.range_px * um:.1f}",
        f"{motion.jump_px * um:.1f}",
        nonrigid,
        f"{100 * motion.is_bad.mean():.1f}",
        f"{crispness(motion.mean_image):.3f}",
        _known(registered.crispness_gain if registered else None),
        _known(flow.usual_px * um if flow else None),
        _known(registered.likeness_of_ends if registered else None),
    ]


def _known(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.2f}"


def _flow_figure(inputs: ReportInputs, found: Sequence[FovFound]) -> list[Figure]:
    """Draw what the registered movies still move; nothing where none was at hand."""
    flows = [
        (one.fov.name, one.registered.flow, one.clock, one.fov.um_per_pixel)
        for one in found
        if one.registered is not None and one.registered.flow is not None and one.clock is not None
    ]
    if not flows:
        return []
    return [
        Figure(
            "Residual flow",
            plot_of(flow_plot, flows, FLOW_PX),
            f"How far blocks of {BLOCK_PX} px of the registered movie still move against its mean, root mean square, "
            f"at {N_MOMENTS} moments of {N_AVERAGED} good frames. What stands above {FLOW_PX:g} px (dashed, a guide) "
            "was not registered there: look at the shifts of that time. What moves faster than such a moment does not "
            "show.",
            judged_by(inputs),
        )
    ]


def motion_figures(inputs: ReportInputs, one: FovFound) -> list[Figure]:
    """Show how a field moved, and what registration left; nothing where it was not registered."""
    name, motion = one.fov.name, one.motion
    if motion is None:
        return []
    figures = []
    if one.clock is not None:
        figures.append(
            Figure(
                f"{name}: shifts",
                plot_of(motion_plot, motion, one.clock, name, one.fov.um_per_pixel),
                "Slow drifts and single jumps are taken out. A line that stays at its largest value ran into the limit "
                "of what was looked for. The phase correlation with the reference image falls where a frame is "
                "blurred, dark, or at another depth: a steady fall is drift along the optical axis.",
                judged_by(inputs, "bad_frame_fraction", "shifts_within_reach", "rigid_range", "rigid_jump", fov=name),
            )
        )
    if isinstance(one.movie, FovMovie):
        figures.append(_movie_figure(inputs, name, one.movie))
    if motion.worst is not None:
        worst, um, limit = motion.worst, one.fov.um_per_pixel, first_limit(inputs, "registration_residual")
        ends = [
            (
                webp_uri(contrast(image)),
                f"{place} of component {worst.number}",
                f"{name}: {place} of component {worst.number}",
            )
            for place, image in (("bottom", worst.bottom), ("top", worst.top))
        ]
        figures.append(
            Figure(
                f"{name}: what still moves",
                plot_of(components_plot, motion.component_shifts * um, name, None if limit is None else limit * um),
                "Bars: shift between the mean of the frames at either end of each principal component. The pictures "
                f"are the ends of component {worst.number}, {worst.rigid_px * um:.2f} µm apart rigidly and "
                f"{worst.nonrigid_px * um:.2f} µm at most non-rigidly: look from one to the other. If the same cells "
                "are in other places, motion is left; if other cells are bright, it is activity, or depth.",
                judged_by(inputs, "registration_residual", fov=name),
                pictures=ends,
                wide=False,
            )
        )
    return figures


def _movie_figure(inputs: ReportInputs, name: str, movie: FovMovie) -> Figure:
    speed = movie.recorded_s / movie.shown_s
    at = f"{movie.first_s / 60:.1f} min" if movie.first_s >= 300 else f"{movie.first_s:.0f} s"
    return Figure(
        f"{name}: before and after",
        None,
        f"{movie.recorded_s:.0f} s of the recording from {at} on, {speed:.1f} times as fast: where this field moved "
        "most. Left as it was recorded, right as it was registered, in one brightness. On the right, cells and vessels "
        "should stand still and only flicker; what still jumps or bends was not taken out.",
        judged_by(inputs, "crispness_gain", fov=name),
        movie=Movie(movie.path, movie.poster, movie.width, movie.height, f"{name}: raw and registered frames"),
        wide=False,
    )


def lineage_section(inputs: ReportInputs) -> Section:
    """Tell what each result was made with, and where the run that made it is told: the page knows no run.

    A page with the runs on it would not be the same wherever the same inputs were run.
    """
    name = inputs.session.full_name
    words = f"Which run made each result, when and where, and what has changed since: meso lineage {name}. "
    words += f"Whether all is as it was recorded: meso audit {name}."
    link = "Which run made each result, what has changed since, and what the last audit found"
    head = ("result", "content", "code", "files", "MB", "settings that are not the default", "packages")
    rows = [_lineage_row(one, inputs.default_settings) for one in inputs.results if one.version]
    lead = "What each result was made with."
    return Section("lineage", "Lineage", lead, table=(head, rows), elsewhere=Elsewhere(words, link))


def _lineage_row(one: MadeResult, defaults: Mapping[str, Any]) -> list[str]:
    return [
        one.name,
        one.version[:12],
        one.code_version,
        number(one.n_files),
        f"{one.n_bytes / 1e6:.1f}",
        ", ".join(f"{name} = {_short(value)}" for name, value in other_settings(one.settings, defaults)) or "none",
        ", ".join(f"{name} {version}" for name, version in sorted(one.packages.items())) or "–",
    ]


def _short(value: object) -> str:
    text = as_text(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
