"""Timestamps of the DAQ that were saved in lower precision move frame times: they are refused or doubted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meso_core.errors import InputFileError
from meso_core.qc import Verdict
from meso_core.timing.checks import check_samples
from meso_core.timing.timeline import TIMESTAMPS_FILE, SampleSteps, Timeline
from tests.timing.timing_rig import RATE, counter, write_timeline

N = 4000


@pytest.fixture
def rig(tmp_path):
    return write_timeline(tmp_path, {"neural_frames": counter([3], N)})


def judged(folder, stamps):
    np.save(folder / TIMESTAMPS_FILE, stamps)
    timeline = Timeline(folder)
    return check_samples(timeline.steps(), timeline.nominal_rate_hz)


@pytest.mark.parametrize("start_s", [0.0, 600.0, 5000.0])
@pytest.mark.parametrize("as_table", [False, True])
def test_times_as_the_daq_makes_them_pass(start_s, as_table, rig):
    times = start_s + np.arange(N) / RATE
    stamps = np.array([[0, times[0]], [N - 1, times[-1]]]) if as_table else times
    assert judged(rig, stamps).verdict is Verdict.PASS


@pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")
@settings(deadline=None, max_examples=40)
@given(
    start_s=st.floats(0, 6000), dtype=st.sampled_from(["f2", "f4", "i8"]), as_table=st.booleans(), hidden=st.booleans()
)
def test_no_rounding_moves_a_time_by_half_a_sample_unnoticed(start_s, dtype, as_table, hidden, tmp_path_factory):
    folder = write_timeline(tmp_path_factory.mktemp("rig"), {"neural_frames": counter([3], N)})
    times = start_s + np.arange(N) / RATE
    rounded = times.astype(dtype)
    stamps = (
        np.array([[0, rounded[0]], [N - 1, rounded[-1]]]).astype("f8" if hidden else dtype) if as_table else rounded
    )
    stamps = stamps.astype("f8") if hidden else stamps
    try:
        noticed = judged(folder, stamps).verdict is not Verdict.PASS
    except InputFileError:
        noticed = True
    length_off = abs((float(rounded[-1]) - float(rounded[0])) - (times[-1] - times[0])) * RATE
    step_off = np.abs(np.diff(rounded.astype("f8")) * RATE - 1).max() if not as_table else length_off
    assert noticed or step_off <= 0.5


@pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")
@pytest.mark.parametrize(
    ("steps", "nominal_hz", "passes"),
    [
        (SampleSteps(1e-3, 1e-3, 1e-3), 1000.0, True),
        (SampleSteps(1e-3, 1e-3, 1e-3), None, True),
        (SampleSteps(0.8e-3, 1.2e-3, 1e-3), 1000.0, True),
        (SampleSteps(0.5e-3, 1.5e-3, 1e-3), 1000.0, False),
        (SampleSteps(0.0, 1e-3, 1e-3), None, False),
        (SampleSteps(1e-3, 1e-3, 1e-3), 1000.1, False),
        (SampleSteps(1e-3, 1e-3, 1e-3, of_samples=False), 1000.0, False),
    ],
)
def test_steps_that_are_not_those_of_a_clock_are_doubted(steps, nominal_hz, passes):
    assert (check_samples(steps, nominal_hz).verdict is Verdict.PASS) == passes


@pytest.mark.parametrize(
    "stamps", [np.full(N, np.nan), np.arange(N)[::-1] / RATE, np.zeros(N)], ids=["nan", "back", "still"]
)
def test_times_that_do_not_ascend_are_refused(stamps, rig):
    with pytest.raises(InputFileError, match="finite times that ascend"):
        judged(rig, stamps)


@pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning")
@pytest.mark.parametrize(("first", "last"), [(0, N), (1, N), (-1, N - 1), (0.5, N - 1)])
def test_rows_of_samples_that_were_not_recorded_are_doubted(first, last, rig):
    stamps = np.array([[first, first / RATE], [last, last / RATE]])
    assert judged(rig, stamps).verdict is Verdict.WARNING
