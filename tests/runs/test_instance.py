"""Dagster's records are made once, looked at before use, backed up, and set aside when they are damaged."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import dagster as dg
import pytest
import yaml
from click.testing import CliRunner
from dagster_home import INDEX, made_home, partitions, spoil

from meso_assets.cli import group
from meso_assets.defs.running.dead_runs import PROCESS_TAG, end_dead_runs
from meso_assets.runs.executors import lead
from meso_assets.runs.instance import CONFIGURATION, in_use, open_instance, prepare_home, records, size_pool, sole_use
from meso_assets.runs.settings.settings import load_settings
from meso_core.errors import StorageError
from meso_core.processes import this_process


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("MESO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESO_ROOT", str(tmp_path / "Subjects"))
    return load_settings()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Home with records, one of them a partition; made once."""
    return made_home(tmp_path_factory.mktemp("made"))


@pytest.fixture
def home(settings, made):
    return shutil.copytree(made, settings.dagster_home)


def test_first_commands_at_once_make_one_whole_database(settings, tried):
    tried("races: first commands at once", 3)
    code = "from meso_assets.runs.instance import open_instance\n"
    code += "from meso_assets.runs.settings.settings import load_settings\n"
    code += "with open_instance(load_settings()) as instance: print(len(instance.get_runs()))"
    at_once = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [process.communicate(timeout=200) for process in at_once]
    assert [out for out, _ in told] == ["0\n"] * 3, told
    assert {records.what_is_wrong(settings.dagster_home / name, thorough=True) for name in records.MAIN} == {""}


def test_records_of_a_new_home_and_of_its_runs_are_packed_closely_and_can_be_read_while_they_are_written(settings):
    with open_instance(settings) as instance:
        instance.report_runless_asset_event(dg.AssetObservation("opened"))

        @dg.job
        def nothing():
            pass

        run = instance.create_run_for_job(job_def=nothing)
        instance.report_engine_event("begun", run)
    for name in (*records.MAIN, f"history/runs/{run.run_id}.db"):
        with closing(sqlite3.connect(settings.dagster_home / name)) as database:
            assert database.execute("PRAGMA page_size").fetchone() == (1024,), name
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",), name


def test_records_that_are_there_keep_their_pages(settings, home):
    (home / INDEX).unlink()
    with closing(sqlite3.connect(home / INDEX)) as database:
        database.execute("PRAGMA page_size = 4096")
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        database.commit()
    from sqlalchemy import create_engine

    prepare_home(settings)
    with create_engine(f"sqlite:///{home / INDEX}").connect() as connection:
        assert connection.exec_driver_sql("PRAGMA page_size").scalar() == 4096
        connection.exec_driver_sql("CREATE TABLE more (x)")
        connection.commit()
        assert connection.exec_driver_sql("PRAGMA page_size").scalar() == 4096


def test_records_that_a_killed_command_left_half_made_are_made_anew(settings, home):
    # it was killed between the renames: two files are there, one is not, and the folder of the new ones is
    (home / INDEX).unlink()
    (home / INDEX).with_name("index.db-wal").write_bytes(b"of the file that is gone")
    (home / ".new" / "history").mkdir(parents=True)
    (home / ".new" / "history" / "runs.db").write_bytes(b"half")
    assert partitions(settings) == []
    assert not (home / ".new").exists()


@pytest.mark.parametrize(("name", "content"), [*zip(records.MAIN, [b"", b"no database" * 1000, b""], strict=True)])
def test_damaged_records_are_named_with_a_remedy_that_works(settings, home, name, content):
    (home / name).write_bytes(content)
    with pytest.raises(StorageError, match=rf"{name}.*`meso instance repair`"), open_instance(settings):
        pass
    run = CliRunner().invoke(group, ["instance", "repair"])
    assert run.exit_code == 0, run.output
    assert f"{name}: " in run.output
    (aside,) = (home / "damaged").rglob(os.path.basename(name))  # noqa: PTH119  a name below the home
    assert aside.read_bytes() == content, "set aside, not deleted"
    assert partitions(settings) in ([], ["kept"])


def test_records_that_somebody_locks_are_not_called_damaged(home, monkeypatch):
    monkeypatch.setattr(records, "_WAIT_S", 0.0)
    with closing(sqlite3.connect(home / INDEX, isolation_level=None)) as user:
        user.execute("PRAGMA journal_mode=DELETE")
        user.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="locked"):
            records.repair(home)
    assert not (home / "damaged").exists()


