"""Old runs lose lines of logs that nobody reads, and nothing that anything asks for: least of all a materialisation."""

import shutil
import sqlite3
import time
from contextlib import closing

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus

from meso_assets.cli.prune import command
from meso_assets.definitions import build_defs
from meso_assets.defs.dagster_internals import materializations, times_of_steps
from meso_assets.defs.dagster_internals.ticks import count_old_ticks
from meso_assets.io.resources import Platform
from meso_assets.runs.instance import open_instance
from meso_assets.runs.instance.pruning import prune
from meso_assets.runs.run import register_sessions
from meso_assets.runs.settings.settings import load_settings
from meso_core.simulate import simulate_session
from tests.one_status import session_status
from tests.short_session import short

ASSETS = ("imaging_metadata", "frame_times", "frame_qc")


def process(settings, instance, key):
    """Run what is quick, as a run of the daemon does."""
    defs = build_defs(settings.model_copy(update={"executor": "in_process"}))
    register_sessions(instance, Platform.open(settings), [key])
    return defs.resolve_job_def("process_session").execute_in_process(
        instance=instance,
        partition_key=str(key),
        asset_selection=[dg.AssetKey(name) for name in ASSETS],
        run_config={"loggers": {"readable": {}}},
        raise_on_error=False,
    )


def settings_of(folder, home):
    places = {"root": folder / "sessions", "home": home, "cache": folder / "cache"}
    return load_settings({**places, "atlas": "phantom", "atlas_resolution_um": 50, "quiet_minutes": 0.0})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder with a run that was well, with warnings, and one of another session that failed; made once."""
    folder = tmp_path_factory.mktemp("made")
    settings = settings_of(folder, folder / "home")
    good = simulate_session(settings.root, short(), faults=["surplus_pulses"]).key
    bad = simulate_session(settings.root, short(number="002"), faults=["dropped_pulses"]).key
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        with open_instance(settings) as instance:
            assert process(settings, instance, good).success
            assert not process(settings, instance, bad).success
    return folder, (good, bad)


@pytest.fixture
def settings(made, tmp_path):
    shutil.copytree(made[0] / "home", tmp_path / "home")
    return settings_of(made[0], tmp_path / "home")


@pytest.fixture
def ran(made, settings):
    with open_instance(settings) as instance:
        yield instance, made[1]


def told(settings, instance, keys):
    """Everything that meso asks Dagster's records."""
    platform, runs = Platform.open(settings), [record.dagster_run for record in instance.get_run_records()]
    return {
        "status": [session_status(platform, instance, key) for key in keys],
        "runs": [(run.run_id, run.status, run.tags) for run in runs],
        "steps": [times_of_steps(instance, run.run_id) for run in runs],
        "made": {(a, str(k)): materializations(instance, a, str(k)) for a in ASSETS for k in keys},
        "checks": [r.event_log_entry for run in runs for r in records_of(instance, run, "ASSET_CHECK_EVALUATION")],
        "events": [
            r.event_log_entry
            for run in runs
            for kind in ("ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "STEP_FAILURE", "RUN_FAILURE")
            for r in records_of(instance, run, kind)
        ],
    }


def records_of(instance, run, kind):
    return instance.get_records_for_run(run.run_id, of_type=getattr(dg.DagsterEventType, kind)).records


def logs(instance):
    return [e for run in instance.get_runs() for e in instance.all_logs(run.run_id)]


def test_what_is_asked_of_the_records_is_the_same_after_pruning_and_warnings_stay(settings, ran):
    instance, keys = ran
    before, lines = told(settings, instance, keys), logs(instance)
    warnings = [line.user_message for line in lines if line.level >= 30]
    assert any("pulses were dropped" in text for text in warnings)
    found = prune(instance, settings.dagster_home, 0)
    assert told(settings, instance, keys) == before
    left = logs(instance)
    assert len(left) < len(lines) - sum(one.n for one in found) / 2
    assert [line.user_message for line in left if line.level >= 30] == warnings
    assert sum(one.n_bytes for one in found) > 0


def test_a_dry_run_tells_what_a_run_removes_and_removes_nothing(settings, ran):
    instance, _ = ran
    lines, home = len(logs(instance)), settings.dagster_home
    files = {path: path.stat().st_size for path in home.rglob("*") if path.is_file()}
    dry = prune(instance, home, 0, dry_run=True)
    assert len(logs(instance)) == lines
    assert {path: path.stat().st_size for path in files} == files
    done = prune(instance, home, 0)
    assert [(one.what, one.n) for one in done] == [(one.what, one.n) for one in dry]
    assert [one.n for one in prune(instance, home, 0)] == [0, 0, 0], "and then there is nothing left to do"
    assert len(logs(instance)) == lines - next(one.n for one in done if "lines" in one.what)


def test_room_is_given_back_to_the_disk(settings, ran):
    instance, _ = ran
    run = instance.get_runs()[0]
    log = settings.dagster_home / "history" / "runs" / f"{run.run_id}.db"
    with closing(sqlite3.connect(log)) as database:
        (line,) = database.execute("SELECT event FROM event_logs WHERE dagster_event_type = 'ENGINE_EVENT'").fetchone()
        with database:
            lines = [(run.run_id, line, "ENGINE_EVENT")] * 3000
            database.executemany("INSERT INTO event_logs (run_id, event, dagster_event_type) VALUES (?, ?, ?)", lines)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = log.stat().st_size
    found = {one.what: one for one in prune(instance, settings.dagster_home, 0)}
    freed = found["lines of logs of old runs"].n_bytes
    assert freed > 1_000_000
    assert log.stat().st_size <= before - freed / 2


def test_runs_that_are_young_or_not_ended_are_left_alone(settings, ran):
    instance, _ = ran
    assert [one.n for one in prune(instance, settings.dagster_home, 1)] == [0, 0, 0]
    job = build_defs(settings).resolve_job_def("prune_records")
    going_on = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    instance.report_engine_event("at work", going_on)
    (settings.dagster_home / "storage" / going_on.run_id).mkdir(parents=True)
    prune(instance, settings.dagster_home, 0)
    assert [line.message for line in instance.all_logs(going_on.run_id)][-1:] == ["at work"]
    assert (settings.dagster_home / "storage" / going_on.run_id).is_dir()


def test_what_steps_printed_goes_with_old_runs_alone_and_no_link_is_followed(settings, ran, tmp_path):
    instance, _ = ran
    (first, second) = (run.run_id for run in instance.get_runs())
    storage = settings.dagster_home / "storage"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "data").write_text("x")
    for run_id in (first, "somebody-elses"):
        (storage / run_id / "compute_logs").mkdir(parents=True, exist_ok=True)
        (storage / run_id / "compute_logs" / "a.out").write_text("printed")
    if (storage / second).exists():
        (storage / second).rename(storage / "aside")
    (storage / second).symlink_to(elsewhere)
    (storage / first / "link").symlink_to(elsewhere)
    prune(instance, settings.dagster_home, 0)
    assert not (storage / first).exists()
    assert (storage / "somebody-elses" / "compute_logs" / "a.out").read_text() == "printed"
    assert (elsewhere / "data").read_text() == "x"


