"""The report of a large session: eight fields of 1500 ROIs, with the movies beside the page.

The peers are limits. The inputs are drawn at random, for what counts is how much there is: traces of 8000 frames, a
registered movie of as many for all fields, and raw tifs of the frames that the movies show. A small report is made
first, so that nothing is imported while it is measured.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from meso_core.machine import cores_at_hand
from meso_core.report import Report, ReportInputs, make_report

from . import Row

_LIMIT_S, _LIMIT_MB, _LIMIT_MOVIE_MB, _TURNS = 20.0, 30.0, 5.0, 3


def rows() -> list[Row]:
    """Measure all."""
    from tests.report.large_movies import with_movies
    from tests.report.large_session import report_inputs

    with tempfile.TemporaryDirectory(prefix="meso-bench-") as name:
        folder = Path(name)
        small = report_inputs(folder / "small", n_rois=20, n_frames=400, preset_name="tiny")
        make_report(with_movies(folder / "small", small, "tiny"))
        inputs = with_movies(folder, report_inputs(folder / "large"))
        wall, cpu, report = min((measured(inputs) for _ in range(_TURNS)), key=lambda one: one[0])
    page, movie = len(report.html) / 1e6, max(map(len, report.movies.values())) / 1e6
    on = f"{len(inputs.fov_names)} fields of 1500 ROIs, 8000 frames, {len(report.movies)} movies, "
    on += f"{cores_at_hand()} cores, page cache warm"
    return [
        Row("report of a large session; peer: the limit", _LIMIT_S, wall, "s", _LIMIT_S / wall, "≥ 1", on),
        Row("the same, of all processors; peer: 2 cores", 2 * _LIMIT_S, cpu, "s", 2 * _LIMIT_S / cpu, "≥ 1", on),
        Row("its page; peer: the limit", _LIMIT_MB, page, "MB", _LIMIT_MB / page, "≥ 1", on),
        Row("its largest movie; peer: the limit", _LIMIT_MOVIE_MB, movie, "MB", _LIMIT_MOVIE_MB / movie, "≥ 1", on),
    ]


def measured(inputs: ReportInputs) -> tuple[float, float, Report]:
    """Make a report; returns the seconds that it took, those of processors, and the report."""
    before, start = os.times(), time.perf_counter()
    report = make_report(inputs)
    wall, after = time.perf_counter() - start, os.times()
    return wall, sum(after[:4]) - sum(before[:4]), report