def test_more_than_one_version_of_the_layout_is_damage(settings, home):
    with closing(sqlite3.connect(home / INDEX)) as database:
        database.execute("INSERT INTO alembic_version VALUES ('another')")
        database.commit()
    with pytest.raises(StorageError, match="expected one version of its layout, found 2"), open_instance(settings):
        pass


def test_damage_deep_inside_is_found_by_check_and_repaired_from_the_last_backup(settings, home):
    folder = records.back_up(home)
    spoil(home / INDEX)
    check = CliRunner().invoke(group, ["instance", "check"])
    assert check.exit_code == 1
    assert INDEX in [line.split(" ")[0] for line in check.output.splitlines()], "and what is wrong with it, behind it"
    (repaired,) = records.repair(home)
    assert repaired.restored == folder / INDEX
    assert partitions(settings) == ["kept"]
    assert CliRunner().invoke(group, ["instance", "check"]).exit_code == 0


def test_a_damaged_backup_is_passed_over_for_an_older_one(settings, home):
    older = records.back_up(home)
    spoil(records.back_up(home) / INDEX)
    spoil(home / INDEX)
    assert [one.restored for one in records.repair(home)] == [older / INDEX]
    assert partitions(settings) == ["kept"]


def test_a_backup_holds_what_others_have_just_written(settings, home):
    with open_instance(settings) as instance:
        instance.add_dynamic_partitions("session", ["just now"])
        folder = records.back_up(home)
    with closing(sqlite3.connect(folder / INDEX)) as database:
        (found,) = database.execute("SELECT count(*) FROM dynamic_partitions").fetchone()
    assert found == 2


def test_records_in_use_are_not_repaired(settings, home):
    with open_instance(settings), pytest.raises(StorageError, match="Stop `meso dev`"), sole_use(home):
        pass
    with sole_use(home):
        pass


def test_records_are_in_use_as_long_as_a_run_or_the_interface_lives(home):
    code = "from pathlib import Path; from meso_assets.runs.instance import in_use\n"
    code += f"with in_use(Path({str(home)!r})): print('ready', flush=True); input()"
    user = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    user.stdout.readline()
    with pytest.raises(StorageError), sole_use(home):
        pass
    user.kill()
    user.communicate()
    with sole_use(home):
        pass


def test_an_older_layout_is_brought_up_to_date_behind_a_backup(settings, home, monkeypatch):
    (home / ".dagster-version").write_text("1.0.0\n")
    upgraded = []
    monkeypatch.setattr("meso_assets.runs.instance.layouts_are_current", lambda _: False)
    monkeypatch.setattr(dg.DagsterInstance, "upgrade", lambda _: upgraded.append(1))
    with open_instance(settings), open_instance(settings):
        pass
    assert len(upgraded) == 1
    assert len(records.backups(home)) == 1


def test_records_in_use_are_not_brought_to_another_layout(settings, home, monkeypatch):
    (home / ".dagster-version").write_text("1.0.0\n")
    monkeypatch.setattr("meso_assets.runs.instance.layouts_are_current", lambda _: False)
    with (home / ".in-use.lock").open() as user:
        fcntl.flock(user, fcntl.LOCK_SH)
        with pytest.raises(StorageError, match="Stop `meso dev`"), open_instance(settings):
            pass


def test_an_interrupted_run_is_run_again_by_dagster_but_not_for_ever(settings, home):
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def empty() -> None:
        nothing()

    again, root = [], None
    with open_instance(settings) as instance:
        for _ in range(4):
            of_root = {"dagster/root_run_id": root, "dagster/parent_run_id": root} if root else {}
            run = instance.create_run_for_job(
                empty,
                status=dg.DagsterRunStatus.STARTED,
                tags=of_root,
                root_run_id=root,
                parent_run_id=root,
            )
            root = root or run.run_id
            dead = {"run_id": run.run_id, **replace(this_process(), start=1).as_record()}
            instance.add_run_tags(run.run_id, {PROCESS_TAG: json.dumps(dead)})
            assert [found.run_id for found in end_dead_runs(instance)] == [run.run_id]
            again.append(instance.get_run_by_id(run.run_id).tags["dagster/will_retry"])
    assert again == ["true", "true", "false", "false"]


