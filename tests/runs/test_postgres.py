"""Records in PostgreSQL: chosen by one variable, brought over from SQLite with their history, copied, thinned."""

import hashlib
import os
import shutil
import subprocess
import warnings
from contextlib import closing

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.definitions.run_status_sensor_definition import RunStatusSensorCursor
from dagster._core.definitions.sensor_definition import SensorType
from dagster._core.loader import LoadingContextForTest
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)

from meso_assets.cli import group
from meso_assets.runs.instance import CONFIGURATION, in_use, on_server, open_instance, prepare_home, records
from meso_assets.runs.instance import migration as migrating
from meso_assets.runs.instance.migration import migrate
from meso_assets.runs.instance.migration.comparing import differences
from meso_assets.runs.instance.migration.copying import Source
from meso_assets.runs.instance.migration.numbers import Numbers, opened
from meso_assets.runs.instance.pruning import prune
from meso_assets.runs.settings.settings import load_settings
from meso_core.errors import SettingsError, StorageError
from tests.runs.test_prune import _origin
from tests.runs.test_renaming import KEYS, all_is_told_under_the_new_name, made_earlier, settings_in, told

SESSIONS = dg.DynamicPartitionsDefinition(name="session")
RAW = dg.AssetSpec("raw", partitions_def=SESSIONS)
SECRET = "s3cret/of the tests"
NOBODY = f"postgresql://meso:{SECRET.replace('/', '%2F').replace(' ', '%20')}@127.0.0.1:1/meso"


@dg.asset(partitions_def=SESSIONS, deps=[RAW], code_version="1", check_specs=[dg.AssetCheckSpec("fits", asset="times")])
def times(context: dg.AssetExecutionContext):
    context.log.warning("a pulse is missing")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # of data versions, which Dagster still calls new
        made = dg.Output(1, data_version=dg.DataVersion(context.partition_key))
    yield made
    yield dg.AssetCheckResult(passed=context.partition_key != "b")


@dg.asset(partitions_def=SESSIONS, deps=[times], code_version="1")
def rois(context: dg.AssetExecutionContext):
    context.log.info("at work")


DEFS = dg.Definitions([RAW, times, rois])


def seen(instance, session, version):
    tags = {"dagster/data_version": version}
    instance.report_runless_asset_event(dg.AssetObservation("raw", partition=session, tags=tags))


def make_history(instance):
    """Make runs of sessions, one of which is stale, two runs at once, sensors with cursors, an asset that was wiped."""
    instance.add_dynamic_partitions("session", ["a", "b", "c"])
    for session in ("a", "b", "a"):
        seen(instance, session, "1")
        assert dg.materialize([RAW, times, rois], instance=instance, partition_key=session).success
    seen(instance, "b", "2")
    instance.report_runless_asset_event(dg.AssetMaterialization("gone", partition="a"))
    instance.wipe_assets([dg.AssetKey("gone")])
    two = [instance.create_run_for_job(DEFS.resolve_implicit_global_asset_job_def(), tags={"n": n}) for n in "12"]
    for n in range(6):
        instance.report_engine_event(f"line {n}", two[n % 2])
        if n == 3:
            seen(instance, "c", "1")
    instance.report_run_failed(two[0], "its reason")
    cursors = {
        SensorType.STANDARD: "SP035/2023-03-03/001",
        SensorType.ASSET: str(last_number(instance)),
        SensorType.RUN_STATUS: RunStatusSensorCursor(record_id=last_number(instance), record_timestamp="t").to_json(),
    }
    for kind, cursor in cursors.items():
        state = InstigatorState(
            _origin()._replace(instigator_name=kind.value),
            InstigatorType.SENSOR,
            InstigatorStatus.RUNNING,
            SensorInstigatorData(cursor=cursor, sensor_type=kind),
        )
        instance.add_instigator_state(state)
        tick = TickData(
            instigator_origin_id=state.instigator_origin_id,
            instigator_name=kind.value,
            instigator_type=InstigatorType.SENSOR,
            status=TickStatus.SUCCESS,
            timestamp=1.7e9,
            selector_id=state.selector_id,
            run_ids=[],
        )
        instance.create_tick(tick)
    instance.event_log_storage.set_concurrency_slots("of a lab", 3)
    instance.run_storage.set_cursor_values({"of the daemon": "5"})


