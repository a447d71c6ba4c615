"""What a run prints in a terminal: each step once, and where the run is over all."""

import logging
from types import SimpleNamespace

import dagster as dg
import pytest

from meso_assets.runs import console
from meso_assets.runs.console import readable_log, readable_logger

STARTING, START, DONE = "STEP_WORKER_STARTING", "STEP_START", "STEP_SUCCESS"


def printed(capsys, events, config):
    logger = readable_logger.logger_fn(SimpleNamespace(run_id="x", logger_config=config))
    for kind, step in events:
        meta = {"step_key": step, "dagster_event": SimpleNamespace(event_type_value=kind)}
        record = logging.LogRecord("x", logging.DEBUG, "", 0, "", (), None)
        record.dagster_meta = meta
        logger.handle(record)
    return [" ".join(line.split()[1:]) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("begins", [[START], [STARTING], [STARTING, START]])
def test_each_result_is_counted_once_when_it_begins_whatever_its_steps(capsys, begins):
    steps = ["frame_times", "rois.split", "rois.find[FOV_00]", "rois_are_whole", "session_qc"]
    told = printed(capsys, [(kind, step) for step in steps for kind in begins], {"n_results": 3})
    assert told == [
        "frame_times started, result 1 of 3",
        "rois.split started, result 2 of 3",
        "rois.find[FOV_00] started",
        "rois_are_whole started",
        "session_qc started, result 3 of 3",
    ]


def test_the_time_that_is_left_follows_the_estimate_until_that_is_used_up(capsys, monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: now[0], strftime=lambda form: "12:00:00")
    monkeypatch.setattr(console, "time", clock)
    events = [("frame_times", 1000.0), ("rois.split", 1600.0), ("session_qc", 1790.0), ("session_report", 9e9)]
    told = []
    logger = readable_logger.logger_fn(
        SimpleNamespace(run_id="x", logger_config=readable_log(4, 840.0)["loggers"]["readable"]["config"])
    )
    for step, at in events:
        now = [at]
        record = logging.LogRecord("x", logging.DEBUG, "", 0, "", (), None)
        record.dagster_meta = {"step_key": step, "dagster_event": SimpleNamespace(event_type_value=START)}
        logger.handle(record)
        told.append(capsys.readouterr().out.strip().partition("of 4")[2])
    assert told == [", about 14 min left", ", about 4 min left", "", ""]


def test_without_an_estimate_no_time_is_told():
    assert readable_log(4) == {"loggers": {"readable": {"config": {"n_results": 4}}}}


def test_a_run_that_says_no_number_tells_none(capsys):
    assert printed(capsys, [(START, "rois.split")], {}) == ["rois.split started"]


def test_in_the_process_of_a_step_nothing_is_told_twice_and_its_time_is_its_own(capsys, monkeypatch):
    monkeypatch.setattr(console.multiprocessing, "parent_process", lambda: "the run's own")
    (line,) = printed(capsys, [(START, "frame_times"), (DONE, "frame_times")], {"n_results": 3})
    assert line == "frame_times done in 0.0 s"


def test_the_events_of_dagster_have_these_names():
    names = {kind.value for kind in dg.DagsterEventType}
    assert {STARTING, START, DONE, *console._BEGINS, *console._EVENTS} <= names


def line_of(capsys, step, text, level=logging.INFO):
    logger = readable_logger.logger_fn(SimpleNamespace(run_id="x", logger_config={}))
    record = logging.LogRecord("x", level, "", 0, text, (), None)
    record.dagster_meta = {"step_key": step, "orig_message": text}
    logger.handle(record)
    return capsys.readouterr().out.partition(step)[2].strip()


def test_a_line_does_not_repeat_the_result_that_stands_before_it(capsys):
    assert line_of(capsys, "rois.each_fov", "rois: not made yet") == "not made yet"
    assert line_of(capsys, "frame_qc", "rois: not made yet") == "rois: not made yet"
    assert line_of(capsys, "rois.each_fov", "rois: odd", logging.WARNING) == "warning: odd"


def test_what_is_not_reached_is_told_in_words_with_what_it_wanted(capsys):
    @dg.op(out=dg.DynamicOut())
    def split():
        yield dg.DynamicOutput(1, "FOV_00")

    @dg.op
    def fails(x):
        raise ValueError("odd")

    @dg.op
    def gathers(xs):
        return xs

    @dg.op
    def follows(x):
        return x

    @dg.job(logger_defs={"readable": readable_logger}, executor_def=dg.in_process_executor)
    def some():
        follows(gathers(split().map(fails).collect()))

    run = some.execute_in_process(run_config=readable_log(1), raise_on_error=False)
    assert not run.success
    lines = [" ".join(line.split()[1:]) for line in capsys.readouterr().out.splitlines()]
    assert "gathers not reached, for want of fails[FOV_00]" in lines
    assert "follows not reached, for want of gathers" in lines
    assert not any("Dependencies" in line or "Not executing" in line for line in lines)
