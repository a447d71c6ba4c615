"""The report of a session, from its inputs to one file.

What belongs here: which sections there are, and their order. What does not: what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from math import nan

import numpy as np
from numpy.typing import NDArray

from ..counting import counted
from ..imaging.fovs import plane
from ..imaging.fovs.threads import one_blas_thread
from ..json_text import json_text
from ..progress import Progress, silent
from ..qc import in_words
from ..session import Fov
from .draw.drawers import Drawers, processes_for
from .frames import opened_movie
from .inputs import ReportInputs
from .measure.axial import AxialDrift, axial_drift
from .measure.clock import FovClock
from .measure.fov import FovRois, measure_rois, packed_bins
from .measure.motion import FovMotion, read_motion
from .measure.photons import FovPhotons, measure_photons
from .measure.registered import RegisteredMovie, measure_registered
from .movies import FovMovie, MovieMaker
from .page.card import card
from .page.cells import cells_section
from .page.fields import FovFound, clock_of, field_view, located
from .page.limits import limits_in_words
from .page.parts import SIGNS, Page, plots_of
from .page.people import people_said
from .page.photons import photons_section
from .page.place import place_section
from .page.render import render
from .page.sections import lineage_section, motion_figures, motion_section, time_section
from .page.summary import SessionLine, session_line
from .stacks import field_stack

#: Fields measured at a time: the work is numpy's, which does not hold the others up.
_SIDE_BY_SIDE = 2
_OF_ROIS = ("mpci.ROIActivityF", "mpci.ROINeuropilActivityF", "mpci.ROIActivityDeconvolved", "mpciROIs.mpciROITypes",
            "mpci.badFrames", "mpciROIs.cellClassifier", "mpciROIs.uuids", "mpciROIs.stackPos",
            "mpciROIs.masks")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """A finished report."""

    #: The page, UTF-8. Equal inputs give equal bytes.
    html: bytes
    #: The session in a line, for the index over all sessions.
    summary: SessionLine
    #: Path below the folder of the page → movie (WebM).
    movies: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """The verdict on the session, in words."""
        return self.summary.verdict

    def summary_json(self) -> str:
        """Text of the summary's file."""
        return json_text(self.summary.as_record(), indent=1, sort_keys=True, nulls=True) + "\n"


def make_report(inputs: ReportInputs, *, progress: Progress = silent) -> Report:
    """Make the report of a session; what was not made is named in it.

    Parameters
    ----------
    inputs
        What the results have published.
    progress
        Told the fields of view.
    """
    n_fields = 0 if inputs.metadata is None else len(inputs.metadata.imaging.fovs)
    with one_blas_thread(), Drawers(processes_for(n_fields)) as drawers:
        found, page = _page(inputs, drawers, progress)
        limits = partial(limits_in_words, limits=inputs.limits)
        html = render("report.html", page=page.drawn(drawers.svg), signs=SIGNS, limits_in_words=limits)
    movies = {one.movie.path: one.movie.content for one in found if isinstance(one.movie, FovMovie)}
    return Report(html.encode(), session_line(inputs, found), movies)


def _page(inputs: ReportInputs, drawers: Drawers, progress: Progress) -> tuple[list[FovFound], Page]:
    """Measure all fields, and make the page; its plots are begun as soon as what they show is known."""
    found: list[FovFound] = []
    fields, moved = [], []
    for one in _measure(inputs, progress):
        found.append(one)
        fields.append(field_view(inputs, one))
        moved.append(motion_figures(inputs, one))
        drawers.begin(plots_of([*fields[-1].figures, *moved[-1]]))
    of_motion = list(chain.from_iterable(moved))
    place, cells = place_section(inputs, found), cells_section(inputs, found)
    time, photons = time_section(inputs, found), photons_section(inputs, found)
    motion = motion_section(inputs, found, of_motion)
    own = [one for section in (place, cells, time, photons) for one in section.figures]  # those that take longest first
    drawers.begin(plots_of([*own, *motion.figures[len(of_motion) :]]))
    verdict, words = in_words(inputs.all_verdicts())
    page = Page(
        inputs.session.full_name,
        _subtitle(inputs),
        verdict,
        words,
        card(inputs, found),
        fields,
        [place],
        [time, motion, photons, cells, lineage_section(inputs)],
        _warnings(inputs),
        people_said(inputs),
    )
    return found, page


