"""Sessions on a real SLURM cluster come to the bytes that they have on one machine, whatever happens to the jobs."""

import os
import random
import signal
import time
from contextlib import suppress

import psutil
import pytest
from killed_daemon import Server
from killed_runs import kill

from meso_assets.runs.engines.checks import check_engine
from meso_assets.runs.settings.settings import MesoSettings
from meso_core.errors import EngineError, SettingsError
from tests.deploy.held_jobs import JOB, WORKER, HeldJobs
from tests.real_servers import free_ports

#: How long a run may take on the cluster, s.
RUN_WITHIN = 400
#: A controller saves what it knows of jobs each 5 s.
_SAVED_WITHIN_S = 8


def test_a_session_on_a_cluster_has_the_bytes_of_one_machine(session, slurm):
    session.renew()
    assert session.start().wait(RUN_WITHIN) == 0, session.log()
    assert "done in" in session.log(), "a terminal shows what happens elsewhere"
    assert whole(session, slurm) == []
    assert not list((session.folder / "home").rglob("*.refused"))


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_all_assets_of_a_session_on_a_cluster_have_the_bytes_of_one_machine(all_assets, slurm):
    all_assets.renew()
    assert all_assets.start().wait(3 * RUN_WITHIN) == 0, all_assets.log()
    assert whole(all_assets, slurm) == []


def test_a_partition_that_is_not_there_is_named_before_anything_begins(slurm, tmp_path, monkeypatch, tried):
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    settings = MesoSettings(root=tmp_path / "Subjects", home=tmp_path / "home", executor="slurm")
    check_engine(settings)
    with pytest.raises(SettingsError, match=r"MESO_SLURM_PARTITION: .*nope"):
        check_engine(settings.model_copy(update={"slurm_partition": "nope"}))
    with pytest.raises(SettingsError, match="MESO_SLURM_OPTIONS"):
        check_engine(settings.model_copy(update={"slurm_options": "--no-such-option"}))
    tried("clusters: SLURM, asked for what it has not", 2)


@pytest.mark.nightly  # SLURM asks for a minute
def test_a_controller_that_is_not_there_is_named_before_anything_begins(slurm, tmp_path, monkeypatch, tried):
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "none.conf"))
    with pytest.raises(EngineError, match="scontrol ping"):
        check_engine(MesoSettings(root=tmp_path / "Subjects", home=tmp_path / "home", executor="slurm"))
    tried("clusters: SLURM, the controller is not there")


def whole(session, slurm):
    """What is not as it must be after the last run."""
    wrong = [] if session.files() == session.want else ["other bytes than undisturbed"]
    wrong += session.left() + session.held()
    left = slurm.jobs("PENDING", "RUNNING", "COMPLETING")
    return wrong + ([f"jobs are left: {left}"] if left else [])


def cancel_a_job(slurm, head, session, held):
    number, _ = held.wait_for_one(slurm, head)
    slurm.call("scancel", number)
    until(lambda: number not in slurm.jobs("RUNNING", "COMPLETING"), "it is cancelled")
    held.let_go()
    return "somebody cancelled it"


def kill_a_node(slurm, head, session, held):
    _, node = held.wait_for_one(slurm, head)
    slurm.kill(node)
    time.sleep(1)
    slurm.call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    time.sleep(5)
    slurm.start_node(node)
    held.let_go()
    return "It is tried once more"


