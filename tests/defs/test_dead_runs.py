"""A run whose process is gone is marked, and what it held is free at once; every other run is left alone."""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

import dagster as dg
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG  # the name that it has there

from meso_assets.defs.dagster_internals import places_of, watched_claims
from meso_assets.defs.running.dead_runs import PROCESS_TAG, end_dead_runs, interrupted_at, process_tags, who_holds
from meso_assets.defs.sensors.sensors import dead_runs_end
from meso_assets.runs.status.attempts import recent_failures
from meso_assets.runs.status.cells import State
from meso_core.processes import this_process

KEY = "SP035/2023-03-03/001"
POOL = "suite2p"


@dg.op
def rois() -> None: ...


@dg.job
def empty() -> None:
    rois()


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        made.event_log_storage.set_concurrency_slots(POOL, 1)
        yield made


def begun(instance, status="STARTED", process=None, **tags):
    """Run in a state, led by a process of this machine that is gone, unless told otherwise."""
    process = process or replace(this_process(), start=1)
    told = {PROCESS_TAG: json.dumps(process.as_record()), "dagster/partition": KEY, **tags}
    return instance.create_run_for_job(empty, status=dg.DagsterRunStatus[status], tags=told).run_id


def status(instance, run_id):
    return instance.get_run_by_id(run_id).status.value


def claim(instance, run_id, step="rois"):
    return instance.event_log_storage.claim_concurrency_slot(POOL, run_id, step).is_claimed


@pytest.mark.parametrize(
    ("before", "after"),
    [("STARTED", "FAILURE"), ("STARTING", "FAILURE"), ("NOT_STARTED", "FAILURE"), ("CANCELING", "CANCELED")],
)
def test_a_dead_run_ends_and_the_run_that_waits_gets_its_place(instance, before, after):
    dead, waits = begun(instance, before), begun(instance, process=this_process())
    assert claim(instance, dead)
    assert not claim(instance, waits)
    assert [found.run_id for found in end_dead_runs(instance)] == [dead]
    assert status(instance, dead) == after
    assert claim(instance, waits)
    assert status(instance, waits) == "STARTED"


@pytest.mark.parametrize("process", [this_process(), replace(this_process(), host="elsewhere", start=1)])
def test_a_run_that_lives_or_is_on_another_machine_keeps_what_it_holds(instance, process):
    run_id = begun(instance, process=process)
    assert claim(instance, run_id)
    assert end_dead_runs(instance) == []
    assert status(instance, run_id) == "STARTED"
    assert [held.run_id for held in places_of(instance, POOL)] == [run_id]


@pytest.mark.parametrize("ended", ["SUCCESS", "FAILURE", "CANCELED"])
def test_a_run_that_ended_and_whose_process_is_gone_holds_nothing_and_stays_as_it_ended(instance, ended):
    run_id = begun(instance, ended)
    assert claim(instance, run_id)
    assert end_dead_runs(instance) == []
    assert places_of(instance, POOL) == []
    assert status(instance, run_id) == ended


def test_what_a_run_holds_whose_record_was_deleted_is_free(instance):
    run_id = begun(instance)
    assert claim(instance, run_id)
    instance.run_storage.delete_run(run_id)
    end_dead_runs(instance)
    assert places_of(instance, POOL) == []


def test_a_run_that_says_no_process_is_dead_only_if_it_never_began(instance, monkeypatch):
    run_id = instance.create_run_for_job(empty, status=dg.DagsterRunStatus.STARTING).run_id
    instance.report_dagster_event(dg.DagsterEvent(event_type_value="PIPELINE_START", job_name="empty"), run_id=run_id)
    assert end_dead_runs(instance) == []
    monkeypatch.setattr("meso_assets.defs.running.dead_runs._SECONDS_TO_BEGIN", -1)
    assert [found.run_id for found in end_dead_runs(instance)] == [run_id]


def test_a_run_that_says_no_process_is_not_judged_where_it_may_be_of_another_machine(instance, server, monkeypatch):
    """Of that machine neither the clock nor the socket is known here."""
    monkeypatch.setattr("meso_assets.defs.running.dead_runs._SECONDS_TO_BEGIN", -1)
    monkeypatch.setattr("meso_assets.defs.running.dead_runs._SECONDS_TO_START_ALONE", -1)
    monkeypatch.setattr("meso_assets.defs.running.dead_runs.records_are_of_this_machine", lambda _: False)
    address, end_server = server
    end_server()
    starts, began = starting(instance, address), starting(instance, address)
    instance.report_dagster_event(dg.DagsterEvent(event_type_value="PIPELINE_START", job_name="empty"), run_id=began)
    died_here = begun(instance)
    assert [found.run_id for found in end_dead_runs(instance)] == [died_here]
    assert (status(instance, starts), status(instance, began)) == ("STARTING", "STARTED")


