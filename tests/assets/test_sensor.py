"""The sensor: new sessions become partitions, ready ones are run, and nothing is lost when a listing fails."""

import shutil

import dagster as dg
import pytest

from meso_assets.defs.sensors import SessionState, in_turn, look_at, requests, scan
from meso_assets.io.resources import Platform
from meso_assets.runs.settings import load_settings
from meso_core.storage import RunProvenance


def state(key="SP035/2023-03-03/001", version="a" * 64, ready=True):
    return SessionState(key, version, ready, "because")


@pytest.fixture
def root(tmp_path):
    bout = tmp_path / "Subjects" / "SP035" / "2023-03-03" / "001" / "raw_imaging_data_00"
    bout.mkdir(parents=True)
    (bout / "x_00001.tif").write_bytes(b"tif")
    (bout.parent / "raw_session.flag").touch()
    return tmp_path / "Subjects"


@pytest.fixture
def platform(root, tmp_path):
    return Platform.open(load_settings({"root": root, "home": tmp_path / "home"}))


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def look(instance, platform, cursor=None):
    return scan(dg.build_sensor_context(instance=instance, cursor=cursor), platform)


def test_a_new_ready_session_becomes_a_partition_a_record_and_a_run(instance, platform):
    result = look(instance, platform)
    (run,) = result.run_requests
    assert run.partition_key == "SP035/2023-03-03/001"
    assert result.dynamic_partitions_requests[0].partition_keys == ["SP035/2023-03-03/001"]
    (seen,) = result.asset_events
    assert seen.partition == run.partition_key
    assert seen.tags["dagster/data_version"].startswith(run.run_key.rpartition(":")[2])


def test_a_changed_session_gets_another_run_key_and_an_unchanged_one_the_same(instance, platform, root):
    first = look(instance, platform).run_requests[0].run_key
    assert look(instance, platform).run_requests[0].run_key == first
    (root / "SP035" / "2023-03-03" / "001" / "raw_imaging_data_00" / "x_00002.tif").write_bytes(b"late")
    assert look(instance, platform).run_requests[0].run_key != first


def test_a_state_that_was_run_before_is_not_asked_for_again(instance, platform):
    (request,) = look(instance, platform).run_requests
    instance.create_run_for_job(_job(), tags={"dagster/run_key": request.run_key})
    assert look(instance, platform).run_requests == []


def made_by_hand(platform):
    """Publish something for each asset that finds raw files of the session to read."""
    session = platform.session("SP035/2023-03-03/001")
    for asset, version in session.raw_versions().items():
        staged = session.stage(asset)
        (staged / f"{asset}.json").write_text("{}")
        made_by = RunProvenance("run", "1", inputs={"raw_session": version})
        session.store.publish(session.key, asset, staged, made_by)


def test_a_session_processed_by_hand_is_not_asked_for(instance, platform):
    made_by_hand(platform)
    assert look(instance, platform).run_requests == []


def test_a_session_processed_by_hand_before_the_daq_came_is_asked_for(instance, platform, root):
    made_by_hand(platform)
    daq = root / "SP035" / "2023-03-03" / "001" / "raw_sync_data"
    daq.mkdir()
    (daq / "_timeline_DAQdata.raw.npy").write_bytes(b"late")
    assert [run.partition_key for run in look(instance, platform).run_requests] == ["SP035/2023-03-03/001"]


def test_a_flag_that_the_server_takes_away_and_a_late_note_ask_for_no_other_run(instance, platform, root):
    first = look(instance, platform).run_requests[0].run_key
    session = root / "SP035" / "2023-03-03" / "001"
    (session / "raw_session.flag").unlink()
    (session / "snapshots").mkdir()
    (session / "snapshots" / "late_note.txt").write_text("the window was cleaned")
    assert look_at(platform.session("SP035/2023-03-03/001"), now_ns=10**19, quiet_ns=0).run_key == first


def test_a_root_that_cannot_be_listed_skips_the_tick(instance, platform, root):
    instance.add_dynamic_partitions("session", ["SP035/2023-03-03/001"])
    shutil.rmtree(root)
    result = look(instance, platform)
    assert isinstance(result, dg.SkipReason)
    assert "could not be listed" in result.skip_message
    assert instance.get_dynamic_partitions("session") == ["SP035/2023-03-03/001"]


def test_one_session_with_an_unreadable_description_does_not_stop_the_others(instance, platform, root):
    bad = root / "SP035" / "2023-03-03" / "002"
    (bad / "raw_imaging_data_00").mkdir(parents=True)
    (bad / "_ibl_experiment.description.yaml").write_text("devices: [unclosed")
    assert [run.partition_key for run in look(instance, platform).run_requests] == ["SP035/2023-03-03/001"]


def test_one_look_asks_for_no_more_runs_than_allowed_and_adds_all_partitions():
    states = [state(f"SP035/2023-03-03/{i:03d}") for i in range(20)]
    result = requests(states, known=set(), asked=set(), max_runs=5)
    assert len(result.run_requests) == 5
    assert len(result.dynamic_partitions_requests[0].partition_keys) == 20
    asked = {run.run_key for run in result.run_requests}
    assert not asked & {run.run_key for run in requests(states, set(), asked, 5).run_requests}


def test_a_session_that_is_not_ready_becomes_a_partition_but_no_run():
    result = requests([state(ready=False)], known=set(), asked=set(), max_runs=5)
    assert result.run_requests == []
    assert len(result.dynamic_partitions_requests) == 1


def test_a_look_goes_on_where_the_last_one_ended_and_comes_round_to_all():
    keys = ["a", "b", "c", "d"]
    assert in_turn(keys, None) == keys
    assert in_turn(keys, "b") == ["c", "d", "a", "b"]
    assert in_turn(keys, "z") == keys


def _job() -> dg.JobDefinition:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def empty() -> None:
        nothing()

    return empty
