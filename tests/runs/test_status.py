"""What failed last is known from few records: a session has many runs, each with a log in a file of its own."""

import dagster as dg
import pytest

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.runs import attempts
from meso_assets.runs.attempts import recent_failures
from meso_assets.runs.cells import State

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


def run_of(instance, *names, works=True):
    """Run assets of these names, in order, as a run of the session."""
    parts = dg.DynamicPartitionsDefinition(name="session")
    instance.add_dynamic_partitions("session", [KEY])
    assets = [dg.asset(name=name, partitions_def=parts)((lambda: None) if works else breaks) for name in names]
    job = dg.Definitions(assets, jobs=[dg.define_asset_job("some")]).resolve_job_def("some")
    keys = [dg.AssetKey(name) for name in names]
    ended = job.execute_in_process(
        instance=instance, partition_key=KEY, asset_selection=keys, raise_on_error=False, tags={}
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