def drain_a_node(slurm, head, session, held):
    number, node = held.wait_for_one(slurm, head)
    slurm.call("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    assert slurm.states()[node] == "drng"
    assert number in slurm.jobs("RUNNING"), "what is at work comes to its end"
    held.let_go()
    return ""


def restart_the_controller(slurm, head, session, held):
    held.wait_for_one(slurm, head)
    slurm.kill("slurmctld")
    time.sleep(random.uniform(5, 20))
    slurm.start_controller()
    time.sleep(random.uniform(0, 5))
    held.let_go()
    return ""


def preempt_a_job(slurm, head, session, held):
    number, _ = held.wait_for_one(slurm, head)
    for _ in slurm.nodes:
        script = ["--partition=first", "--cpus-per-task=4", "--mem=1M", "--time=1", "--output=/dev/null"]
        slurm.call("sbatch", "--job-name=goes-first", *script, "--wrap=sleep 5")
    until(lambda: number not in slurm.jobs("RUNNING"), "its place is taken")
    held.let_go()
    return "a job that goes first took its place"


def kill_what_leads(slurm, head, session, held):
    held.wait_for_one(slurm, head)
    os.kill(head.pid, signal.SIGKILL)
    return ""


def press_ctrl_c(slurm, head, session, held):
    held.wait_for_one(slurm, head)
    os.kill(head.pid, signal.SIGINT)
    assert head.wait(RUN_WITHIN) == 1
    until(lambda: not slurm.jobs("PENDING", "RUNNING"), "its jobs are cancelled")
    held.let_go()
    return "interrupted"


#: Attack → whether the run comes to its end by itself.
ATTACKS = {
    "a job is cancelled": (cancel_a_job, False),
    "a node fails": (kill_a_node, True),
    "a node is drained": (drain_a_node, True),
    "the controller is restarted": (restart_the_controller, True),
    "a job is preempted": (preempt_a_job, True),
    "what leads the run is killed": (kill_what_leads, False),
    "somebody stops the run": (press_ctrl_c, False),
}


@pytest.mark.nightly
@pytest.mark.parametrize("what", ATTACKS)
def test_a_session_ends_whole_whatever_happens_to_its_jobs(session, slurm, what, tried):
    attack(session, slurm, what, JOB, random.choice(session.assets))
    tried(f"clusters: SLURM, {what}")


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("what", ATTACKS)
def test_a_session_that_is_registered_ends_whole_whatever_happens_to_its_jobs(registered, slurm, what, tried):
    attack(registered, slurm, what, WORKER)
    tried(f"clusters: SLURM, {what}, in suite2p")


def attack(session, slurm, what, *holds):
    """Attack a run; where it does not come to its end by itself, run it again, as a person or the daemon does."""
    strike, by_itself = ATTACKS[what]
    head, held = begin(session, slurm, *holds)
    said = strike(slurm, head, session, held)
    code = head.wait(RUN_WITHIN)
    assert (code == 0) is by_itself, session.log()
    assert said in session.whole_log()
    if not by_itself:
        again = session.start()
        if held.are_held:
            until(lambda: "is still at work on" in session.whole_log(), "the next run finds the job that is at work")
            held.let_go()
        assert again.wait(RUN_WITHIN) == 0, session.log()
    assert whole(session, slurm) == []


def begin(session, slurm, *holds):
    """Begin a run anew, with jobs that are held in the middle of their steps."""
    slurm.heal()
    session.renew()
    (session.folder / "log.txt").write_text("")
    held = HeldJobs(session)
    held.hold(*holds)
    return session.start(), held


@pytest.mark.nightly
@pytest.mark.parametrize("forgotten", ["a job", "that a job was begun"])
def test_what_a_controller_forgets_of_a_job_at_work_is_made_good_by_the_run(session, slurm, forgotten, tried):
    """One that is killed has not saved what came in the last seconds: here it has not for sure."""
    state = slurm.folder / "state" / "job_state"
    time.sleep(_SAVED_WITHIN_S)
    before = state.read_bytes()
    head, held = begin(session, slurm, JOB, session.assets[0])
    number, _ = held.wait_for_one(slurm, head)
    if forgotten == "that a job was begun":  # it knows the next one as one that waits
        before = while_the_next_waits(slurm, held, state, session.assets[1])
        number, _ = held.wait_for_one(slurm, head)
    process = held.process_of(number)
    slurm.kill("slurmctld")
    state.write_bytes(before)
    state.with_suffix(".old").unlink(missing_ok=True)
    slurm.start_controller()
    slurm.call("scontrol", "update", "PartitionName=meso", "State=UP")
    until(lambda: not process.is_running(), "SLURM ends what it does not know to be at work")
    held.let_go()
    assert head.wait(RUN_WITHIN) == 0, session.log()
    assert ("SLURM does not know it any more" in session.whole_log()) is (forgotten == "a job"), session.log()
    assert whole(session, slurm) == []
    tried(f"clusters: SLURM, the controller forgets {forgotten}")


def while_the_next_waits(slurm, held, state, asset):
    """What the controller saves while the next job waits; that one is held at work then."""
    try:
        slurm.call("scontrol", "update", "PartitionName=meso", "State=DOWN")
        held.let_go()
        until(lambda: slurm.jobs("PENDING"), "the next job waits")
        time.sleep(_SAVED_WITHIN_S)
        held.hold(JOB, asset)
        return state.read_bytes()
    finally:
        slurm.call("scontrol", "update", "PartitionName=meso", "State=UP")


@pytest.mark.nightly
def test_a_session_ends_whole_by_itself_where_all_that_leads_it_is_started_again(by_the_daemon, slurm, tried):
    """The daemon runs it again; the new run goes on with what jobs have made meanwhile."""
    slurm.heal()
    by_the_daemon.renew()
    held = HeldJobs(by_the_daemon)
    held.hold(JOB)
    server = Server(by_the_daemon, *free_ports(1))
    try:
        server.start()
        until(lambda: server.launch(by_the_daemon.session.name), "the interface takes a run", server)
        number, _ = held.wait_for_one(slurm)
        kill(leaders(by_the_daemon))
        assert number in slurm.jobs("RUNNING"), "jobs go on"
        server.start()
        until(lambda: another_run_waits(slurm, number), "the next run waits for the job that is at work", server)
        assert number in slurm.jobs("RUNNING")
        held.let_go()
        until(lambda: by_the_daemon.files() == by_the_daemon.want, "the session is made", server)
        until(lambda: not slurm.jobs("PENDING", "RUNNING") and not by_the_daemon.left(), "all is given back", server)
        assert whole(by_the_daemon, slurm) == []
    finally:
        kill(leaders(by_the_daemon))
        for process in server.started:
            process.wait()
    tried("clusters: SLURM, all that leads runs is killed and started again")


def another_run_waits(slurm, number):
    """Whether a job of another run than that of a job waits."""
    names = {one: job["name"].rpartition("-")[0] for one, job in slurm.jobs("PENDING", "RUNNING").items()}
    waiting = {names[one] for one in slurm.jobs("PENDING") if one in names}
    return bool(waiting - {names.get(number)})


def until(holds, what, server=None):
    """Wait until something holds."""
    end = time.monotonic() + RUN_WITHIN
    while not holds():
        assert time.monotonic() < end, f"not so: {what}. {server.log() if server else ''}"
        time.sleep(0.5)


def leaders(session):
    """Processes of a session's ground that are no jobs."""
    found = []
    for process in session.processes():
        with suppress(psutil.Error):
            found += [] if "SLURM_JOB_ID" in process.environ() else [process]
    return found
