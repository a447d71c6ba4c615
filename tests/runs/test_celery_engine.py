"""Which queue a step goes to, which workers are fit, and what becomes of a step that nobody has any more."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import dagster as dg
import pytest
from click.testing import CliRunner

from meso_assets.cli import group
from meso_assets.defs.dagster_internals.delegating import StepOrder
from meso_assets.runs.engines import celery_broker
from meso_assets.runs.engines.celery_broker import ENDS, AtHand, check_broker, needed_queues, queue_key, tasks_at_hand
from meso_assets.runs.executors.celery import engine as celery_engine
from meso_assets.runs.executors.celery.engine import LEADER, CeleryEngine, queue_of
from meso_assets.runs.executors.celery.worker import Worker, fit_worker
from meso_assets.runs.executors.compatibility import Sameness
from meso_assets.runs.settings.settings import load_settings
from meso_core.errors import EngineError, SettingsError
from meso_core.imaging.needs import StepNeeds, Work
from meso_core.json_text import json_text
from meso_core.session import SessionKey

SECRET = "s3cret"
NEEDS = StepNeeds(1, 4.0, False, 30)
STEP = "rois.find_rois[FOV_00]"


@pytest.fixture
def settings(tmp_path):
    places = {"root": tmp_path / "Subjects", "home": tmp_path / "home", "cache": tmp_path / "cache"}
    (tmp_path / "Subjects").mkdir()
    return load_settings({**places, "atlas": "phantom", "executor": "celery"})


@pytest.fixture
def engine(settings):
    needs = SimpleNamespace(of=lambda _: NEEDS)
    key = SessionKey("SP035", "2023-03-03", "001")
    return CeleryEngine(settings, needs, dg.DagsterRun("process_session", "a run"), key)


def test_a_step_goes_to_the_queue_of_what_it_needs(settings):
    assert {queue_of(work, NEEDS) for work in (Work.SMALL, Work.CUT, Work.ARCHIVE, Work.GATHER)} == {"io"}
    assert {queue_of(work, NEEDS) for work in (Work.REGISTER, Work.DETECT, Work.LOCATE)} == {"memory"}
    assert queue_of(Work.REGISTER, replace(NEEDS, gpu=True)) == "gpu"
    assert needed_queues(settings) == {"io", "memory"}
    on_gpu = settings.model_copy(update={"suite2p": {"torch_device": "cuda"}})
    assert needed_queues(on_gpu) == {"io", "gpu"}


@pytest.mark.parametrize(
    ("address", "error", "told"),
    [
        (f"redis://:{SECRET}@127.0.0.1:1/0", EngineError, r"broker at 127\.0\.0\.1:1/0.*Start it, or correct"),
        (f"amqp://u:{SECRET}@host//", SettingsError, "the address of a Redis or Valkey"),
        ("", SettingsError, "found nothing.*redis://:password@host"),
    ],
)
def test_a_broker_that_cannot_be_had_is_named_and_no_password_shown(settings, monkeypatch, address, error, told):
    monkeypatch.setenv("MESO_BROKER", address)
    with pytest.raises(error, match=told) as found:
        check_broker(settings)
    assert SECRET not in str(found.value)


def test_a_queue_that_is_none_is_named():
    run = CliRunner().invoke(group, ["worker", "--queues", "io,many"])
    assert "found many" in str(run.exception)


def told_by(settings, **changes):
    worker = Worker(settings, ("io",), 0.0, Sameness.of_this_machine(settings))
    return {**worker.tells(""), **changes}


def test_a_worker_that_is_not_fit_is_told_why(engine, settings):
    assert engine._why_unfit("w", told_by(settings)) == ""
    other = replace(Sameness.of_this_machine(settings), host="ws2", version="9.9").as_record()
    why = engine._why_unfit("w", told_by(settings, sameness=other))
    assert "meso 9.9 on ws2" in why
    assert Sameness.of_this_machine(settings).version in why, "both versions"
    assert "mount the share" in engine._why_unfit("w", told_by(settings, sees_session=False))
    full = Worker(settings, ("io",), 1e9, Sameness.of_this_machine(settings))
    assert "free some, or set TMPDIR" in engine._why_unfit("w", full.tells(""))
    assert not full.tells("SP035/2023-03-03/001")["sees_session"]


def test_a_session_for_which_no_fit_worker_is_there_is_not_begun(engine, settings, monkeypatch):
    workers = {"w": told_by(settings, queues=["io", "memory"], sees_session=False)}
    kept = []
    monkeypatch.setattr(celery_engine, "check_broker", lambda _: None)
    monkeypatch.setattr(celery_engine, "ask_workers", lambda _, **how: workers)
    monkeypatch.setattr(celery_engine, "shown_broker", lambda: "host:6379/0")
    monkeypatch.setattr(CeleryEngine, "_keep_from_work", lambda _, name, queues: kept.append((name, queues)))
    said = []
    with pytest.raises(EngineError, match=r"a fit worker for the queue io and for memory.*mount the share"):
        engine.begin(said.append)
    assert kept == [("w", ["io", "memory"])]
    assert "worker w is told to take nothing" in said[0]
    workers["v"] = told_by(settings, queues=["io", "memory"])
    engine.begin(said.append)
    assert Sameness.from_record((settings.home / LEADER).read_text()) == Sameness.of_this_machine(settings)


def test_a_worker_of_another_version_than_what_leads_the_runs_takes_nothing(settings, monkeypatch):
    monkeypatch.setattr("meso_assets.runs.executors.celery.worker.ask_workers", dict)
    leader = replace(Sameness.of_this_machine(settings), host="lab-pc", version="9.9")
    (settings.home / LEADER).parent.mkdir(parents=True)
    (settings.home / LEADER).write_text(json_text(leader.as_record()))
    with pytest.raises(EngineError, match=r"found meso .* and 9\.9 on lab-pc"):
        fit_worker(settings, ["io"], 0.0)
    (settings.home / LEADER).unlink()
    assert fit_worker(settings, ["io"], 0.0).queues == ("io",)
    with pytest.raises(EngineError, match="GB are wanted"):
        fit_worker(settings, ["io"], 1e9)


@pytest.fixture
def broker(monkeypatch):
    """A broker whose answers a test gives."""
    told = SimpleNamespace(
        sent=[],
        ended=[],
        killed=[],
        at_hand=set(),
        at_work={},
        over={},
        workers={"one"},
        away=False,
        now=1000.0,
        wanted=None,
    )

    @contextmanager
    def errors():
        if told.away:
            raise EngineError("the broker does not answer")
        yield

    def look(wanted, _):
        told.wanted = {*wanted}
        with errors():
            return AtHand(frozenset(told.at_hand), {**told.at_work}, told.over, frozenset(told.workers))

    app = SimpleNamespace(
        send_task=lambda name, **how: told.sent.append((how["task_id"], how["queue"])),
        control=SimpleNamespace(revoke=lambda _: None),
    )
    monkeypatch.setattr(celery_engine, "broker_app", lambda: app)
    monkeypatch.setattr(celery_engine, "broker_errors", errors)
    monkeypatch.setattr(celery_engine, "tasks_at_hand", look)
    monkeypatch.setattr(
        celery_engine, "tell_workers", lambda how, task: (told.ended if how == ENDS else told.killed).append(task)
    )
    monkeypatch.setattr(celery_engine.time, "monotonic", lambda: told.now)
    return told


@pytest.fixture
def order():
    said = []
    made = StepOrder("a run", STEP, 0, "command", lambda text, _: said.append(text))
    return made, said


def later(engine, broker, order, seconds):
    """Ask what became of the step at once and some time later."""
    engine.why_lost(order)
    broker.now += seconds
    return engine.why_lost(order)


def test_a_step_that_nobody_has_any_more_is_given_to_another_worker_and_in_the_end_given_up(engine, broker, order):
    order, said = order
    engine.launch(order)
    assert broker.sent == [(f"a run:{STEP}:0:0", queue_key("memory"))]
    broker.at_hand = {broker.sent[0][0]}
    assert later(engine, broker, order, 3600) is None, "it waits or works"
    broker.at_hand = set()
    broker.now += 6
    assert later(engine, broker, order, 10) is None
    assert len(broker.sent) == 1, "its message may be on its way"
    for n in range(1, 4):
        assert later(engine, broker, order, 30) is None
        assert len({task for task, _ in broker.sent}) == n + 1
        assert "waits in the queue memory again" in said[-1]
    assert broker.killed == [task for task, _ in broker.sent[:-1]], "who has it yet tells no end of it"
    assert broker.ended == []
    assert "gone 4 times" in later(engine, broker, order, 30)


def test_a_worker_that_is_slow_to_answer_keeps_its_step_and_one_that_has_it_no_more_does_not(engine, broker, order):
    order, said = order
    engine.launch(order)
    task = broker.sent[0][0]
    broker.at_work, broker.workers = {task: "busy"}, {"busy", "other"}
    assert later(engine, broker, order, 3600) is None
    assert broker.wanted == {task}, "it is this step that is asked for"
    broker.at_work, broker.workers = {}, {"other"}
    broker.now += 6
    for _ in range(4):
        assert later(engine, broker, order, 25) is None
    assert (len(broker.sent), said) == (1, []), "its machine has much to do"
    broker.at_work, broker.workers = {task: "busy"}, {"busy", "other"}
    assert later(engine, broker, order, 3600) is None
    assert len(broker.sent) == 1
    broker.at_work = {}  # it was started again
    broker.now += 6
    assert later(engine, broker, order, 21) is None
    assert (len(broker.sent), len(said)) == (2, 1)
    broker.at_work, broker.workers = {broker.sent[1][0]: "other"}, {"other"}
    broker.now += 6
    engine.why_lost(order)
    broker.at_work, broker.workers = {}, set()
    broker.now += 6
    assert later(engine, broker, order, 121) is None
    assert len(broker.sent) == 3, "one that never answers again is gone"


def test_a_worker_that_stands_still_since_it_took_a_step_may_have_it(engine, broker, order):
    order, said = order
    broker.workers = {"busy", "other"}
    engine.launch(order)
    broker.at_hand = {broker.sent[0][0]}
    assert later(engine, broker, order, 6) is None, "it waits"
    broker.at_hand, broker.workers = set(), {"other"}
    for _ in range(4):
        assert later(engine, broker, order, 25) is None
    assert (len(broker.sent), said) == (1, []), "nobody has seen who took it"
    assert later(engine, broker, order, 30) is None
    assert (len(broker.sent), len(said)) == (2, 1)


class Broker:
    """Celery's application on a broker whose queues are empty, and workers that answer as they are busy."""

    def __init__(self, **answers_after_s):
        self.answers_after_s, self.asked = answers_after_s, []
        self.default_channel = SimpleNamespace(client=SimpleNamespace(lrange=lambda *_: []))
        self.control = self

    @contextmanager
    def connection_for_read(self, **_):
        yield self

    connection_for_write = connection_for_read

    def ensure_connection(self, **_):
        pass

    def broadcast(self, command, *, timeout, limit, **_):
        self.asked.append((timeout, limit))
        in_order = sorted(self.answers_after_s, key=self.answers_after_s.get)
        return [
            {name: {"queues": ["io"], "tasks": [f"of {name}"], "over": {}}}
            for name in in_order[:limit]
            if self.answers_after_s[name] < timeout
        ]


