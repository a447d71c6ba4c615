"""What failed last is known from few records: a session has many runs, each with a log in a file of its own."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.runs.status import attempts
from meso_assets.runs.status.attempts import failures_of, recent_failures
from meso_assets.runs.status.cells import State

KEY = "SP035/2023-03-03/001"


def breaks():
    raise ValueError("no such thing")


@pytest.fixture
def instance(monkeypatch):
    with dg.DagsterInstance.ephemeral() as made:
        run_of(made, "rois", works=False)
        opened = []
        read = attempts.end_of_steps
        monkeypatch.setattr(attempts, "end_of_steps", lambda i, run_id: opened.append(run_id) or read(i, run_id))
        made.opened = opened
        yield made


def run_of(instance, *names, works=True, key=KEY, does=None):
    """Run assets of these names, in order, as a run of the session."""
    parts = dg.DynamicPartitionsDefinition(name="session")
    instance.add_dynamic_partitions("session", [key])
    does = does or ((lambda: None) if works else breaks)
    assets = [dg.asset(name=name, partitions_def=parts)(does) for name in names]
    job = dg.Definitions(assets, jobs=[dg.define_asset_job("some")]).resolve_job_def("some")
    keys = [dg.AssetKey(name) for name in names]
    ended = job.execute_in_process(
        instance=instance, partition_key=key, asset_selection=keys, raise_on_error=False, tags={}
    )
    assert ended.success is works


def test_a_later_run_that_ended_well_settles_its_assets_and_no_others_without_its_log(instance):
    run_of(instance, "frame_qc", "frame_times")
    failures = recent_failures(instance, KEY)
    assert {asset: failure.state for asset, failure in failures.items()} == {"rois": State.FAILED}
    assert "no such thing" in failures["rois"].why
    assert len(instance.opened) == 1, "the log of the run that failed"


def test_what_was_before_a_run_of_everything_is_not_looked_at(instance):
    run_of(instance, *CATALOGUE)
    assert recent_failures(instance, KEY) == {}
    assert instance.opened == []


def test_the_last_attempt_counts(instance):
    run_of(instance, "rois")
    assert recent_failures(instance, KEY) == {}
    run_of(instance, "rois", works=False)
    assert recent_failures(instance, KEY).keys() == {"rois"}


def test_the_last_attempt_is_the_one_that_began_last_whatever_the_clock_of_its_machine(instance, monkeypatch):
    late = datetime.now(UTC) - timedelta(minutes=8)
    monkeypatch.setattr("dagster._core.storage.runs.sql_run_storage.get_current_datetime", lambda: late)
    run_of(instance, "rois")
    first, last = (record.create_timestamp for record in reversed(instance.get_run_records()))
    assert last < first
    assert recent_failures(instance, KEY) == {}


def test_of_many_sessions_those_whose_runs_all_ended_well_are_not_asked_for_and_the_others_as_one_by_one(
    instance, monkeypatch
):
    monkeypatch.setattr(attempts, "_AT_A_TIME", 2)
    others = [f"SP036/2023-03-0{day}/001" for day in range(1, 7)]
    for n, other in enumerate(others):
        run_of(instance, "rois", "frame_qc", works=n % 2 == 0, key=other)
    run_of(instance, "frame_qc", key=others[1])
    run_of(instance, "rois", "frame_qc", key=others[3])
    every = [KEY, *others, "SP037/2023-03-01/001"]
    one_by_one = {key: recent_failures(instance, key) for key in every}
    n_opened = len(instance.opened)
    found = failures_of(instance, every)
    assert found == {key: failures for key, failures in one_by_one.items() if failures}
    assert {key: set(failures) for key, failures in found.items()} == {
        KEY: {"rois"},
        others[1]: {"rois"},
        others[5]: {"rois", "frame_qc"},
    }
    assert len(instance.opened) - n_opened == 4, "the logs of the runs that failed, and no other"


def test_what_runs_now_is_told_with_the_share_that_is_done(instance):
    seen = {}

    def works_long(context: dg.AssetExecutionContext):
        seen["at first"] = recent_failures(instance, KEY)["rois"]
        context.log.info("pages split: 450 of 1,000 (45%), 100/s, 6 s left")
        context.log.info("something else")
        seen["later"] = recent_failures(instance, KEY)["rois"]
        seen["among many"] = failures_of(instance, [KEY, "SP036/2023-03-01/001"])[KEY]["rois"]

    run_of(instance, "rois", does=works_long)
    assert {one.state for one in seen.values()} == {State.RUNNING}
    assert seen["at first"].why.startswith("since ")
    assert seen["later"].why.startswith("45 % (pages split: 450 of 1,000), since ")
    assert seen["among many"] == seen["later"]
    assert recent_failures(instance, KEY) == {}, "it has ended"


def stops():
    raise dg.DagsterExecutionInterruptedError  # what Ctrl-C becomes in a step


def test_a_step_that_somebody_stopped_is_interrupted_and_has_not_failed(instance):
    run_of(instance, "frame_qc", works=False, does=stops)
    found = recent_failures(instance, KEY)["frame_qc"]
    assert (found.state, "somebody stopped the run" in found.why) == (State.INTERRUPTED, True)


def test_a_run_that_was_terminated_between_two_steps_tells_before_which_it_was(instance):
    names = ("imaging_metadata", "frame_times")
    tags, keys = {"dagster/partition": KEY}, frozenset(map(dg.AssetKey, names))
    for status, started in ((dg.DagsterRunStatus.CANCELED, True), (dg.DagsterRunStatus.CANCELED, False)):
        run = dg.DagsterRun("some", tags=tags, asset_selection=keys)
        instance.add_run(run)
        if started:
            instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "some"), run.run_id)
        instance.report_run_canceled(run)
        found = recent_failures(instance, KEY)
        assert found["imaging_metadata"].state is State.INTERRUPTED, status
        assert "before imaging_metadata" in found["imaging_metadata"].why
        assert f"somebody stopped it); run it again: meso run {KEY}" in found["imaging_metadata"].why
        assert "frame_times" not in found