def last_number(instance):
    return instance.fetch_observations(dg.AssetKey("raw"), limit=1).records[0].storage_id


def asked(instance):
    """All that Dagster tells of its records, but the numbers of events."""
    resolver = CachingStaleStatusResolver(
        instance, DEFS.resolve_asset_graph(), loading_context=LoadingContextForTest(instance)
    )
    runs, states = instance.get_run_records(), instance.all_instigator_state()
    events = {
        (kind, name, session): [
            (record.run_id, record.timestamp, of_event(record))
            for record in fetch(dg.AssetRecordsFilter(dg.AssetKey(name), asset_partitions=[session]), limit=100).records
        ]
        for kind, fetch in (("made", instance.fetch_materializations), ("seen", instance.fetch_observations))
        for name in ("raw", "times", "rois", "gone")
        for session in "abc"
    }
    checks = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("times"), "fits"), limit=100
    )
    return {
        "runs": [(r.dagster_run, r.start_time, r.end_time, r.create_timestamp) for r in runs],
        "logs": {r.dagster_run.run_id: [line(e) for e in instance.all_logs(r.dagster_run.run_id)] for r in runs},
        "jobs": [
            instance.get_job_snapshot(r.dagster_run.job_snapshot_id) for r in runs if r.dagster_run.job_snapshot_id
        ],
        "events": events,
        "checks": [(c.run_id, c.status, c.partition, c.event.timestamp if c.event else None) for c in checks],
        "stale": {(n, s): resolver.get_status(dg.AssetKey(n), s).value for n in ("times", "rois") for s in "ab"},
        "causes": {(n, s): len(resolver.get_stale_causes(dg.AssetKey(n), s)) for n in ("times", "rois") for s in "ab"},
        "assets": sorted(key.to_user_string() for key in instance.get_asset_keys()),
        "partitions": instance.get_dynamic_partitions("session"),
        "sensors": sorted((s.instigator_name, s.status.value) for s in states),
        "ticks": [
            (t.timestamp, t.status) for s in states for t in instance.get_ticks(s.instigator_origin_id, s.selector_id)
        ],
        "pools": instance.event_log_storage.get_concurrency_info("of a lab").slot_count,
        "daemon": instance.run_storage.get_cursor_values({"of the daemon"}),
    }


def of_event(record):
    event = record.event_log_entry.asset_materialization or record.event_log_entry.asset_observation
    return {name: value for name, value in (event.tags or {}).items() if "event_pointer" not in name}


def line(entry):
    kind = entry.dagster_event.event_type_value if entry.dagster_event else None
    return entry.timestamp, kind, entry.step_key, entry.user_message, entry.level


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Home with a history in SQLite; made once."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        with open_instance(load_settings({"home": folder})) as instance:
            make_history(instance)
            answers = asked(instance)
    return folder, answers


@pytest.fixture
def settings(made, tmp_path, monkeypatch):
    monkeypatch.setenv("MESO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESO_ROOT", str(tmp_path / "Subjects"))
    shutil.copytree(made[0], tmp_path / "home")
    return load_settings()


@pytest.fixture
def address(postgres, monkeypatch):
    """Address of a database with Dagster's tables and nothing in them, which the environment names."""
    monkeypatch.setenv("MESO_POSTGRES", found := postgres.new_database(tables=True))
    return found