def test_another_database_is_left_to_those_who_chose_it(home):
    assert records.keeps_sqlite(home)
    (home / "dagster.yaml").write_text("storage:\n  postgres:\n    postgres_url: {env: X}\n")
    assert not records.keeps_sqlite(home)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (sqlite3.OperationalError("database or disk is full"), "Free space"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "permissions"),
        (sqlite3.DatabaseError("database disk image is malformed"), "meso instance repair"),
        (OSError(errno.ENOSPC, "No space left on device"), "Free space"),
        (OSError(errno.ENOENT, "No such file"), None),
        (RuntimeError("something else"), None),
    ],
)
def test_an_error_of_the_records_is_named_wherever_it_comes_up(error, told):
    outer = RuntimeError("while it did something")
    outer.__cause__ = error
    named = records.error_of_records(outer)
    assert (told is None and named is None) or told in str(named)


def test_records_on_a_share_that_keeps_no_locks_are_refused_with_what_to_do(make_share):
    home = make_share().mount / "home"
    home.mkdir()
    with pytest.raises(StorageError, match=r"keeps locks.*Set MESO_HOME to a folder of a local disk"), in_use(home):
        pass


def test_a_full_disk_under_a_new_home_is_told_as_one(settings, monkeypatch):
    """Else the remedy is another folder, which does not help."""
    whole = os.replace

    def no_room(source, target):
        if os.path.basename(target) == "dagster.yaml":  # noqa: PTH119  a name
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(source, target)

    monkeypatch.setattr(os, "replace", no_room)
    with pytest.raises(StorageError, match=r"^\S+dagster\.yaml: expected room on the disk.*Free space"):
        prepare_home(settings)
    monkeypatch.setattr(os, "replace", whole)  # the remedy
    assert prepare_home(settings) == settings.dagster_home


def places(instance):
    return instance.event_log_storage.get_concurrency_info("suite2p").slot_count


def test_a_command_that_only_looks_leaves_a_cluster_its_places_and_a_run_sets_those_of_its_engine(
    settings, home, monkeypatch
):
    cluster = settings.model_copy(update={"executor": "slurm", "slurm_jobs": 40})
    with open_instance(cluster) as instance:
        size_pool(instance, cluster)
    with open_instance(settings) as instance:
        assert places(instance) == 40

        @dg.job
        def nothing():
            pass

        monkeypatch.setattr(lead, "tell_children", lambda: None)
        run = instance.create_run_for_job(job_def=nothing)
        context = SimpleNamespace(instance=instance, dagster_run=run, log=None)
        idle = SimpleNamespace(execute=lambda *_: iter(()))
        assert list(lead.Lead(idle, settings).execute(context, SimpleNamespace(step_keys_to_execute=()))) == []
        assert places(instance) == settings.places != 40


def runs_at_once(home):
    """How many runs, and how many long ones, the configuration lets be at work at once."""
    runs = yaml.safe_load((home / "dagster.yaml").read_text())["concurrency"]["runs"]
    (of_work,) = [limit for limit in runs["tag_concurrency_limits"] if limit["key"] == "meso/work"]
    assert of_work["value"] == "long"
    return runs["max_concurrent_runs"], of_work["limit"]


def test_a_home_that_is_made_for_a_cluster_has_more_runs_at_once_and_keeps_its_number(settings, monkeypatch):
    cluster = settings.model_copy(update={"executor": "k8s"})
    home = prepare_home(cluster)
    assert runs_at_once(home) == (10, 8)
    on_cluster = (home / "dagster.yaml").read_bytes()
    prepare_home(settings)
    assert runs_at_once(home) == (10, 8), "whoever opens it next"
    now = CONFIGURATION.read_bytes()

    def of_earlier(text):
        return text.replace(b"nux:", b"# of an earlier version\nnux:")

    before_limits = re.sub(rb"max_concurrent_runs: 4", b"max_concurrent_runs: 2", of_earlier(now))
    before_limits = re.sub(rb'      - key: "meso/work"\n.*\n.*\n', b"", before_limits)
    earlier = {hashlib.sha256(text).hexdigest() for text in (of_earlier(now), before_limits)}
    monkeypatch.setattr("meso_assets.runs.instance._EARLIER", earlier)
    had_eight = before_limits.replace(b"concurrent_runs: 2\n", b"concurrent_runs: 8\n")
    made = [(of_earlier(now), now), (of_earlier(on_cluster), on_cluster), (before_limits, now), (had_eight, on_cluster)]
    for text, follows in made:
        (home / "dagster.yaml").write_bytes(text)
        prepare_home(settings)
        assert (home / "dagster.yaml").read_bytes() == follows, "what an earlier version made keeps its long runs"
    edited = before_limits.replace(b"concurrent_runs: 2\n", b"concurrent_runs: 5\n")
    (home / "dagster.yaml").write_bytes(edited)
    prepare_home(cluster)
    assert (home / "dagster.yaml").read_bytes() == edited, "a lab's edits stay"
