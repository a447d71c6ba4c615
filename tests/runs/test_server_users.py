"""Who has records in PostgreSQL alone, and who uses them: seen by other machines and other homes of the same server."""

import shutil
import signal
import subprocess
import sys
import time

import pytest

from meso_assets.runs.instance import in_use, on_server, server_users, sole_use
from meso_core.errors import StorageError

CODE = """
import sys
from pathlib import Path
from meso_assets.runs.instance import in_use, sole_use
with {"in_use": in_use, "sole_use": sole_use}[sys.argv[1]](Path(sys.argv[2])):
    print("ready", flush=True)
    input()
"""


@pytest.fixture
def address(postgres, monkeypatch):
    monkeypatch.setenv("MESO_POSTGRES", found := postgres.new_database())
    return found


@pytest.fixture
def homes(address, tmp_path):
    """Two homes that name the same server, as on two machines."""
    made = [tmp_path / name for name in ("one", "other")]
    for home in made:
        home.mkdir()
        (home / "dagster.yaml").write_text(on_server.STORAGE)
    return made


@pytest.fixture
def another_process():
    """Start a process that uses records of a home, or has them alone, and wait until it does."""
    started = []

    def start(how, home):
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, how, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def free_at_last(home, within_s=20.0):
    """Wait until a home can be had alone: a server notices a moment later that a process is gone."""
    until = time.monotonic() + within_s
    while True:
        try:
            with sole_use(home):
                return
        except StorageError:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_who_uses_them_from_another_home_is_named_until_it_is_killed(homes, another_process, tried):
    user = another_process("in_use", homes[0])
    told = rf"PostgreSQL at .*nobody else uses.*process {user.pid}.*on that machine"
    with pytest.raises(StorageError, match=told), sole_use(homes[1]):
        pass
    user.send_signal(signal.SIGKILL)
    free_at_last(homes[1])
    tried("clusters: records are wanted alone that another home uses")


def test_records_that_somebody_has_alone_are_not_used_from_another_home(homes, another_process):
    alone = another_process("sole_use", homes[0])
    with pytest.raises(StorageError, match=rf"process {alone.pid}"), in_use(homes[1]):
        pass
    alone.communicate(b"\n")
    with in_use(homes[1]), in_use(homes[0]):
        pass


def test_two_databases_of_one_server_are_used_apart(homes, another_process, postgres, monkeypatch):
    another_process("in_use", homes[0])
    monkeypatch.setenv("MESO_POSTGRES", postgres.new_database())
    with sole_use(homes[1]):
        pass


def test_a_process_that_uses_them_twice_holds_one_connection_and_both_ends_count(homes, address, another_process):
    def n_connections():
        with on_server.connected(address) as server:
            asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'meso on %%'"
            return server.exec_driver_sql(asked).scalar_one()

    with in_use(homes[0]):
        with in_use(homes[0]):
            assert n_connections() == 1
        with pytest.raises(StorageError, match="nobody else"), sole_use(homes[1]):
            pass
    free_at_last(homes[1])


def test_a_server_that_was_restarted_sees_its_users_again(homes, postgres, monkeypatch, tried):
    monkeypatch.setattr(server_users, "_LOOK_EVERY_S", 0.1)
    with in_use(homes[0]):
        postgres.stop()
        time.sleep(0.5)
        postgres.start()
        until = time.monotonic() + 30.0
        while True:
            try:
                with sole_use(homes[1]):
                    pass
            except StorageError as error:
                if "process" in str(error):
                    break
            assert time.monotonic() < until, "the user is not seen"
            time.sleep(0.2)
    free_at_last(homes[1])
    tried("clusters: the server of the records is restarted while they are in use")


def test_a_server_that_is_away_is_named_without_its_password(homes, monkeypatch):
    monkeypatch.setenv("MESO_POSTGRES", "postgresql://meso:s3cret@127.0.0.1:1/meso")
    with pytest.raises(StorageError, match=r"PostgreSQL at 127\.0\.0\.1:1/meso") as refused, in_use(homes[0]):
        pass
    assert "s3cret" not in str(refused.value)


def test_a_home_in_sqlite_asks_no_server(tmp_path, monkeypatch):
    monkeypatch.setenv("MESO_POSTGRES", "postgresql://meso:s3cret@127.0.0.1:1/meso")
    shutil.copy(on_server.__file__.replace("on_server.py", "dagster.yaml"), tmp_path / "dagster.yaml")
    with in_use(tmp_path):
        pass
    with sole_use(tmp_path):
        pass
