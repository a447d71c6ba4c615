"""What earlier runs took is known, also where machines with other clocks made parts of it."""

import pytest

from meso_assets.defs.dagster_internals import StepTimes
from meso_assets.defs.running import past_runs
from meso_assets.defs.running.past_runs import seconds_by_asset

CUT, FIRST, SECOND, GATHER = (0, 10), (11, 71), (12, 75), (76, 80)


@pytest.mark.parametrize(
    ("ahead_s", "seconds"),
    [
        ((0, 0, 0, 0), 80),
        ((0, 0, 0, 240), 10 + 60 + 63 + 4),
        ((240, 0, 0, -240), 10 + 60 + 63 + 4),
        ((0, -75, -75, -75), 74),
    ],
    ids=["one clock", "the last ahead", "the first ahead", "side by side by their times"],
)
def test_wall_time_of_an_asset_is_no_more_than_its_steps_took(ahead_s, seconds, monkeypatch):
    steps = ("rois.cut", "rois.fov[FOV_00]", "rois.fov[FOV_01]", "rois.gather")
    times = [
        StepTimes(step, start + ahead, end + ahead, False)
        for step, (start, end), ahead in zip(steps, (CUT, FIRST, SECOND, GATHER), ahead_s, strict=True)
    ]
    monkeypatch.setattr(past_runs, "times_of_steps", lambda *_: times)
    assert seconds_by_asset(None, "a run") == {"rois": seconds}


def test_a_step_whose_loss_was_told_by_a_clock_that_is_behind_takes_no_time(monkeypatch):
    lost = [StepTimes("rois.fov[FOV_00]", 240.0, 60.0, True), StepTimes("rois.cut", 0.0, 10.0, False)]
    for steps, seconds in ((lost, 10.0), (lost[:1], 0.0)):
        monkeypatch.setattr(past_runs, "times_of_steps", lambda *_, steps=steps: steps)
        assert seconds_by_asset(None, "a run") == {"rois": seconds}
