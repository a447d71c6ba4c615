"""Machines whose clocks are minutes apart make a session as one machine does, and agree on what is current."""

import json
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from tests.deploy.celery_broker import Worker
from tests.deploy.conftest import on_slurm
from tests.deploy.slurm_cluster import slurm_cluster
from tests.deploy.test_celery import on_workers
from tests.integration.killed_runs import KEY, QUICK, SUITE2P, ground
from tests.other_machine import OtherMachine, two_machines

#: How long a run may take, s; and how far a time in a record may be from that of its file, but for the clock.
RUN_WITHIN, WITHIN_S = 1200, 60
MOVIES = "motion_registered_frames"


@pytest.fixture(scope="module")
def machines():
    """One whose clock is ahead, and one whose clock is behind."""
    return two_machines()


@pytest.fixture(scope="module")
def session(postgres, broker):
    """A session that was run undisturbed on this machine, and is run by workers from then on."""
    with ground("multiprocess", SUITE2P) as made:
        yield on_workers(made, postgres, broker)


@contextmanager
def workers(session, *chosen):
    """Workers of machines, each with its queues, while the block goes on."""
    made = [
        Worker(session.folder, f"{one.name}-{queues}", "--queues", queues, machine=one, **session.environment)
        for one, queues in chosen
    ]
    try:
        for worker in made:
            worker.log.unlink(missing_ok=True)  # of an earlier one of this name
            worker.start()
        for worker in made:
            worker.wait_until_ready()
        yield
    finally:
        for worker in made:
            worker.kill()


@contextmanager
def at(machine, session, *arguments):
    """Start a command on a machine; it has ended when the block has."""
    command = [*machine.prefix, sys.executable, "-c", "from meso_assets.cli import main; main()", *arguments]
    log = session.folder / f"{machine.name}.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=session.environment | machine.clock, stdout=file, stderr=file)
    process.told = log.read_text
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def answer(machine, session, *arguments):
    """Run a command on a machine; return its code and what it says."""
    with at(machine, session, *arguments) as process:
        return process.wait(RUN_WITHIN), process.told()


def clocks_of(session):
    """Host → how far the time that it told in a record is ahead of the disk's."""
    found = {}
    for record in (session.session / ".meso/manifests").glob("*.json"):
        made = json.loads(record.read_text())
        told = datetime.fromisoformat(made["published_at"]).timestamp()
        found.setdefault(made["made_by"]["host"], []).append(told - record.stat().st_mtime)
    return found


def not_as_one_clock_has_it(session, machines):
    """What is wrong after a run whose results both machines have made."""
    wrong = [] if session.files() == session.want else ["other bytes than undisturbed"]
    wrong += session.left() + session.held()
    for machine in machines:
        code, told = answer(machine, session, "audit", KEY)
        wrong += [f"the audit by {machine.name}: {told}"] if code else []
        _, told = answer(machine, session, "status", "--json")
        states = {one["asset"]: one["state"] for one in json.loads(told)}
        wrong += [f"{name} is {states[name]} for {machine.name}" for name in session.assets if states[name] != "done"]
        _, told = answer(machine, session, "scan", "--json")
        (seen,) = json.loads(told)
        wrong += (
            [f"the sensor of {machine.name}: {seen}"] if any(name in seen["why"] for name in session.assets) else []
        )
    return wrong


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_workers_whose_clocks_differ_make_the_bytes_of_one_machine_and_agree_on_them(session, machines, tried):
    fast, slow = machines
    session.renew()
    with workers(session, (fast, "io,memory")):
        code, told = answer(fast, session, "run", KEY, "--assets", ",".join(QUICK))
        assert code == 0, told
    with workers(session, (fast, "memory"), (slow, "io,memory")):  # what is made of that is made by the other clock
        assert session.start().wait(RUN_WITHIN) == 0, session.log()
    clocks = clocks_of(session)
    assert clocks["fast"] == pytest.approx([fast.ahead_s] * len(QUICK), abs=WITHIN_S)
    assert clocks["slow"] == pytest.approx([slow.ahead_s], abs=WITHIN_S)
    assert not_as_one_clock_has_it(session, machines) == []
    tried("clusters: Celery, clocks of workers eight minutes apart, in suite2p")


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", ["fast", "slow"])
def test_a_claim_that_lives_is_respected_by_a_machine_with_another_clock(first, session, machines, tried):
    leads, waits = sorted(machines, key=lambda machine: machine.name != first)
    claim = session.session / f".meso/claims/{MOVIES}.json"
    session.renew()
    run = ["run", KEY, "--assets", ",".join(session.assets)]
    fast, slow = machines
    with workers(session, (fast, "io,memory"), (slow, "io,memory")), at(leads, session, *run) as one:
        until = time.monotonic() + RUN_WITHIN
        while not claim.exists():
            assert one.poll() is None, one.told()
            assert time.monotonic() < until
            time.sleep(0.1)
        ours = json.loads(claim.read_text())
        assert ours["process"]["host"] == leads.name
        with at(waits, session, *run) as other:
            while "waiting:" not in other.told():
                assert one.poll() is other.poll() is None, other.told()
                assert json.loads(claim.read_text()) == ours
                time.sleep(0.1)
            # a run claims all that it makes, and gives each back when it is made: others may be named with the movies
            run_id = ours["run_id"].split("-")[0]
            assert re.search(rf"waiting: .*\b{MOVIES} (is|are) made by run {run_id}\b", other.told())
            assert (one.wait(RUN_WITHIN), other.wait(RUN_WITHIN)) == (0, 0), one.told() + other.told()
    assert not_as_one_clock_has_it(session, machines) == []
    tried("clusters: Celery, two runs at once that are led by clocks eight minutes apart")


@pytest.fixture(scope="module")
def by_nodes(postgres):
    """A session that was run undisturbed on this machine, and is run by nodes of SLURM from then on.

    munge takes clocks that are five minutes apart at most.
    """
    machines = OtherMachine("fast", 120), OtherMachine("slow", -120)
    with (
        tempfile.TemporaryDirectory(prefix="meso-slurm-", ignore_cleanup_errors=True) as folder,
        slurm_cluster(Path(folder), machines) as cluster,
        on_slurm(cluster, SUITE2P) as made,
    ):
        made.more = {"MESO_POSTGRES": postgres.new_database(), "MESO_HOME": str(made.folder / "home-of-nodes")}
        yield made, cluster, machines


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_nodes_whose_clocks_differ_make_the_bytes_of_one_machine_and_agree_on_them(by_nodes, tried):
    session, cluster, (fast, slow) = by_nodes
    session.renew()
    cluster.call("scontrol", "update", "NodeName=slow", "State=DRAIN", "Reason=later")
    code, told = answer(fast, session, "run", KEY, "--assets", ",".join(QUICK))
    assert code == 0, told
    cluster.heal()
    cluster.call("scontrol", "update", "NodeName=fast", "State=DRAIN", "Reason=before")
    assert session.start().wait(RUN_WITHIN) == 0, session.log()
    clocks = clocks_of(session)
    assert clocks["fast"] == pytest.approx([fast.ahead_s] * len(QUICK), abs=WITHIN_S)
    assert clocks["slow"] == pytest.approx([slow.ahead_s], abs=WITHIN_S)
    assert not_as_one_clock_has_it(session, (fast, slow)) == []
    tried("clusters: SLURM, clocks of nodes four minutes apart, in suite2p")
