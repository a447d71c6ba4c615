"""A session that cannot be processed fails in seconds, by name, before anything of it is published."""

import json
import shutil
import time
from collections import namedtuple
from dataclasses import replace

import dagster as dg
import pytest
from click.testing import CliRunner

from meso_assets.cli.preflight import command
from meso_assets.cli.run import command as run_command
from meso_assets.definitions import build_defs
from meso_assets.defs.dagster_internals import failure_message
from meso_assets.defs.preflight import Flight, look_ahead
from meso_assets.defs.standing.standings import look_at
from meso_assets.io.resources import Platform
from meso_assets.runs.executors.routing import RunNeeds
from meso_assets.runs.instance import open_instance
from meso_assets.runs.run import run_session
from meso_core.errors import MetadataError, ProcessingError, StorageError, TimingError
from meso_core.imaging import Work
from meso_core.simulate import preset, simulate_session
from meso_core.storage import hash_file
from meso_core.storage.remote.servers.filesystem import open_root
from meso_core.storage.remote.transfers.transfer import upload
from tests.short_session import short

Usage = namedtuple("Usage", "total used free")
#: What keeps a session from being processed → fault of its files, settings, room on the disk, the error that names it.
HOPELESS = {
    "no room": ((), {}, 1000, StorageError, "expected room for about"),
    "no memory": ((), {"memory_gb": 0.5}, None, ProcessingError, "GB of memory for its largest field of view"),
    "frames and pulses": (("dropped_pulses",), {}, None, TimingError, "expected a DAQ pulse for each of the"),
    "bouts": (("metadata_mismatch",), {}, None, MetadataError, "as in raw_imaging_data_00"),
}
EXPENSIVE = {"imaging_frames_archive", "motion_registered_frames", "rois"}


@pytest.fixture
def recorded(tmp_path, make_settings):
    """Function that simulates a session with a fault, and returns settings and key."""

    def make(faults, **changes):
        settings = make_settings(tmp_path, **changes)
        return settings, simulate_session(settings.root, short(), faults=faults).key

    return make


def only_so_much_room(monkeypatch, free):
    if free is not None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12 - free, free))


def files_of(settings, key):
    folder = Platform.open(settings).session(str(key)).path
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("why", HOPELESS)
def test_a_session_that_cannot_be_processed_is_refused_in_seconds_and_nothing_of_it_is_made(why, recorded, monkeypatch):
    faults, changes, free, error, message = HOPELESS[why]
    settings, key = recorded(faults, **changes)
    only_so_much_room(monkeypatch, free)
    before, began = files_of(settings, key), time.process_time()
    with pytest.raises(error, match=message) as told:
        run_session(settings, key)
    assert time.process_time() - began < 10
    assert ", found " in str(told.value)
    assert files_of(settings, key) == before


@pytest.mark.parametrize("why", [name for name in HOPELESS if name != "bouts"])
def test_a_run_of_the_daemon_makes_what_is_quick_and_fails_before_the_pages_are_cut(
    why, recorded, materialise, monkeypatch
):
    faults, changes, free, error, message = HOPELESS[why]
    settings, key = recorded(faults, **changes)
    only_so_much_room(monkeypatch, free)
    with dg.DagsterInstance.ephemeral() as instance:
        assets = ("imaging_metadata", "frame_qc", "frame_times", "motion_registered_frames", "rois")
        began = time.process_time()
        result = materialise(instance, settings, key, assets)
        assert time.process_time() - began < 10
    failed = {e.step_key: failure_message(e) for e in result.all_events if e.event_type_value == "STEP_FAILURE"}
    assert failed["motion_registered_frames.split_pages"].startswith(error.__name__)
    assert message in failed["motion_registered_frames.split_pages"]
    session = Platform.open(settings).session(str(key))
    assert session.manifest("imaging_metadata") is not None
    assert not any(session.manifest(asset) for asset in EXPENSIVE)
    assert not list(session.path.rglob("*.bin"))


def test_an_archive_is_refused_where_it_would_take_the_last_room_and_made_where_only_the_pulses_are_wrong(
    recorded, materialise, monkeypatch
):
    settings, key = recorded(("dropped_pulses",))
    with dg.DagsterInstance.ephemeral() as instance:
        with monkeypatch.context() as full:
            only_so_much_room(full, 1000)
            assert not materialise(instance, settings, key, ("imaging_frames_archive",)).success
        result = materialise(instance, settings, key, ("imaging_frames_archive",))
        assert result.success
    (made,) = result.asset_materializations_for_node("imaging_frames_archive")
    assert "MB on the disk" in made.metadata["estimated"].value


def test_what_needs_no_pulses_is_made_as_the_message_says(recorded):
    settings, key = recorded(("dropped_pulses",))
    platform = Platform.open(settings)
    with open_instance(settings) as instance:

        def errors(assets):
            return look_ahead(Flight(platform, instance, look_at(platform.session(str(key))), assets, {})).errors

        (error,) = errors(("frame_times", "motion_registered_frames"))
        assert str(error).endswith(f"meso run {key} --assets motion_registered_frames")
        assert errors(("motion_registered_frames",)) == ()


