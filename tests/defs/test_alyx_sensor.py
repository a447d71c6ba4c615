"""The sensor that sends what waits for Alyx: not before the server is back, in order, each once."""

import json
import time
from types import SimpleNamespace

import dagster as dg
import pytest

from meso_assets.defs.alyx.sensor import send_what_waits
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.standing.standings import look_at
from meso_assets.io.alyx import Alyx
from meso_assets.io.resources import Platform
from meso_assets.runs.settings.settings import load_settings
from meso_assets.runs.status.cells import State
from meso_core.storage import MadeBy
from tests.alyx.standin import Throttle, serving
from tests.alyx.standin.given import PASSWORD, USER
from tests.one_status import session_status

KEYS = [f"SP035/2023-03-0{day}/001" for day in (1, 2, 3)]


@pytest.fixture
def server():
    with serving(throttle=Throttle(None)) as server:
        yield server


@pytest.fixture
def settings(tmp_path, server, monkeypatch):
    monkeypatch.setenv("ALYX_USER", USER)
    monkeypatch.setenv("ALYX_PASSWORD", PASSWORD)
    for key in KEYS:
        (tmp_path / "sessions" / key / "raw_imaging_data_00").mkdir(parents=True)
        (tmp_path / "sessions" / key / "raw_imaging_data_00" / "x.tif").write_bytes(b"x")
    places = {"root": tmp_path / "sessions", "home": tmp_path / "home"}
    return load_settings({**places, "alyx": "online", "alyx_url": server.url, "alyx_repository": "lab"})


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("session", KEYS)
        yield instance


def end_as(settings, key, asset, state, since="2024-05-01T10:00:00Z"):
    """Publish a record as the asset does when it ends in a state."""
    session, part = Platform.open(settings).session(key), asset.removeprefix("alyx_")
    staging = session.stage(asset)
    staging.write(f"alyx/{part}.json", b"{}")
    staging.write(f"alyx/{part}.sent.json", json.dumps({"state": state, "since": since, "reason": "gone"}).encode())
    basis = look_at(session).standing(CATALOGUE[asset], settings).basis
    session.publish(staging.seal(), basis, MadeBy("by hand"))


def tick(instance, settings):
    return send_what_waits(dg.build_sensor_context(instance), Platform.open(settings), Alyx.open(settings))


def test_nothing_waits_so_the_server_is_not_even_asked(instance, settings, server):
    end_as(settings, KEYS[0], "alyx_snapshots", "registered")
    assert "nothing waits" in tick(instance, settings).skip_message
    assert server.requests == []


def test_while_the_server_is_away_nothing_is_asked_for(instance, settings, server):
    end_as(settings, KEYS[0], "alyx_snapshots", "pending")
    server.stop()
    assert "no connection" in tick(instance, settings).skip_message


def test_when_it_is_back_what_waits_is_run_the_oldest_first_and_once(instance, settings):
    end_as(settings, KEYS[0], "alyx_snapshots", "pending", "2024-05-03T10:00:00Z")
    end_as(settings, KEYS[1], "alyx_datasets", "pending", "2024-05-01T10:00:00Z")
    end_as(settings, KEYS[1], "alyx_fov_records", "pending", "2024-05-02T10:00:00Z")
    end_as(settings, KEYS[2], "alyx_datasets", "withheld")
    first, second = tick(instance, settings).run_requests
    assert (first.partition_key, second.partition_key) == (KEYS[1], KEYS[0])
    assert {key.to_user_string() for key in first.asset_selection} == {"alyx_datasets", "alyx_fov_records"}
    start(instance, first)
    assert [run.partition_key for run in tick(instance, settings).run_requests] == [KEYS[0]]


def start(instance, request):
    """Let a run begin for which the sensor asked."""
    job = dg.job(name="process_session")(lambda: None)
    instance.create_run_for_job(job, tags={**request.tags, "dagster/run_key": request.run_key})


