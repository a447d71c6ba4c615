"""The queue of runs: each has the tags of its session from when it waits, through whichever door it came."""

import dagster as dg
import pytest

from meso_assets.defs.dagster_internals.origins import shown_as_any_run
from meso_assets.io.session_names import add_sessions
from meso_assets.runs.instance import open_instance
from meso_assets.runs.settings import load_settings
from meso_core.session import SessionKey

KEY = SessionKey.parse("labA/Subjects/SP036/2023-03-01/001")
TOLD = {"meso/session": KEY.name, "meso/subject": "SP036", "meso/date": "2023-03-01", "meso/number": "001"}


@dg.op
def nothing():
    pass


@dg.job
def some_job():
    nothing()


@pytest.fixture
def instance(tmp_path):
    with open_instance(load_settings({"home": tmp_path / "home"})) as made:
        yield made


def queued(instance, **tags):
    with shown_as_any_run(instance):
        run = instance.create_run_for_job(job_def=some_job, tags=tags)
    return instance.run_coordinator.submit_run(dg.SubmitRunContext(run, None))


def test_a_run_that_waits_has_the_tags_of_its_session(instance):
    assert add_sessions(instance, [KEY]) == {KEY: KEY.name}
    run = queued(instance, **{"dagster/partition": KEY.name, "dagster/backfill": "abcdefgh"})
    assert run.status is dg.DagsterRunStatus.QUEUED
    assert {name: text for name, text in run.tags.items() if name.startswith("meso/")} == {**TOLD, "meso/lab": "labA"}
    (found,) = instance.get_runs(dg.RunsFilter(tags={"meso/subject": "SP036"}))
    assert found.run_id == run.run_id


@pytest.mark.parametrize("partition", ["", "what a person made up", "SP099/2023-03-01/001"])
def test_a_run_of_no_known_session_waits_without(instance, partition):
    run = queued(instance, **({"dagster/partition": partition} if partition else {}))
    assert run.status is dg.DagsterRunStatus.QUEUED
    assert not [name for name in run.tags if name.startswith("meso/")]


def test_how_many_runs_go_at_a_time_is_still_what_the_configuration_says(instance):
    limits = instance.get_concurrency_config().run_queue_config
    assert limits.max_concurrent_runs == 2
    assert [limit["key"] for limit in limits.tag_concurrency_limits] == ["dagster/partition"]


def test_runs_of_this_process_have_the_origin_of_those_of_the_interface(instance):
    with shown_as_any_run(instance):
        assert some_job.execute_in_process(instance=instance).success
    assert some_job.execute_in_process(instance=instance).success, "and then no more"
    other, ours = instance.get_runs()
    assert other.remote_job_origin is None
    origin = ours.remote_job_origin
    assert (origin.location_name, origin.repository_origin.repository_name) == (
        "meso_assets.definitions",
        "__repository__",
    )
    assert origin.job_name == "some_job"
