"""Sessions by workers of Celery come to the bytes that they have on one machine, whatever happens to what runs them."""

import time

import pytest

from tests.deploy.celery_broker import PASSWORD, Worker
from tests.integration.killed_runs import QUICK, SUITE2P, ground


def on_workers(made, postgres, broker):
    """Let a ground run by workers from now on, with records in PostgreSQL."""
    made.warm.close()
    made.warm, made.executor = None, "celery"
    home = str(made.folder / "home-of-workers")
    made.more = {"MESO_POSTGRES": postgres.new_database(), "MESO_BROKER": broker.address, "MESO_HOME": home}
    return made


@pytest.fixture(scope="module")
def session(postgres, broker):
    """A session that was run undisturbed on this machine, and is run by workers from then on."""
    with ground("in_process", QUICK) as made:
        yield on_workers(made, postgres, broker)


def test_a_session_by_a_worker_has_the_bytes_of_one_machine(session, tried):
    session.renew()
    without = session.start()
    assert without.wait(60) == 2
    assert "expected a worker for the queue io and for memory, found no worker" in session.log()
    tried("clusters: Celery, no worker is there")
    worker = Worker(session.folder, "one@here", "--queues", "io,memory", **session.environment).start()
    try:
        worker.wait_until_ready()
        assert session.start().wait(120) == 0, session.log() + worker.told[-3000:]
        assert session.files() == session.want
        assert session.left() == session.held() == []
    finally:
        worker.kill()
    home = session.folder / "home-of-workers"
    told = [session.whole_log(), worker.told, *(p.read_text(errors="ignore") for p in home.rglob("*") if p.is_file())]
    assert not any(PASSWORD in text for text in told)


def until_told(workers, before, words, within_s=300):
    """Wait until one of the workers says something that it has not said before."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        for worker in workers:
            if words in worker.told[before[worker.name] :]:
                return worker
        time.sleep(0.05)
    raise AssertionError(f"no worker says {words}")


@pytest.fixture(scope="module")
def three(postgres, broker):
    """A session with movies, run undisturbed on this machine, and three workers beside it."""
    with ground("multiprocess", SUITE2P) as made:
        on_workers(made, postgres, broker)
        queues = {"one@here": "io,memory", "two@here": "io,memory", "three@here": "memory"}
        workers = [
            Worker(made.folder, name, "--at-once", "1", "--queues", chosen, **made.environment).start()
            for name, chosen in queues.items()
        ]
        try:
            yield made, [worker.wait_until_ready() for worker in workers]
        finally:
            for worker in workers:
                worker.kill()


@pytest.mark.nightly
@pytest.mark.parametrize("what", ["nothing", "a worker", "the broker", "the database"])
def test_what_is_killed_or_restarted_in_the_middle_of_a_step_changes_no_byte(three, what, postgres, broker, tried):
    session, workers = three
    session.renew()
    before = {worker.name: len(worker.told) for worker in workers}
    run = session.start()
    try:
        busy = until_told(workers, before, "register_fov")
        if what == "a worker":
            busy.kill()
        elif what == "the broker":
            broker.kill()
            time.sleep(3)
            broker.start()
        elif what == "the database":
            postgres.stop()
            time.sleep(2)
            postgres.start()
        code = run.wait(600)
        if what != "the database":  # a run whose records were away may end with an error, and is run again
            assert code == 0, session.log()
        assert session.run_to_the_end() == []
        if what != "nothing":
            tried(f"clusters: Celery, {what} is killed or restarted, in suite2p")
    finally:
        if what == "a worker":
            busy.start().wait_until_ready()


@pytest.mark.nightly
def test_a_worker_whose_machine_stands_still_for_a_while_keeps_its_step(three, tried):
    session, workers = three
    session.renew()
    (session.folder / "log.txt").write_text("")
    before = {worker.name: len(worker.told) for worker in workers}
    run = session.start()
    with until_told(workers, before, "register_fov").standing_still():
        time.sleep(45)
    assert run.wait(600) == 0, session.log()
    assert "for another one" not in session.whole_log()
    begun = [
        line for worker in workers for line in worker.told[before[worker.name] :].splitlines() if "received" in line
    ]
    assert len([line for line in begun if "register_fov" in line]) == 3
    assert session.run_to_the_end() == []
    tried("clusters: Celery, the machine of a worker stands still for 45 s, in suite2p")
