"""The simulated clock of ``python -m benchmarks scale``: it gives nobody what is not there, and its plan is meso's."""

import json
import os
import subprocess
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from benchmarks.bench_scale import QUICK_RUNS
from benchmarks.scale.clock import Clock, Costs, Site
from benchmarks.scale.engines import Ground, Taken, python_of_jobs
from benchmarks.scale.plan import N_FOVS, SimStep, large_session, without
from benchmarks.scale.told import JobTold, costs_of_run, read_jobs, steps_as_told
from meso_assets.defs.standing.quick import WORK
from meso_assets.runs.instance import CONFIGURATION
from meso_assets.runs.settings.settings import MesoSettings
from meso_core.imaging.needs import StepNeeds

COSTS = Costs(begin=8.0, end=3.0, turn=3.0, job=5.0)
FREE = Costs(0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def session():
    return large_session()


def step(key, *after, cores=1, memory_gb=1.0, minutes=30, seconds=60.0, **more):
    return SimStep(key, after, StepNeeds(cores, memory_gb, False, minutes), seconds, **more)


def most_at_once(spans, of, node=None):
    """Largest sum of something over the steps that are at work at the same moment."""
    changes = sorted(
        (when, sign * of(one))
        for one in spans
        if node is None or one.node == node
        for when, sign in ((one.begin, 1), (one.end, -1))
    )
    now = most = 0.0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def longest_way(steps, cost):
    """Time of the longest way through the steps of a session, s."""
    ends = {}
    for one in steps:
        ends[one.key] = max((ends[other] for other in one.after), default=0.0) + cost(one)
    return max(ends.values())


def test_the_steps_are_those_that_meso_plans(session):
    keys = [one.key for one in session]
    assert len(keys) == len(set(keys))
    for op in ("motion_registered_frames.register_fov", "rois.find_rois"):
        assert sum(key.startswith(f"{op}[FOV_") for key in keys) == N_FOVS
    known = set[str]()
    for one in session:
        assert set(one.after) <= known, "each comes behind what it waits for"
        known.add(one.key)
    by_key = {one.key: one for one in session}
    assert set(by_key["rois.find_rois[FOV_03]"].after) == {"imaging_metadata", "rois.each_fov"}
    assert {f"rois.find_rois[FOV_{n:02d}]" for n in range(N_FOVS)} < set(by_key["rois.publish_rois"].after)
    assert by_key["imaging_metadata"].is_first
    assert not by_key["session_report"].is_first


def test_who_waited_for_a_step_that_is_left_out_waits_for_what_it_waited_for(session):
    kept = {one.key: one for one in without(session, ".find_rois[")}
    assert set(kept["rois.publish_rois"].after) == {"imaging_metadata", "rois.each_fov"}
    assert len(kept) == len(session) - N_FOVS


def test_a_session_that_has_all_for_itself_takes_its_longest_way(session):
    played = Clock(Site(100, 16, 128.0, 1), FREE, [session]).play()
    assert played.makespan == pytest.approx(longest_way(session, lambda one: one.seconds))
    played = Clock(Site(100, 16, 128.0, 1), COSTS, [session]).play()
    along = longest_way(session, lambda one: one.seconds + COSTS.job + COSTS.turn) - COSTS.turn
    assert played.makespan == pytest.approx(COSTS.begin + along + COSTS.end)


def test_what_orchestration_takes_is_found_again_in_what_jobs_tell(session):
    """Of a session that was played with known costs, whose jobs tell what those of a real cluster do."""
    steps = [replace(one, seconds=one.seconds / 40) for one in session]
    played = Clock(Site(100, 16, 128.0, 1), COSTS, [steps]).play()
    jobs = [
        JobTold("s", one.key, one.needs.cores, one.needs.memory_gb, one.needs.minutes, one.begin, one.end, one.seconds,
                COSTS.job)
        for one in played.spans
    ]  # fmt: skip
    found = costs_of_run(steps, jobs, Taken(0.0, played.makespan, 0.0))
    assert [found.begin, found.end, found.turn, found.job] == pytest.approx(
        [COSTS.begin, COSTS.end, COSTS.turn, COSTS.job]
    )
    again = steps_as_told(session, jobs, {one.key: one.seconds for one in steps})
    assert Clock(Site(100, 16, 128.0, 1), found, [again]).play().makespan == pytest.approx(played.makespan)


def test_what_stands_in_for_the_python_of_a_job_sleeps_does_what_it_is_asked_and_tells(tmp_path):
    python, told = python_of_jobs(tmp_path)
    Path(f"{told}.seconds").write_text(json.dumps({"rois": 0.0, "frame_qc": 0.5}))
    order = {"session": "a", "steps": ["rois", "frame_qc"], "cores": 2, "memory_gb": 4.0, "minutes": 30}
    (tmp_path / "0.json").write_text(json.dumps(order))
    package = tmp_path / "meso_assets" / "runs" / "executors" / "slurm"
    package.mkdir(parents=True)
    burns = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\nraise SystemExit(3)"
    (package / "job.py").write_text(burns)
    environment = {"PYTHONPATH": str(tmp_path), "SLURM_ARRAY_TASK_ID": "1"}
    asked = [python, "-m", "meso_assets.runs.executors.slurm.job", tmp_path / "0.json"]
    assert subprocess.run(asked, env=environment, cwd=tmp_path, check=False).returncode == 3
    (job,) = read_jobs(told, 1)
    assert (job.session, job.step, job.slept, job.needs.cores) == ("a", "frame_qc", 0.5, 2)
    assert 0.2 <= job.cpu <= job.besides + 0.01
    other = subprocess.run([python, "-c", "print(1 + 1)"], capture_output=True, text=True, check=True)
    assert other.stdout == "2\n", "what is no job is started as by any Python"
    assert len(read_jobs(told, 1)) == 1


def is_at_work(process):
    """Whether a process goes on; it is not waited for, which others do."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def test_sessions_are_run_as_many_at_once_as_asked_and_one_that_fails_is_told(tmp_path, monkeypatch):
    """In place of sessions, what waits for files: the first until the second is started, that until the last one is."""
    ground = Ground(tmp_path, "")
    monkeypatch.setattr(Ground, "forget_movies", lambda *_: None)
    waits_for, started, at_work = {"a": "b", "b": "d"}, [], []

    def start(self, key, engine, python=None):
        at_work.append(sum(is_at_work(one) for one in started if one.returncode is None))
        (tmp_path / key).touch()
        wait = f"while [ ! -e {waits_for.get(key, key)} ]; do sleep 0.05; done; exit {int(key == 'bad')}"
        started.append(subprocess.Popen(["sh", "-c", wait], cwd=tmp_path))
        return started[-1]

    monkeypatch.setattr(Ground, "start", start)
    ground.run_many(["a", "b", "c", "d"], "slurm", tmp_path, 2)
    assert at_work == [0, 1, 1, 1]
    (tmp_path / "slurm.log").write_text("why")
    with pytest.raises(RuntimeError, match="ended with 1: why"):
        ground.run_many(["bad"], "slurm", tmp_path, 1)


@pytest.mark.parametrize("n_nodes", [1, 3])
def test_no_node_gives_more_than_it_has_and_no_step_begins_too_early(session, n_nodes):
    site = Site(n_nodes, 16, 64.0, 3, most_jobs=5)
    played = Clock(site, COSTS, [session] * 8).play()
    assert len(played.spans) == 8 * len(session)
    for node in range(n_nodes):
        assert most_at_once(played.spans, lambda one: one.needs.cores, node) <= site.cores
        assert most_at_once(played.spans, lambda one: one.needs.memory_gb, node) <= site.memory_gb + 1e-6
    for number in range(8):
        mine = {one.key: one for one in played.spans if one.session == number}
        assert most_at_once(mine.values(), lambda _: 1) <= site.most_jobs
        for one in session:
            assert all(mine[other].end <= mine[one.key].begin for other in one.after)
    of_sessions = defaultdict(list)
    for one in played.spans:
        of_sessions[one.session] += [one.begin, one.end]
    led = sorted(change for times in of_sessions.values() for change in ((min(times), 1), (max(times), -1)))
    assert max(sum(sign for _, sign in led[: n + 1]) for n in range(len(led))) <= site.max_runs
    assert 0.0 < played.ideal <= played.makespan
    assert 0.0 < played.busy() <= 1.0


def test_what_is_large_keeps_its_turn_and_small_steps_go_before_it_only_where_they_end_in_time():
    small = [step(f"small{n}", minutes=1, seconds=30.0) for n in range(3)]
    steps = [step("first", cores=3, minutes=10, seconds=300.0), step("large", cores=4, minutes=10), *small]
    played = Clock(Site(1, 4, 100.0, 1), FREE, [steps]).play()
    begin = {one.key: one.begin for one in played.spans}
    assert begin["small0"] == 0.0, "there is a core, and its limit is over before the turn of the large one"
    assert begin["large"] == 300.0
    slow = [step("first", cores=3, minutes=10, seconds=300.0), step("large", cores=4, minutes=10), step("slow")]
    begin = {one.key: one.begin for one in Clock(Site(1, 4, 100.0, 1), FREE, [slow]).play().spans}
    assert begin["slow"] == 360.0, "its limit of 30 min would hold up the large one"


def test_quick_steps_of_a_run_go_first_and_cores_that_are_shared_make_each_slower():
    steps = [step("long", seconds=100.0), step("quick", seconds=1.0, is_first=True)]
    played = Clock(Site(1, 1, 10.0, 1), FREE, [steps]).play()
    assert [one.key for one in played.spans] == ["quick", "long"]
    four = [step(f"step{n}", seconds=0.0) for n in range(4)]
    alone = Clock(Site(1, 4, 10.0, 1), COSTS, [four]).play()
    shared = Clock(Site(1, 4, 10.0, 1, shared_cores=2), COSTS, [four]).play()
    assert shared.makespan - alone.makespan == pytest.approx(COSTS.job), "four want two cores at once"


@pytest.mark.parametrize("quick_runs", [0, QUICK_RUNS])
@pytest.mark.parametrize(("n_nodes", "memory_gb"), [(1, 128.0), (2, 128.0), (4, 64.0)])
def test_a_session_at_work_for_each_eight_slots_keeps_nine_tenths_of_them_busy(session, n_nodes, memory_gb, quick_runs):
    """What docs/scaling.md tells to set."""
    site = Site(n_nodes, 16, memory_gb, max_runs=2 * n_nodes, quick_runs=quick_runs)
    played = Clock(site, COSTS, [session] * 50).play()
    assert played.busy() >= 0.9


def ends_of(played, session, quick):
    """When of each session what is quick was made, or began what is long."""
    keys = {one.key for one in session if one.is_first}
    times = defaultdict(list)
    for one in played.spans:
        if (one.key in keys) is quick:
            times[one.session].append(one.end if quick else one.begin)
    return [(max if quick else min)(times[n]) for n in range(len(played.ended))]


def test_quick_results_of_all_sessions_come_before_most_long_runs_begin_and_nothing_is_lost(session):
    """As the sensor asks for runs and the queue lets them go."""
    site = Site(4, 16, 128.0, max_runs=8, quick_runs=QUICK_RUNS)
    played, alone = (Clock(replace(site, quick_runs=n), COSTS, [session] * 40).play() for n in (QUICK_RUNS, 0))
    assert sorted((one.session, one.key) for one in played.spans) == sorted(
        (one.session, one.key) for one in alone.spans
    )
    for number in range(40):
        mine = {one.key: one for one in played.spans if one.session == number}
        for one in session:
            assert all(mine[other].end <= mine[one.key].begin for other in one.after)
    quick, begun = ends_of(played, session, quick=True), ends_of(played, session, quick=False)
    assert all(early < late for early, late in zip(quick, begun, strict=True))
    assert max(quick) < 0.25 * max(ends_of(alone, session, quick=True))
    long_runs = sorted(change for n in range(40) for change in ((begun[n], 1), (played.ended[n], -1)))
    assert max(sum(sign for _, sign in long_runs[: n + 1]) for n in range(len(long_runs))) <= site.max_runs
    assert played.makespan < 1.1 * alone.makespan


def test_the_clock_has_as_many_places_for_quick_runs_as_the_configuration():
    runs = yaml.safe_load(CONFIGURATION.read_text())["concurrency"]["runs"]
    (of_work,) = [limit["limit"] for limit in runs["tag_concurrency_limits"] if limit["key"] == WORK]
    assert runs["max_concurrent_runs"] - of_work == QUICK_RUNS
    settings = MesoSettings()
    site = Site(1, 1, 1.0, 1)
    assert (site.look_every, site.most_asked) == (settings.scan_every_s, settings.scan_max_runs)