@pytest.fixture
def server(tmp_path):
    """Address of a server that starts runs, as Dagster writes it down, and how to end it."""
    listening = socket.socket(socket.AF_UNIX)
    folder = tempfile.mkdtemp(prefix="meso-")  # the path of a socket is short
    listening.bind(f"{folder}/s")
    listening.listen()
    yield json.dumps({"host": "localhost", "socket": f"{folder}/s"}), listening.close
    listening.close()
    shutil.rmtree(folder)


def starting(instance, server):
    tags = {GRPC_INFO_TAG: server}
    return instance.create_run_for_job(empty, status=dg.DagsterRunStatus.STARTING, tags=tags).run_id


def test_a_run_that_was_being_started_is_dead_when_its_server_is_gone_and_it_told_nothing_since(
    instance, server, monkeypatch
):
    address, end_server = server
    run_id = starting(instance, address)
    monkeypatch.setattr("meso_assets.defs.running.dead_runs._SECONDS_TO_START_ALONE", -1)
    assert end_dead_runs(instance) == [], "it is being started"
    end_server()
    with monkeypatch.context() as patched:
        patched.setattr("meso_assets.defs.running.dead_runs._SECONDS_TO_START_ALONE", 30)
        assert end_dead_runs(instance) == [], "its own process may go on without the server"
    assert [found.run_id for found in end_dead_runs(instance)] == [run_id]
    assert status(instance, run_id) == "FAILURE"


def test_a_run_that_repeats_another_is_not_judged_by_the_server_of_that_one(instance, server, monkeypatch):
    monkeypatch.setattr("meso_assets.defs.running.dead_runs._SECONDS_TO_START_ALONE", -1)
    address, end_server = server
    end_server()
    first, tags = starting(instance, address), {GRPC_INFO_TAG: address}
    again = instance.create_run_for_job(
        empty, status=dg.DagsterRunStatus.STARTING, tags=tags, parent_run_id=first, root_run_id=first
    ).run_id
    assert [found.run_id for found in end_dead_runs(instance)] == [first]
    assert status(instance, again) == "STARTING"


@pytest.mark.parametrize(
    "address",
    ["", "{", "[]", '{"host": "lab-server", "port": 1}', '{"host": "localhost"}', '{"host": "localhost", "port": "x"}'],
)
def test_a_run_whose_server_cannot_be_asked_is_left_to_dagster(instance, address, monkeypatch):
    monkeypatch.setattr("meso_assets.defs.running.dead_runs._SECONDS_TO_START_ALONE", -1)
    run_id = starting(instance, address)
    assert end_dead_runs(instance) == []
    assert status(instance, run_id) == "STARTING"


def test_a_port_where_nobody_listens_is_that_of_a_server_that_is_gone(instance, monkeypatch):
    monkeypatch.setattr("meso_assets.defs.running.dead_runs._SECONDS_TO_START_ALONE", -1)
    with socket.socket() as once:
        once.bind(("127.0.0.1", 0))
        port = once.getsockname()[1]
    run_id = starting(instance, json.dumps({"host": "localhost", "port": port}))
    assert [found.run_id for found in end_dead_runs(instance)] == [run_id]


@pytest.mark.parametrize("names_its_run", [True, False])
def test_a_run_that_repeats_a_dead_one_is_not_taken_for_dead_by_the_tags_that_it_has_from_it(instance, names_its_run):
    dead = begun(instance)
    if names_its_run:
        record = {"run_id": dead, **replace(this_process(), start=1).as_record()}
        instance.add_run_tags(dead, {PROCESS_TAG: json.dumps(record)})
    assert [found.run_id for found in end_dead_runs(instance)] == [dead]
    handed_on = instance.get_run_by_id(dead).tags
    assert {PROCESS_TAG, "meso/interrupted_at"} <= handed_on.keys()
    again = instance.create_run_for_job(
        empty, status=dg.DagsterRunStatus.STARTING, tags=handed_on, parent_run_id=dead, root_run_id=dead
    ).run_id
    assert end_dead_runs(instance) == []
    assert status(instance, again) == "STARTING"
    instance.add_run_tags(again, process_tags(again))
    assert end_dead_runs(instance) == []
    assert interrupted_at(instance.get_run_by_id(dead)) is not None
    assert interrupted_at(instance.get_run_by_id(again)) is None
    instance.add_run_tags(
        again, {PROCESS_TAG: json.dumps({"run_id": again, **replace(this_process(), start=1).as_record()})}
    )
    assert [found.run_id for found in end_dead_runs(instance)] == [again]