@pytest.mark.parametrize("n_workers", [0, 1, 2, 3])
@pytest.mark.parametrize("slow_s", [0.2, 3.0])
def test_a_worker_is_heard_though_others_answer_first_and_it_takes_its_time(monkeypatch, n_workers, slow_s):
    broker = Broker(one=0.01, two=0.02, busy=slow_s)
    monkeypatch.setattr(celery_broker, "broker_app", lambda: broker)
    found = tasks_at_hand({"of busy", "of one"}, n_workers)
    assert found.at_work == {"of one": "one", "of two": "two", "of busy": "busy"}
    assert found.workers == {"one", "two", "busy"}
    broker.asked.clear()
    assert tasks_at_hand({"of one"}, 2).has("of one")
    assert len(broker.asked) == 1, "nobody waits for those of whom nothing is asked"


def test_a_session_is_begun_though_its_only_worker_takes_its_time_to_answer(settings, monkeypatch):
    broker = Broker(busy=3.0)
    monkeypatch.setattr(celery_broker, "broker_app", lambda: broker)
    monkeypatch.setattr(celery_broker, "shown_broker", lambda: "host:6379/0")
    check_broker(settings, {"io"})
    with pytest.raises(EngineError, match=r"a worker for the queue memory.*of the queues io"):
        check_broker(settings, {"io", "memory"})


def test_while_the_broker_is_away_nothing_counts_as_lost_and_it_is_told_once(engine, broker, order):
    order, said = order
    engine.launch(order)
    later(engine, broker, order, 15)
    broker.away = True
    for _ in range(5):
        broker.now += 60
        assert engine.why_lost(order) is None
    assert said == ["the broker does not answer Steps that are at work go on meanwhile; it is asked again"]
    broker.away, broker.at_hand = False, {broker.sent[0][0]}
    assert later(engine, broker, order, 60) is None
    assert len(broker.sent) == 1


def test_a_task_that_is_over_though_its_step_has_not_told_its_end_is_told_by_its_reason(engine, broker, order):
    order, _ = order
    engine.launch(order)
    broker.over = {broker.sent[0][0]: "the process of this step ended with -9 on ws2"}
    assert engine.why_lost(order) is None, "its records may show its end a moment later"
    broker.now += 11
    assert engine.why_lost(order) == "the process of this step ended with -9 on ws2"
    engine.terminate(order)
    assert broker.ended == [broker.sent[0][0]]
