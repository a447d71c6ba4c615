"""A pulse dropped, or one too many, is a step by a frame between the clocks of the DAQ and of the microscope."""

import numpy as np
import pytest
from large_session import metadata_of

from meso_core.report.draw.time_series import two_clocks_plot
from meso_core.report.measure.clock import FovClock, against_microscope, fov_clock
from meso_core.simulate import preset


@pytest.fixture(scope="module")
def metadata(tmp_path_factory):
    return metadata_of(tmp_path_factory.mktemp("clocks"), preset("tiny"))


def times(metadata, rate=1.0):
    """Times of the frames of the first field by a DAQ whose clock runs at this rate; bouts a minute apart."""
    parts = [60 * number + rate * bout.frame_times for number, bout in enumerate(metadata.bouts)]
    return np.concatenate(parts)


def difference(metadata, seconds):
    fov = metadata.imaging.fovs[0]
    return against_microscope(metadata, fov, fov_clock(metadata, fov, len(seconds), seconds, seconds[0]))


def test_clocks_that_agree_differ_by_nothing_whatever_the_pause_between_bouts(metadata):
    np.testing.assert_allclose(difference(metadata, times(metadata)), 0, atol=1e-6)


def test_a_clock_that_runs_fast_is_a_slope_in_each_bout(metadata):
    found = difference(metadata, times(metadata, 1 + 1e-4))
    span = metadata.bouts[0].frame_times[-1] - metadata.bouts[0].frame_times[0]
    n = len(metadata.bouts[0].frame_times)
    assert found[n - 1] == pytest.approx(0.1 * span, rel=1e-3), "0.1 ms a second"
    assert found[n] == pytest.approx(0, abs=1e-6), "each bout from its own first frame"


@pytest.mark.parametrize("n_pulses", [-1, 1])
def test_a_dropped_and_a_surplus_pulse_are_steps_by_the_time_of_a_frame(metadata, n_pulses):
    seconds, period = times(metadata), float(np.median(np.diff(metadata.bouts[0].frame_times)))
    seconds[30 : len(metadata.bouts[0].frame_times)] -= n_pulses * period
    found = difference(metadata, seconds)
    np.testing.assert_allclose(found[:30], 0, atol=1e-6)
    np.testing.assert_allclose(found[30:80], -1e3 * n_pulses * period, rtol=1e-6)
    figure = two_clocks_plot(found, FovClock(seconds, (0, 80, 120), True), 1e3 * period)
    assert f"at most {1e3 * period:.2f} ms" in figure


def test_frames_that_are_not_those_of_the_metadata_are_not_compared(metadata):
    fov = metadata.imaging.fovs[0]
    assert against_microscope(metadata, fov, FovClock(np.arange(10.0), (0, 10), True)) is None
    assert against_microscope(metadata, fov, FovClock(np.arange(120.0), (0, 80, 120), False)) is None
