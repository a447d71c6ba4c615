"""Steps are jobs: together where they begin together, told by SLURM's reason, seldom tried again."""

from types import SimpleNamespace

import pytest

from meso_assets.defs.dagster_internals.delegating import StepOrder
from meso_assets.runs.engines.slurm_commands import SlurmJob
from meso_assets.runs.executors.slurm import engine as engine_module
from meso_assets.runs.executors.slurm.engine import SlurmEngine
from meso_assets.runs.settings.settings import MesoSettings
from meso_core.errors import EngineError, SettingsError
from meso_core.imaging import StepNeeds

FOVS = [f"rois.find_rois[FOV_0{n}]" for n in range(3)]


class Cluster:
    """What SLURM would answer."""

    def __init__(self):
        self.now = 1000.0
        self.submitted, self.cancelled, self.told = [], [], []
        self.states, self.refuses, self.silent = {}, None, False
        self.begun, self.first_number = "1000", 1
        self.others = []

    def submit(self, options, script):
        if self.refuses is not None:
            raise self.refuses
        self.submitted.append(options)
        return str(len(self.submitted) - 1 + self.first_number)

    def jobs_of(self, numbers):
        if self.silent:
            raise no_answer()
        names = [option.partition("=")[2] for options in self.submitted for option in options if "--job-name" in option]
        found = {}
        for one, state in self.states.items():
            number = one.partition("_")[0]
            name = names[int(number) - self.first_number]
            found |= {one: SlurmJob(one, name, state, "n1", self.begun, "None")} if number in numbers else {}
        return found

    def jobs_called(self, names):
        return []


def no_answer():
    error = EngineError("SLURM: no answer.")
    error.passes = True
    return error


@pytest.fixture
def cluster(monkeypatch):
    made = Cluster()
    for name in ("submit", "jobs_of", "jobs_called"):
        monkeypatch.setattr(engine_module, name, getattr(made, name))
    monkeypatch.setattr(engine_module, "cancel", lambda ids, **options: made.cancelled.extend(ids))
    monkeypatch.setattr(engine_module, "my_jobs", lambda prefix: made.others)
    monkeypatch.setattr(engine_module, "check_slurm", lambda settings: None)
    monkeypatch.setattr(engine_module, "largest_node", lambda partition: (4, 40_000))
    monkeypatch.setattr(engine_module.time, "monotonic", lambda: made.now)
    return made


@pytest.fixture
def new_engine(cluster, tmp_path):
    def make(run_id="aaaa-1"):
        settings = MesoSettings(root=tmp_path / "Subjects", home=tmp_path / "home", executor="slurm")
        needs = SimpleNamespace(of=lambda step: StepNeeds(8, 2.0, False, 30))
        made = SlurmEngine(settings, needs, SimpleNamespace(run_id=run_id), "SP035/2023-03-03/001")
        made.begin(cluster.told.append)
        return made

    return make


def order_of(cluster, step, before=0):
    return StepOrder("aaaa-1", step, before, "command", lambda text, values: cluster.told.append(text))


def launched(engine, cluster, steps):
    orders = [order_of(cluster, step) for step in steps]
    for order in orders:
        engine.launch(order)
    return orders


def later(engine, cluster, orders, seconds=6.0):
    """What is told of steps after a while."""
    cluster.now += seconds
    return [engine.why_lost(order) for order in orders]


def after(engine, cluster, order, state):
    """What is told of a step whose job has ended so."""
    cluster.states = {engine._jobs[order.step].id: state}
    later(engine, cluster, [order])
    return later(engine, cluster, [order])[0]


def test_fields_of_view_that_begin_together_are_one_array_of_as_many_cores_as_a_node_has(new_engine, cluster):
    engine = new_engine()
    orders = launched(engine, cluster, [*FOVS, "session_qc"])
    assert [engine.why_lost(order) for order in orders] == [None] * 4
    assert cluster.submitted == [], "others may begin in the same moment"
    later(engine, cluster, orders, 1.0)
    array, alone = sorted(cluster.submitted, key=lambda options: not any("--array" in one for one in options))
    assert "--array=0-2" in array
    assert not any("--array" in one for one in alone)
    assert "--cpus-per-task=4" in array
    assert "--no-requeue" in array
    written = engine._folder.orders()
    assert {written[n].steps for n in written} == {tuple(FOVS), ("session_qc",)}
    # a GPU that a node has by chance would make another result
    assert all(order.environment["CUDA_VISIBLE_DEVICES"] == "" for order in written.values())


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("TIMEOUT", "its limit of time. Give it more"),
        ("CANCELLED", "somebody cancelled it"),
        ("DEADLINE", "at its deadline"),
        ("FAILED", "its process ended without telling why (FAILED)"),
        ("COMPLETED", "its process ended without telling why (COMPLETED)"),
    ],
)
def test_what_is_the_steps_own_or_a_persons_is_told_in_words_and_not_tried_again(new_engine, cluster, state, said):
    engine = new_engine()
    (order,) = launched(engine, cluster, ["session_qc"])
    later(engine, cluster, [order], 1.0)
    assert said in after(engine, cluster, order, state)
    assert len(cluster.submitted) == 1


