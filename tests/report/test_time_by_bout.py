"""The part on time tells each bout apart: its frames, intervals, gaps, and how far two clocks come apart."""

from dataclasses import replace

import numpy as np
import pytest
from large_session import metadata_of

from meso_core.report import ReportInputs
from meso_core.report.measure.clock import fov_clock
from meso_core.report.page.fields import FovFound
from meso_core.report.page.sections import time_section
from meso_core.simulate import preset

FRAMES = (40, 30)


def section(metadata, times):
    fov = metadata.imaging.fovs[0]
    clock = fov_clock(metadata, fov, len(times), times, times[0])
    inputs = ReportInputs(preset("tiny").key, metadata=metadata)
    return time_section(inputs, [FovFound(fov, clock, None, None)])


def table(metadata, times):
    head, rows = section(metadata, times).table
    return [dict(zip(head, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def metadata(tmp_path_factory):
    return metadata_of(tmp_path_factory.mktemp("bouts"), replace(preset("tiny"), frames_per_bout=FRAMES))


def test_each_bout_has_its_own_frames_intervals_gaps_and_clocks(metadata):
    period = 1 / metadata.imaging.fov_rate_hz
    first, second = (bout.frame_times - bout.frame_times[0] for bout in metadata.bouts)
    late = second + 100  # the second bout begins 100 s after the first
    late[12:] += period  # a pulse too many before its 13th frame
    one, two = table(metadata, 7 + np.concatenate([first, late]))
    assert [row["imaging bout"] for row in (one, two)] == [bout.name for bout in metadata.bouts]
    assert [row["frames"] for row in (one, two)] == ["40", "30"]
    assert [row["gaps"] for row in (one, two)] == ["0", "1"], "the pause between bouts is no gap"
    assert [float(row["begins, s"]) for row in (one, two)] == [0, 100]
    lasts = [first[-1], second[-1] + period]
    assert [float(row["lasts, s"]) for row in (one, two)] == pytest.approx(lasts, abs=0.051)
    assert [float(row["interval, ms"]) for row in (one, two)] == pytest.approx([1e3 * period] * 2, rel=1e-2)
    assert [float(row["longest, ms"]) for row in (one, two)] == pytest.approx([1e3 * period, 2e3 * period], rel=1e-2)
    most = [float(row["DAQ − microscope, at most, ms"]) for row in (one, two)]
    assert most == pytest.approx([0, 1e3 * period], abs=0.01)


def test_bouts_that_the_frames_do_not_fit_are_told_as_one_and_no_clock_is_compared(metadata):
    (row,) = table(metadata, np.arange(50) / metadata.imaging.fov_rate_hz)
    assert (row["imaging bout"], row["frames"], row["DAQ − microscope, at most, ms"]) == ("all", "50", "–")


def test_one_frame_has_no_interval_and_the_rest_is_told_all_the_same(metadata):
    made = section(metadata, np.array([3.0]))
    assert [figure.title for figure in made.figures] == ["Offset of each field in the volume"]
    assert [row.value for row in made.rows] == ["–", "–", "0", "–"]
    assert made.table[1] == [["all", "1", "0.0", "0.0", "–", "–", "0", "–"]]