def test_what_is_quick_alone_is_tried_and_fails_on_the_record(recorded):
    settings, key = recorded(("dropped_pulses",), executor="in_process")
    summary = run_session(settings, key, assets=("imaging_metadata", "frame_times"))
    assert summary.failed == {"frame_times"}


def test_a_session_without_a_recording_of_the_daq_is_processed_with_a_warning(recorded):
    settings, key = recorded(())
    platform = Platform.open(settings)
    shutil.rmtree(platform.session(str(key)).path / "raw_sync_data")
    with open_instance(settings) as instance:
        found = look_ahead(Flight(platform, instance, look_at(platform.session(str(key))), ("frame_times", "rois"), {}))
    found.refuse()
    assert {r.check: r.verdict.name for r in found.results}["frames_match_pulses"] == "WARNING"


def test_the_command_prints_a_table_and_ends_with_one_where_a_session_cannot_be_processed(recorded, monkeypatch):
    settings, key = recorded(())
    simulate_session(settings.root, short(number="002"), faults=["dropped_pulses"])
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    good = CliRunner().invoke(command, [str(key)])
    assert good.exit_code == 0, good.output
    assert "room_on_disk" in good.output
    assert f"{key} takes " in good.output
    assert "motion_registered_frames.register_fov " in good.output
    both = CliRunner().invoke(command, [key.subject])
    assert both.exit_code == 1
    assert "002 cannot be processed: raw_imaging_data_01: expected a DAQ pulse" in both.output
    as_json = CliRunner().invoke(command, [str(key), "--json"])
    assert '"check": "estimate"' in as_json.output
    rows = [row for row in json.loads(as_json.stdout) if row["check"] == "needs"]
    (fovs,) = {row["n"] for row in rows if row["step"].split(".")[-1] in ("register_fov", "find_rois")}
    assert fovs == 3
    dry = CliRunner().invoke(run_command, [str(key), "--dry-run"])
    assert all(row["step"] in dry.output for row in rows)


def test_on_a_server_what_is_fetched_counts_and_nothing_is_fetched_to_find_out(tmp_path, make_settings, materialise):
    rig = simulate_session(tmp_path / "rig", short())
    settings = make_settings(tmp_path, root="memory://preflight/Subjects", executor="in_process")
    root = open_root(str(settings.root))
    for file in (path for path in rig.session_path.rglob("*") if path.is_file()):
        upload(root, file, f"{rig.key}/{file.relative_to(rig.session_path)}", content=hash_file(file))
    raw = sum(tif.stat().st_size for tif in rig.session_path.rglob("*.tif"))
    platform = Platform.open(settings)
    with dg.DagsterInstance.ephemeral() as instance:

        def ahead():
            seen = look_at(platform.session(str(rig.key)))
            return look_ahead(Flight(platform, instance, seen, ("frame_times", *EXPENSIVE), {}))

        before = ahead()
        assert not list(settings.scratch_folder.rglob("*.tif"))
        assert before.estimate.room_bytes > raw
        assert before.estimate.memory_bytes is None
        assert materialise(instance, settings, rig.key, ("imaging_metadata",)).success
        known = ahead()
    assert {"frames_match_pulses", "memory_per_fov"} <= {result.check for result in known.results}
    assert known.errors == ()


@pytest.mark.nightly
def test_a_second_run_takes_what_was_estimated_within_a_factor_of_two(tmp_path, make_settings):
    settings = make_settings(tmp_path)
    first, second = (
        simulate_session(settings.root, replace(preset("tiny"), number=number)).key for number in ("001", "002")
    )
    assets = ("imaging_metadata", "frame_qc", *sorted(EXPENSIVE))
    assert run_session(settings, first, assets=assets).success
    platform = Platform.open(settings)
    with open_instance(settings) as instance:
        seen = look_at(platform.session(str(second)))
        ahead = look_ahead(Flight(platform, instance, seen, EXPENSIVE, {})).estimate
    summary = run_session(settings, second, assets=assets)
    assert summary.success
    took = summary.seconds["motion_registered_frames"] + summary.seconds["rois"]
    assert took / 2 <= ahead.seconds <= took * 2
    session = platform.session(str(second))
    left = sum(session.manifest(asset).total_bytes for asset in EXPENSIVE)
    assert left / 2 <= ahead.room_bytes <= left * 2


def test_a_run_asks_for_the_needs_of_its_own_session_once_its_size_is_known(recorded, materialise):
    settings, key = recorded(())
    step = "motion_registered_frames.register_fov[FOV_00]"
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(
            build_defs(settings).resolve_job_def("process_session"), tags={"dagster/partition": key.name}
        )
        needs = RunNeeds(settings, instance, run)
        before = needs.of(step)
        materialise(instance, settings, key, ("imaging_metadata",))
        flight = Flight(Platform.open(settings), instance, look_at(Platform.open(settings).at(key)), ("rois",), {})
        assert needs.of(step) == look_ahead(flight).needs[Work.REGISTER] != before
        shutil.rmtree(settings.root)
        assert needs.of("rois.find_rois[FOV_01]") == needs.of(step), "looked at once"