def _measure(inputs: ReportInputs, progress: Progress) -> Iterator[FovFound]:
    """Measure each FOV of the metadata; without metadata there is no FOV to tell of.

    The next fields are measured while the caller draws the one that it was given.
    """
    fovs = () if inputs.metadata is None else inputs.metadata.imaging.fovs
    n_rois = sum(len(types) for fov in fovs if (types := inputs.dataset(fov.name, "mpciROIs.mpciROITypes")) is not None)
    n_bins = packed_bins(n_rois)
    motions = [read_motion(inputs.planes[fov.name]) if fov.name in inputs.planes else None for fov in fovs]
    clocks = [_clock(inputs, fov, motion.n_frames if motion else 0) for fov, motion in zip(fovs, motions, strict=True)]
    maker = MovieMaker(inputs)

    def work(fov: Fov, clock: FovClock | None, motion: FovMotion | None) -> FovFound:
        rois = _rois_of(inputs, fov, clock, n_bins)
        areas, layers = located(inputs, fov.name, inputs.regions) if rois else (None, None)
        photons, registered = _of_movie(inputs, fov, motion)
        movie = maker.make(fov, motion, clock)
        return FovFound(fov, clock, rois, motion, photons, registered, movie, areas, layers)

    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        for k, found in enumerate(pool.map(work, fovs, clocks, motions), 1):
            yield found
            progress(k, len(fovs), "fields of view measured")


def _clock(inputs: ReportInputs, fov: Fov, of_motion: int) -> FovClock | None:
    n_frames = _n_frames(inputs, fov, of_motion)
    return clock_of(inputs, fov, n_frames) if n_frames else None


def _rois_of(inputs: ReportInputs, fov: Fov, clock: FovClock | None, n_bins: int) -> FovRois | None:
    if clock is None or any(inputs.dataset(fov.name, name) is None for name in _OF_ROIS):
        return None
    assert inputs.metadata is not None, "there is a clock"
    rate = inputs.metadata.imaging.fov_rate_hz
    return measure_rois(lambda name: inputs.dataset(fov.name, name), rate, n_bins, clock.edges)


def _of_movie(
    inputs: ReportInputs, fov: Fov, motion: FovMotion | None
) -> tuple[FovPhotons | None, RegisteredMovie | None]:
    if motion is None:
        return None, None
    with opened_movie(inputs, fov.name, fov.shape) as movie:
        if movie is None or len(movie) != motion.n_frames:
            return None, None
        photons, stack = measure_photons(movie, motion.is_bad, motion.step), field_stack(inputs, fov)
        if fov.name not in inputs.movies:
            return photons, _as_judged(inputs, fov, None if stack is None else axial_drift(movie, motion.is_bad, stack))
        return photons, measure_registered(movie, motion, _second(inputs, fov, motion.n_frames), stack)


def _as_judged(inputs: ReportInputs, fov: Fov, axial: AxialDrift | None) -> RegisteredMovie:
    """Take the numbers of a movie on a server from its verdicts: measuring them again would fetch twice the frames."""
    crisper, alike = (
        next((float(v.value) for v in inputs.verdicts_on(check, fov=fov.name) if isinstance(v.value, float | int)), nan)
        for check in ("crispness_gain", "ends_alike")
    )
    return RegisteredMovie(crisper, alike, flow=None, axial=axial)


def _second(inputs: ReportInputs, fov: Fov, n_frames: int) -> NDArray[np.int16] | None:
    if fov.name not in inputs.second_movies:
        return None
    second = plane.open_frames(inputs.second_movies[fov.name], fov.shape)
    return second if len(second) == n_frames else None


def _n_frames(inputs: ReportInputs, fov: Fov, of_motion: int) -> int:
    for name in ("mpci.ROIActivityF", "mpci.times"):
        if (values := inputs.dataset(fov.name, name)) is not None:
            return int(np.shape(values)[0])
    return of_motion


def _subtitle(inputs: ReportInputs) -> str:
    if inputs.metadata is None:
        return "Two-photon imaging session"
    n = len(inputs.metadata.imaging.fovs)
    return f"Two-photon imaging session, {counted(n, 'field of view', 'fields of view')}"


def _warnings(inputs: ReportInputs) -> list[str]:
    if inputs.locations is not None and inputs.locations.phantom:
        return ["Phantom atlas: places in the brain are made up, and are no anatomy."]
    return []