def files(home):
    """What the SQLite files hold."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in home.rglob("*.db")}


def rows(address, table):
    with on_server.connected(address) as server:
        there = migrating._layout(server).tables
        return migrating.count(server, migrating._layout(server), table) if table in there else 0


def test_all_that_dagster_tells_is_the_same_after_the_records_went_to_postgresql(made, settings, postgres, monkeypatch):
    monkeypatch.setenv("MESO_POSTGRES", postgres.new_database())
    home = settings.dagster_home
    before = files(home)
    done = migrate(settings)
    assert files(home) == before, "the files are only read"
    assert str(home / "history") in str(done)
    with open_instance(settings) as instance:
        assert "postgres" in type(instance.run_storage).__module__
        assert asked(instance) == made[1]
    assert made[1]["stale"] == {(n, s): "STALE" if (n, s) == ("times", "b") else "FRESH" for n, s in made[1]["stale"]}
    assert migrate(settings) is None, "and then there is nothing left to do"


def test_events_name_the_same_events_by_their_new_numbers(settings, address):
    with open_instance_of_sqlite(settings) as instance:
        before = named(instance)
    migrate(settings)
    with open_instance(settings) as instance:
        assert named(instance) == before
        seen(instance, "c", "2")
        assert instance.fetch_observations(dg.AssetKey("raw"), limit=1).records[0].asset_observation.partition == "c"
        cursors = {s.instigator_name: s.instigator_data.cursor for s in instance.all_instigator_state()}
        last = instance.fetch_observations(dg.AssetKey("raw"), limit=2).records[1].storage_id
    assert cursors["STANDARD"] == "SP035/2023-03-03/001"
    assert cursors["ASSET"] == str(last)
    assert RunStatusSensorCursor.from_json(cursors["RUN_STATUS"]).record_id == last


def open_instance_of_sqlite(settings):
    return dg.DagsterInstance.from_config(str(settings.dagster_home))


def named(instance):
    """Which event each materialisation and check names, by run and time."""
    found, by_number = [], {}
    for fetch in (instance.fetch_materializations, instance.fetch_observations):
        for name in ("raw", "times", "rois"):
            for record in fetch(dg.AssetKey(name), limit=100).records:
                by_number[record.storage_id] = (record.run_id, record.timestamp)
    for name in ("times", "rois"):
        for record in instance.fetch_materializations(dg.AssetKey(name), limit=100).records:
            tags = record.asset_materialization.tags
            found += [(key, by_number[int(value)]) for key, value in sorted(tags.items()) if "event_pointer" in key]
    history = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey("times"), "fits"), limit=100
    )
    for one in history:
        about = getattr(one.event.dagster_event.event_specific_data, "target_materialization_data", None)
        found += [("check", by_number[about.storage_id])] if about else []
    assert len(found) > 6
    return found


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.nightly
def test_a_migration_that_is_killed_leaves_all_as_it_was_and_begins_anew(made, settings, address, tried):
    home = settings.dagster_home
    before, n_calls = files(home), 0

    def kill_at(n):
        def progress(done, total, what):
            nonlocal n_calls
            n_calls += 1
            if n_calls == n:
                raise Killed

        return progress

    for n in (1, 9, 20):  # the last one: all rows are there, and were not compared
        n_calls = 0
        with pytest.raises(Killed):
            migrate(settings, kill_at(n))
        tried("kills: of a migration to PostgreSQL")
        assert records.keeps_sqlite(home)
        assert rows(address, "runs") == rows(address, "event_logs") == 0
    migrate(settings)
    assert files(home) == before
    with open_instance(settings) as instance:
        assert asked(instance) == made[1]


@pytest.mark.nightly
def test_a_migration_that_was_killed_before_the_home_names_the_server_needs_no_second_copy(
    made, settings, address, monkeypatch, tried
):
    tried("kills: of a migration to PostgreSQL")

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(migrating, "read_plain", killed)  # of dagster.yaml, when all is copied
        with pytest.raises(Killed):
            migrate(settings)
    assert records.keeps_sqlite(settings.dagster_home)
    assert rows(address, "runs") == len(made[1]["runs"])
    with monkeypatch.context() as patch:
        patch.setattr(migrating, "copy_all", killed)
        migrate(settings)
    with open_instance(settings) as instance:
        assert asked(instance) == made[1]


def test_records_that_somebody_uses_and_a_database_of_others_are_refused(settings, address, postgres, monkeypatch):
    home = settings.dagster_home
    with in_use(home), pytest.raises(StorageError, match="Stop `meso dev`"):
        migrate(settings)
    monkeypatch.setenv("MESO_POSTGRES", others := postgres.new_database())
    with on_server.connected(others) as server:
        server.exec_driver_sql("CREATE TABLE subjects (name text)")
        server.commit()
    with pytest.raises(StorageError, match=r"tables of another program: subjects.*CREATE DATABASE"):
        migrate(settings)
    monkeypatch.setenv("MESO_POSTGRES", address)
    monkeypatch.delenv("DAGSTER_HOME")
    another = settings.model_copy(update={"home": home.parent.parent / "another"})
    with open_instance(another) as instance:
        instance.add_dynamic_partitions("session", ["of another lab"])
    monkeypatch.delenv("DAGSTER_HOME")
    with pytest.raises(StorageError, match=r"other records.*an empty database"):
        migrate(settings)
    assert records.keeps_sqlite(home)
    monkeypatch.delenv("DAGSTER_HOME")
    with open_instance(another) as instance:
        assert instance.get_dynamic_partitions("session") == ["of another lab"]


def test_a_database_that_answers_otherwise_does_not_become_the_homes(settings, address, monkeypatch):
    monkeypatch.setattr(migrating, "differences", lambda *_: ["rois: the last events of 1 partitions differ"])
    with pytest.raises(StorageError, match=r"the same answers.*rois: the last events"):
        migrate(settings)
    assert records.keeps_sqlite(settings.dagster_home)
    assert rows(address, "runs") == 0
    monkeypatch.undo()


def test_each_row_that_is_lost_is_a_difference(settings, address):
    migrate(settings)
    source, numbers = Source(settings.dagster_home), Numbers(settings.dagster_home)
    with on_server.connected(address) as server, server.begin():
        layout = migrating._layout(server)
        assert differences(source, server, layout, numbers) == []
        for lost in ("run_tags", "event_logs", "asset_event_tags", "asset_check_executions", "instigators", "kvs"):
            with server.begin_nested() as kept:
                server.exec_driver_sql(f"DELETE FROM {lost} WHERE id IN (SELECT max(id) FROM {lost})")
                assert differences(source, server, layout, numbers), lost
                kept.rollback()
        assert differences(source, server, layout, numbers) == []


def test_a_new_home_keeps_its_records_on_the_server_that_the_environment_names(tmp_path, address, monkeypatch):
    monkeypatch.setenv("MESO_HOME", str(tmp_path / "new"))
    settings = load_settings()
    with open_instance(settings) as instance:
        instance.add_dynamic_partitions("session", ["kept"])
    assert not list(settings.dagster_home.rglob("*.db"))
    assert (settings.dagster_home / "dagster.yaml").read_text().startswith(CONFIGURATION.read_text())
    assert rows(address, "dynamic_partitions") == 1
    monkeypatch.delenv("MESO_POSTGRES")
    with pytest.raises(SettingsError, match=r"variable MESO_POSTGRES.*not set"), open_instance(settings):
        pass


def test_a_home_in_sqlite_and_a_server_in_the_environment_are_not_mixed_up(settings, address):
    with (
        pytest.raises(SettingsError, match=r"SQLite files.*`meso instance migrate`, or unset"),
        open_instance(settings),
    ):
        pass


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (NOBODY, r"127\.0\.0\.1:1/meso.*refused"),
        (f"postgresql://meso:{SECRET}@host:port/meso", "an address of PostgreSQL"),
        (f"mysql://meso:{SECRET}@host/meso", "an address of PostgreSQL"),
        ("", "found nothing"),
    ],
)
def test_a_server_that_cannot_be_had_is_named_and_no_password_shown(settings, monkeypatch, given, told):
    monkeypatch.setenv("MESO_POSTGRES", given)
    run = CliRunner().invoke(group, ["instance", "migrate"])
    assert isinstance(run.exception, SettingsError | StorageError)
    with pytest.raises(type(run.exception), match=told) as found:
        raise run.exception
    assert SECRET not in f"{found.value}{run.output}"
    assert records.keeps_sqlite(settings.dagster_home)


def test_the_password_is_in_no_file_of_the_home_and_in_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("MESO_HOME", str(tmp_path))
    monkeypatch.setenv("MESO_POSTGRES", NOBODY)
    home = prepare_home(load_settings())
    with pytest.raises(StorageError, match="refused") as found, open_instance(load_settings()):
        pass
    told = [
        *(path.read_text() for path in tmp_path.rglob("*") if path.is_file()),
        str(found.value),
        str(load_settings()),
    ]
    assert not any(SECRET in text or SECRET.replace("/", "%2F") in text for text in told)
    assert "env: MESO_POSTGRES" in (home / "dagster.yaml").read_text()


def test_an_error_of_the_server_in_the_middle_of_something_is_not_called_damage(settings, address):
    from sqlalchemy.exc import OperationalError

    migrate(settings)
    lost = OperationalError("SELECT 1", {}, RuntimeError("server closed the connection unexpectedly\nmore"))
    named = records.error_of_records(lost)
    assert "server closed the connection unexpectedly" in str(named)
    assert "repair" not in str(named)


@pytest.mark.nightly
def test_old_runs_lose_the_same_lines_as_in_sqlite(made, settings, address, tmp_path):
    with open_instance_of_sqlite(settings) as instance:
        dry = prune(instance, settings.dagster_home, 0, dry_run=True)
    migrate(settings)
    with open_instance(settings) as instance:
        assert [one.n for one in prune(instance, settings.dagster_home, 0, dry_run=True)] == [one.n for one in dry]
        assert [one.n for one in prune(instance, settings.dagster_home, 0)] == [one.n for one in dry]
        after = asked(instance)
        assert [one.n for one in prune(instance, settings.dagster_home, 0)] == [0, 0, 0]
    assert dry[1].n > 10
    left = {name: answer for name, answer in made[1].items() if name not in ("logs", "ticks")}
    assert {name: after[name] for name in left} == left
    warned = [one for lines in made[1]["logs"].values() for one in lines if one[4] >= 30]
    assert [one for lines in after["logs"].values() for one in lines if one[4] >= 30] == warned


def test_a_back_up_of_the_files_put_in_their_place_answers_the_same(made, settings):
    home = settings.dagster_home
    folder = records.back_up(home)
    for name in ("history", "schedules"):
        shutil.rmtree(home / name)
        shutil.copytree(folder / name, home / name)
    with open_instance(settings) as instance:
        assert asked(instance) == made[1]


def test_tables_of_another_dagster_are_left_to_whoever_stops_all_machines(tmp_path, address, monkeypatch):
    monkeypatch.setenv("MESO_HOME", str(tmp_path))
    monkeypatch.setattr("meso_assets.runs.instance.layouts_are_current", lambda _: False)
    with (
        pytest.raises(StorageError, match=r"another version.*`dagster instance migrate`"),
        open_instance(load_settings()),
    ):
        pass


@pytest.mark.nightly
def test_a_back_up_of_the_server_is_restored_by_postgresqls_own_program(made, settings, address, postgres, monkeypatch):
    migrate(settings)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    lacking = CliRunner().invoke(group, ["instance", "backup"], env={"PATH": "/nowhere"})
    assert "postgresql-client" in str(lacking.exception)
    monkeypatch.setenv("PATH", f"{postgres.programs}:{os.environ['PATH']}")
    assert CliRunner().invoke(group, ["instance", "backup"]).exit_code == 0
    (dump,) = (settings.dagster_home / "backups").glob("*.dump")
    monkeypatch.setenv("MESO_POSTGRES", postgres.new_database())
    command = ["pg_restore", "--no-owner", f"--dbname={os.environ['MESO_POSTGRES']}", dump]
    subprocess.run(command, check=True, capture_output=True)
    with open_instance(settings) as instance:
        assert asked(instance) == made[1]
        seen(instance, "c", "3")


@pytest.mark.nightly
def test_what_meso_tells_of_sessions_is_the_same_and_they_can_be_renamed_there(tmp_path, postgres, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    settings = settings_in(made_earlier(tmp_path))
    with open_instance(settings) as instance:
        before = {key: told(instance, settings, key, str(key)) for key in KEYS}
    monkeypatch.setenv("MESO_POSTGRES", postgres.new_database())
    migrate(settings)
    with open_instance(settings) as instance:
        assert repr({key: told(instance, settings, key, str(key)) for key in KEYS}) == repr(before)
    all_is_told_under_the_new_name(settings)


def test_lines_of_runs_at_once_come_in_the_order_of_their_runs(settings):
    home = settings.dagster_home
    numbers, found = Numbers(home), []
    for log in numbers.logs:
        lines = list(numbers.lines(log))
        assert [one.new for one in lines] == sorted(one.new for one in lines)
        found += [one.new for one in lines]
    with closing(opened(home / "history/runs/index.db")) as index:
        old = [row[0] for row in index.execute("SELECT id FROM event_logs ORDER BY id")]
    mirrored = [numbers.of(number) for number in old]
    assert mirrored == sorted(mirrored)
    assert sorted([*found, *mirrored]) == list(range(1, numbers.n_events + 1)), "each number once"
    assert [numbers.of(old[0] - 1), numbers.of(old[-1] + 99)] == [0, mirrored[-1]]