def test_the_run_that_waits_is_told_who_holds_the_place_but_not_that_it_does_so_itself(instance):
    process = replace(this_process(), host="lab-pc", pid=4242)
    holds, waits = begun(instance, process=process), begun(instance, process=this_process())
    assert claim(instance, holds, "motion_registered_frames.register_fov[FOV_00]")
    told = who_holds(instance, POOL, but=waits)
    clock = time.strftime("%H:%M")
    assert f"run {holds.split('-')[0]} of {KEY} on lab-pc, process 4242, since {clock[:3]}" in told
    assert told.endswith("(motion_registered_frames.register_fov[FOV_00])")
    assert who_holds(instance, POOL, but=holds) == ""


def test_a_run_that_only_waits_sleeps_and_one_with_other_steps_at_work_does_not(instance, monkeypatch):
    slept, waited, busy = [], [], False
    monkeypatch.setattr("meso_assets.defs.dagster_internals.sleep", slept.append)
    monkeypatch.setattr("meso_assets.defs.dagster_internals.monotonic", lambda: 100.0)  # the machine may be slow
    holds, waits = begun(instance, process=this_process()), begun(instance, process=this_process())
    assert claim(instance, holds)
    with watched_claims(instance, lambda: busy, waited.append):
        ask = instance.event_log_storage.claim_concurrency_slot
        assert ask(POOL, waits, "a").sleep_interval == 0
        assert not ask(POOL, waits, "b").is_claimed
        assert len(slept) == 1, "once per round, not once per step"
        busy = True
        assert ask(POOL, waits, "a").sleep_interval > 0
        assert len(slept) == 1
    assert waited == [POOL] * 3
    assert not claim(instance, waits)
    assert waited == [POOL] * 3, "afterwards nobody listens"


def test_the_sensor_marks_a_run_and_names_it(instance):
    run_id = begun(instance)
    context = dg.build_sensor_context(instance=instance)
    assert run_id.split("-")[0] in dead_runs_end(context).skip_message
    assert status(instance, run_id) == "FAILURE"
    assert dead_runs_end(context).skip_message == "every run that counts as running has its process"


@pytest.mark.parametrize(("retry", "then"), [("true", "the daemon runs it again"), ("false", f"meso run {KEY}")])
def test_status_tells_when_and_in_what_a_run_was_interrupted_and_what_comes_next(instance, retry, then):
    run_id = begun(instance)
    event = dg.DagsterEvent(event_type_value="STEP_START", job_name="empty", step_key="rois.find_rois[FOV_01]")
    instance.report_dagster_event(event, run_id=run_id)
    end_dead_runs(instance)
    instance.add_run_tags(run_id, {"dagster/will_retry": retry})
    failure = recent_failures(instance, KEY)["rois"]
    assert failure.state is State.INTERRUPTED
    at = time.strftime("%H:%M", time.localtime(interrupted_at(instance.get_run_by_id(run_id))))
    assert failure.why.startswith(f"interrupted at {at} in rois (run {run_id.split('-')[0]}")
    assert then in failure.why


def test_a_run_that_was_interrupted_between_two_steps_tells_before_which(instance):
    tags = {PROCESS_TAG: json.dumps(replace(this_process(), start=1).as_record()), "dagster/partition": KEY}
    chosen = frozenset({dg.AssetKey("rois"), dg.AssetKey("frame_qc")})
    assets = [dg.asset(name=key.path[-1])(lambda: None) for key in chosen]
    job = dg.Definitions(assets, jobs=[dg.define_asset_job("both")]).resolve_job_def("both")
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags, asset_selection=chosen)
    end_dead_runs(instance)
    failures = recent_failures(instance, KEY)
    assert set(failures) == {"frame_qc"}
    assert " before frame_qc " in failures["frame_qc"].why


def test_a_process_that_was_really_killed_is_found():
    code = "import json; from meso_assets.defs.running.dead_runs import process_tags\n"
    code += "print(json.dumps(process_tags()), flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    tags = json.loads(child.stdout.readline())
    with dg.DagsterInstance.ephemeral() as instance:
        run_id = instance.create_run_for_job(empty, status=dg.DagsterRunStatus.STARTED, tags=tags).run_id
        assert end_dead_runs(instance) == []
        child.kill()
        child.communicate()
        assert [found.run_id for found in end_dead_runs(instance)] == [run_id]
    assert process_tags().keys() == tags.keys()