@pytest.mark.parametrize(
    ("state", "memory", "said"),
    [
        ("OUT_OF_MEMORY", ["--mem=1908M", "--mem=3815M"], "for want of memory: it was given 4.0 GB"),
        ("NODE_FAIL", ["--mem=1908M"] * 2, "its node n1 failed"),
        ("PREEMPTED", ["--mem=1908M"] * 2, "a job that goes first took its place"),
    ],
)
def test_what_is_the_clusters_is_tried_once_more_and_memory_is_doubled(new_engine, cluster, state, memory, said):
    engine = new_engine()
    (order,) = launched(engine, cluster, ["session_qc"])
    later(engine, cluster, [order], 1.0)
    assert after(engine, cluster, order, state) is None
    assert cluster.told[-1].endswith("It is tried once more")
    later(engine, cluster, [order], 1.0)
    assert [next(one for one in options if "--mem" in one) for options in cluster.submitted] == memory
    assert said in after(engine, cluster, order, state)
    assert len(cluster.submitted) == 2


def test_a_step_whose_worker_was_killed_for_want_of_memory_gets_twice_as_much(new_engine, cluster):
    engine = new_engine()
    (order,) = launched(engine, cluster, ["session_qc"])
    later(engine, cluster, [order], 1.0)
    again = order_of(cluster, "session_qc", before=1)
    engine.launch(again)
    later(engine, cluster, [again], 1.0)
    assert "--mem=3815M" in cluster.submitted[1]


def test_a_job_that_has_just_ended_is_not_lost_while_its_records_are_on_their_way(new_engine, cluster):
    engine = new_engine()
    (order,) = launched(engine, cluster, ["session_qc"])
    later(engine, cluster, [order], 1.0)
    cluster.states = {"1": "COMPLETED"}
    assert later(engine, cluster, [order], 6.0) == [None]
    assert later(engine, cluster, [order], 1.0) == [None]


def test_a_controller_that_is_silent_costs_no_step_and_no_job_twice(new_engine, cluster):
    engine = new_engine()
    cluster.refuses = no_answer()
    (order,) = launched(engine, cluster, ["session_qc"])
    assert later(engine, cluster, [order], 1.0) == [None]
    assert "submitted when it answers" in cluster.told[-1]
    told = len(cluster.told)
    assert later(engine, cluster, [order], 20.0) == [None]
    assert len(cluster.told) == told, "told once"
    cluster.refuses = None
    assert later(engine, cluster, [order], 20.0) == [None]
    assert len(cluster.submitted) == 1
    cluster.silent = True
    assert later(engine, cluster, [order], 3600.0) == [None]
    cluster.silent, cluster.states = False, {"1": "RUNNING"}
    assert later(engine, cluster, [order], 20.0) == [None]


def test_a_job_that_a_controller_cancels_because_it_has_begun_it_twice_is_no_job_that_somebody_cancelled(
    new_engine, cluster
):
    engine = new_engine()
    one, two = launched(engine, cluster, ["session_qc", "frame_times"])
    later(engine, cluster, [one, two], 1.0)
    for order in (one, two):
        job = engine._jobs[order.step]
        engine._folder.begun(job.n, 0).write_text("1000\n")
    cluster.states = {job.id: "CANCELLED" for job in engine._jobs.values()}
    cluster.states.pop(engine._jobs["frame_times"].id)
    cluster.begun = "1012"
    later(engine, cluster, [one])
    assert later(engine, cluster, [one]) == [None]
    assert "began it a second time, and ended it" in cluster.told[-1]
    later(engine, cluster, [one], 1.0)
    assert len(cluster.submitted) == 3
    cluster.begun = "1000"
    assert "somebody cancelled it" in after(engine, cluster, two, "CANCELLED")
    assert len(cluster.submitted) == 3


@pytest.mark.parametrize("seen", ["", "RUNNING"])
def test_a_job_that_a_controller_has_forgotten_is_tried_once_more_though_its_number_is_given_again(
    new_engine, cluster, seen
):
    engine = new_engine()
    (order,) = launched(engine, cluster, ["session_qc"])
    later(engine, cluster, [order], 1.0)
    cluster.states = {"1": seen} if seen else {}
    assert later(engine, cluster, [order], 60.0) == [None]
    cluster.states = {}
    assert later(engine, cluster, [order], 6.0) == [None]
    assert later(engine, cluster, [order], 6.0) == [None]
    assert len(cluster.submitted) == 1, "a controller may be told of it a moment later"
    assert later(engine, cluster, [order], 20.0) == [None]
    assert "SLURM does not know it any more" in cluster.told[-1]
    assert cluster.told[-1].endswith("It is tried once more")
    cluster.first_number = 0  # the second job has the number of the first
    later(engine, cluster, [order], 1.0)
    assert (len(cluster.submitted), engine._jobs["session_qc"].id) == (2, "1")
    cluster.states = {"1": "RUNNING"}
    assert later(engine, cluster, [order], 3600.0) == [None]
    assert "its process ended without telling why" in after(engine, cluster, order, "FAILED")