def test_a_log_that_is_in_use_or_damaged_is_left_for_the_next_time(settings, ran, monkeypatch):
    instance, _ = ran
    monkeypatch.setattr("meso_assets.runs.instance.pruning._WAIT_S", 0.05)
    (first, second) = (run.run_id for run in instance.get_runs())
    folder = settings.dagster_home / "history" / "runs"
    with closing(sqlite3.connect(folder / f"{first}.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        busy = {one.what: one.n for one in prune(instance, settings.dagster_home, 0)}
        other.execute("ROLLBACK")
    (folder / f"{second}.db").write_bytes(b"no database")
    then = {one.what: one.n for one in prune(instance, settings.dagster_home, 0)}
    for found in (busy, then):
        assert found["lines of logs of old runs"] > 0
        assert found["logs that are in use or damaged, left as they are"] == 1
    assert (folder / f"{second}.db").read_bytes() == b"no database", "`meso instance repair` has it"


def test_ticks_go_after_the_days_of_the_configuration_also_of_sensors_that_are_off(settings):
    with open_instance(settings) as instance:
        state = InstigatorState(_origin(), InstigatorType.SENSOR, InstigatorStatus.STOPPED)
        instance.add_instigator_state(state)
        day, now = 86_400, time.time()
        for days, status in (
            (1, TickStatus.SKIPPED),
            (5, TickStatus.SKIPPED),
            (5, TickStatus.SUCCESS),
            (40, TickStatus.SUCCESS),
        ):
            instance.create_tick(
                TickData(
                    instigator_origin_id=state.instigator_origin_id,
                    instigator_name="sessions_arrive",
                    instigator_type=InstigatorType.SENSOR,
                    status=status,
                    timestamp=now - days * day,
                    selector_id=state.selector_id,
                    run_ids=[],
                )
            )
        assert count_old_ticks(instance) == 2
        ticks = prune(instance, settings.dagster_home, 90)[0]
        assert ticks.n == 2
        left = instance.get_ticks(state.instigator_origin_id, state.selector_id)
        assert sorted(round((now - tick.timestamp) / day) for tick in left) == [1, 5]


def _origin():
    from dagster._core.remote_origin import (
        RegisteredCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )

    return RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("meso"), "__repository__"), "sessions_arrive"
    )


def test_the_command_and_the_job_do_the_same(settings, ran, monkeypatch):
    instance, _ = ran
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    dry = CliRunner().invoke(command, ["--dry-run", "--days", "0"])
    assert dry.exit_code == 0, dry.output
    assert "would go" in dry.output
    lines = len(logs(instance))
    job = build_defs(settings).resolve_job_def("prune_records")
    assert job.execute_in_process(instance=instance).success
    old = [run for run in instance.get_runs() if run.job_name == "process_session"]
    assert sum(len(instance.all_logs(run.run_id)) for run in old) == lines, "they are younger than 90 days"
    done = CliRunner().invoke(command, ["--days", "0"])
    assert "MB freed" in done.output
    assert sum(len(instance.all_logs(run.run_id)) for run in old) < lines