def end(instance, event):
    """Let the run that was begun last end."""
    run = instance.get_runs(limit=1)[0]
    instance.report_dagster_event(dg.DagsterEvent(event.value, "process_session"), run.run_id)


@pytest.mark.parametrize(
    "ended",
    [dg.DagsterEventType.RUN_FAILURE, pytest.param(dg.DagsterEventType.RUN_SUCCESS, marks=pytest.mark.nightly)],
)
def test_what_still_waits_after_its_run_is_run_again_after_a_longer_and_longer_time(
    instance, settings, monkeypatch, ended
):
    """The run failed, or was killed, or left it waiting once more: all the same."""
    end_as(settings, KEYS[0], "alyx_snapshots", "pending")
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("meso_assets.defs.alyx.sensor._now", lambda: clock.now)
    keys, waits = [], []
    for _ in range(9):
        began = clock.now = time.time()
        while not (requests := tick(instance, settings).run_requests):
            clock.now += 30
        keys.append(requests[0].run_key)
        waits.append(clock.now - began)
        start(instance, requests[0])
        assert tick(instance, settings).run_requests == [], "one at a time"
        end(instance, ended)
    assert len(set(keys)) == 9, "Dagster runs a key once"
    assert waits[0] == 0
    assert waits[1:] == sorted(waits[1:])
    assert 0 < waits[1] <= 120
    assert waits[-1] <= 3600 + 30


def test_one_that_waits_is_not_current_and_says_for_what(settings):
    end_as(settings, KEYS[0], "alyx_snapshots", "pending")
    standing = look_at(Platform.open(settings).session(KEYS[0])).standings(settings)["alyx_snapshots"]
    assert not standing.is_current
    assert standing.reasons == ("waits for Alyx since 2024-05-01T10:00:00Z: gone",)
    end_as(settings, KEYS[0], "alyx_snapshots", "registered")
    assert look_at(Platform.open(settings).session(KEYS[0])).standings(settings)["alyx_snapshots"].is_current


def test_status_tells_what_waits_and_what_is_withheld(instance, settings):
    end_as(settings, KEYS[0], "alyx_snapshots", "pending")
    end_as(settings, KEYS[0], "alyx_fov_records", "withheld")
    end_as(settings, KEYS[0], "alyx_datasets", "registered")
    end_as(settings, KEYS[0], "alyx_session_qc", "registered")
    platform = Platform.open(settings)
    cells, _ = session_status(platform, instance, platform.session(KEYS[0]).key)
    told = {cell.asset: (cell.as_record()["state"], cell.why) for cell in cells if cell.asset.startswith("alyx_")}
    assert told == {
        "alyx_snapshots": ("pending", "waits for Alyx since 2024-05-01T10:00:00Z: gone"),
        "alyx_fov_records": ("withheld", "gone"),
        "alyx_datasets": ("done", ""),
        "alyx_session_qc": ("done", ""),
    }
    later = settings.model_copy(update={"alyx_url": "https://alyx.example.org"})
    cells, _ = session_status(Platform.open(later), instance, platform.session(KEYS[0]).key)
    assert {cell.state for cell in cells if cell.asset.startswith("alyx_")} == {State.STALE}, "for another server"


@pytest.mark.parametrize("mode", ["off", "dry-run"])
def test_without_leave_to_send_nothing_is_asked_for(instance, settings, server, mode):
    end_as(settings, KEYS[0], "alyx_snapshots", "pending")
    assert "not online" in tick(instance, settings.model_copy(update={"alyx": mode})).skip_message
    assert server.requests == []


def test_a_server_that_does_not_know_the_user_is_told_beside_the_tick_without_the_password(
    instance, settings, monkeypatch
):
    end_as(settings, KEYS[0], "alyx_snapshots", "pending")
    monkeypatch.setenv("ALYX_PASSWORD", "open-sesame")
    message = tick(instance, settings).skip_message
    assert "ALYX_PASSWORD" in message
    assert "open-sesame" not in message