def test_the_job_of_another_run_that_has_the_number_of_a_forgotten_one_is_not_taken_for_it(
    new_engine, cluster, monkeypatch
):
    engine = new_engine()
    (order,) = launched(engine, cluster, ["session_qc"])
    later(engine, cluster, [order], 1.0)
    other = SlurmJob("1", "meso-bbbb-1-0", "RUNNING", "n1", "1000", "None")
    monkeypatch.setattr(engine_module, "jobs_of", lambda numbers: {"1": other})
    later(engine, cluster, [order], 60.0)
    assert later(engine, cluster, [order], 30.0) == [None]
    assert cluster.told[-1].endswith("It is tried once more")


def test_a_job_whose_submission_was_not_answered_is_found_by_its_name(new_engine, cluster, monkeypatch):
    engine = new_engine()
    cluster.refuses = no_answer()
    (order,) = launched(engine, cluster, ["session_qc"])
    later(engine, cluster, [order], 1.0)
    there = SlurmJob("77", "meso-aaaa-1-0", "RUNNING", "n1", "1000", "None")
    monkeypatch.setattr(engine_module, "jobs_called", lambda names: [there] if names == [there.name] else [])
    cluster.refuses = AssertionError("submitted twice")
    later(engine, cluster, [order], 20.0)
    assert engine._jobs["session_qc"].id == "77"


def test_a_job_that_slurm_refuses_fails_its_step_by_the_setting(new_engine, cluster):
    engine = new_engine()
    cluster.refuses = SettingsError("MESO_SLURM_PARTITION: wrong.")
    (order,) = launched(engine, cluster, ["session_qc"])
    assert later(engine, cluster, [order], 1.0) == ["MESO_SLURM_PARTITION: wrong."]


def test_a_node_that_refuses_says_why_and_the_last_lines_of_a_log_are_told(new_engine, cluster):
    engine = new_engine()
    one, two = launched(engine, cluster, ["session_qc", "frame_times"])
    later(engine, cluster, [one, two], 1.0)
    job, folder = engine._jobs["session_qc"], engine._folder
    folder.refusal(job.n, 0).write_text("node n1: expected the same code, found another.")
    cluster.states = {engine._jobs[step].id: "FAILED" for step in ("session_qc", "frame_times")}
    folder.log(engine._jobs["frame_times"].n, "0").write_text("a\nSegmentation fault\n")
    later(engine, cluster, [one, two])
    refused, crashed = later(engine, cluster, [one, two])
    assert refused == "node n1: expected the same code, found another."
    assert crashed.endswith("and ends:\na\nSegmentation fault\n")


def test_a_stopped_run_cancels_its_jobs_and_submits_no_more(new_engine, cluster):
    engine = new_engine()
    one, two = launched(engine, cluster, ["session_qc", "frame_times"])
    later(engine, cluster, [one, two], 1.0)
    (three,) = launched(engine, cluster, ["session_report"])
    for order in (one, two, three):
        engine.terminate(order)
    assert sorted(cluster.cancelled) == ["1", "2"]
    later(engine, cluster, [three], 5.0)
    assert len(cluster.submitted) == 2


def test_a_new_run_waits_for_jobs_that_a_dead_one_has_left_at_work_and_cancels_those_that_have_not_begun(
    new_engine, cluster
):
    dead = new_engine("dead-1")
    later(dead, cluster, launched(dead, cluster, FOVS), 1.0)
    name = "meso-dead-1-0"
    cluster.others = [
        SlurmJob("1_0", name, "COMPLETED", "n1", "1000", "None"),
        SlurmJob("1_1", name, "RUNNING", "n2", "1000", "None"),
        SlurmJob("1_2", name, "PENDING", "", "N/A", "Resources"),
    ]
    engine = new_engine("next-1")
    assert cluster.cancelled == ["1_2"]
    assert cluster.told[-1].startswith("job 1_1 of run dead is still at work on rois.find_rois[FOV_01] on n2")
    later(engine, cluster, launched(engine, cluster, ["rois.each_fov", "frame_times"]), 1.0)
    waits = [any(one == "--dependency=afterany:1_1" for one in options) for options in cluster.submitted[1:]]
    assert sorted(waits) == [False, True], "only what belongs to the same asset"
