"""The queue of runs: each has the tags of its session and work while it waits, and quick ones wait for no long one."""

from types import SimpleNamespace

import dagster as dg
import pytest
import yaml
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.dagster_internals.origins import job_origin, shown_as_any_run
from meso_assets.defs.jobs import PROCESS_SESSION
from meso_assets.defs.standing.quick import LONG, QUICK, QUICK_ASSETS, WORK
from meso_assets.io.session_names import add_sessions
from meso_assets.runs.instance import open_instance
from meso_assets.runs.settings.settings import load_settings
from meso_core.session import SessionKey

KEY = SessionKey.parse("labA/Subjects/SP036/2023-03-01/001")
TOLD = {WORK: LONG, "meso/session": KEY.name, "meso/subject": "SP036", "meso/date": "2023-03-01", "meso/number": "001"}


@dg.op
def nothing():
    pass


@dg.job
def some_job():
    nothing()


@pytest.fixture
def instance(tmp_path):
    with open_instance(load_settings({"home": tmp_path / "home"})) as made:
        yield made


def queued(instance, **tags):
    with shown_as_any_run(instance):
        run = instance.create_run_for_job(job_def=some_job, tags=tags)
    return instance.run_coordinator.submit_run(dg.SubmitRunContext(run, None))


def test_a_run_that_waits_has_the_tags_of_its_session(instance):
    assert add_sessions(instance, [KEY]) == {KEY: KEY.name}
    run = queued(instance, **{"dagster/partition": KEY.name, "dagster/backfill": "abcdefgh"})
    assert run.status is dg.DagsterRunStatus.QUEUED
    assert {name: text for name, text in run.tags.items() if name.startswith("meso/")} == {**TOLD, "meso/lab": "labA"}
    (found,) = instance.get_runs(dg.RunsFilter(tags={"meso/subject": "SP036"}))
    assert found.run_id == run.run_id


@pytest.mark.parametrize("partition", ["", "what a person made up", "SP099/2023-03-01/001"])
def test_a_run_of_no_known_session_waits_without(instance, partition):
    run = queued(instance, **({"dagster/partition": partition} if partition else {}))
    assert run.status is dg.DagsterRunStatus.QUEUED
    assert [name for name in run.tags if name.startswith("meso/")] == [WORK]


def test_how_many_runs_go_at_a_time_is_still_what_the_configuration_says(instance):
    limits = instance.get_concurrency_config().run_queue_config
    assert limits.max_concurrent_runs == 4
    assert [limit["key"] for limit in limits.tag_concurrency_limits] == [WORK, "dagster/partition"]


class Queue:
    """A home's queue with Dagster's own daemon, and a launcher that only notes what it is given."""

    def __init__(self, instance):
        self.instance, self.launched, self._n_days = instance, [], 0
        instance._run_launcher = SimpleNamespace(
            launch_run=lambda context: self.launched.append(context.dagster_run), dispose=lambda: None
        )
        self._daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)

    def submit(self, assets, session="", **more):
        """Put a run of a session of its own into the queue."""
        self._n_days += 1
        tags = {"dagster/partition": session or f"SP035/2023-03-{self._n_days:02d}/001", **more.pop("tags", {})}
        selection = frozenset(dg.AssetKey(name) for name in assets) or None
        run = dg.DagsterRun(PROCESS_SESSION, tags=tags, asset_selection=selection, **more)
        self.instance.add_run(run._replace(remote_job_origin=job_origin(PROCESS_SESSION)))
        return self.instance.run_coordinator.submit_run(
            dg.SubmitRunContext(self.instance.get_run_by_id(run.run_id), None)
        )

    def goes(self):
        """Let the daemon look once; returns the runs that it launched, in their order."""
        before = len(self.launched)
        list(self._daemon.run_iteration(SimpleNamespace(instance=self.instance, create_request_context=lambda: None)))
        return [run.run_id for run in self.launched[before:]]

    def end(self, run_id):
        self.instance.report_run_canceled(self.instance.get_run_by_id(run_id))

    def at_work(self, work):
        """How many runs of a kind are at work."""
        active = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)
        return self.instance.get_runs_count(dg.RunsFilter(statuses=active, tags={WORK: work}))


@pytest.fixture
def queue(instance):
    return Queue(instance)


@pytest.mark.parametrize(
    ("engine", "n_long"), [("multiprocess", 2), pytest.param("slurm", 8, marks=pytest.mark.nightly)]
)
def test_a_quick_run_of_a_new_session_goes_at_once_while_long_ones_are_at_work_and_wait(engine, n_long, tmp_path):
    with open_instance(load_settings({"home": tmp_path / "home", "executor": engine})) as made:
        quick_runs_wait_for_no_long_one(Queue(made), n_long)


def quick_runs_wait_for_no_long_one(queue, n_long):
    long_runs = [queue.submit(CATALOGUE).run_id for _ in range(n_long + 2)]
    assert queue.goes() == long_runs[:n_long], "and no more, although there are places"
    assert queue.goes() == []
    quick = [queue.submit(QUICK_ASSETS).run_id for _ in range(3)]
    assert queue.goes() == quick[:2]
    assert (queue.at_work(LONG), queue.at_work(QUICK)) == (n_long, 2)
    queue.end(quick[0])
    assert queue.goes() == quick[2:], "its place is no long run's"
    queue.end(quick[1])
    queue.end(quick[2])
    assert queue.goes() == []
    queue.end(long_runs[0])
    assert queue.goes() == [long_runs[n_long]]
    assert queue.at_work(LONG) == n_long


def test_quick_runs_go_before_long_ones_that_wait_longer_and_may_have_all_places(queue):
    long_runs = [queue.submit(CATALOGUE).run_id for _ in range(3)]
    quick = [queue.submit(QUICK_ASSETS).run_id for _ in range(4)]
    assert queue.goes() == quick
    queue.end(quick[0])
    assert queue.goes() == long_runs[:1]


def test_runs_that_came_by_another_door_count_and_one_session_has_one_run(queue):
    tags = {WORK: LONG, "dagster/partition": "SP036/2023-03-01/001"}  # as `meso run` starts it
    queue.instance.add_run(dg.DagsterRun(PROCESS_SESSION, tags=tags, status=dg.DagsterRunStatus.STARTED))
    first, second = (queue.submit(CATALOGUE).run_id for _ in range(2))
    again = queue.submit(QUICK_ASSETS, session=queue.instance.get_run_by_id(first).tags["dagster/partition"]).run_id
    assert queue.goes() == [again, second], "there is one place for a long run"
    queue.end(again)
    assert queue.goes() == []
    queue.end(second)
    assert queue.goes() == [first]


def test_what_a_run_makes_says_whether_it_is_quick_and_not_what_it_was_copied_from(queue):
    assert queue.submit(("frame_times", "rois"), tags={WORK: QUICK}).tags[WORK] == LONG
    assert queue.submit(("lineage_audit",)).tags[WORK] == LONG, "it reads all files"
    assert queue.submit(()).tags[WORK] == LONG
    assert queue.submit((), tags={WORK: QUICK}).tags[WORK] == QUICK, "as the job of what is quick says"
    quick = queue.submit(("frame_times",)).tags
    assert (quick[WORK], quick["dagster/priority"]) == (QUICK, "1")
    assert queue.submit(("frame_times",), tags={"dagster/priority": "7"}).tags["dagster/priority"] == "7"


def test_a_home_whose_configuration_names_no_kinds_of_work_goes_on_as_it_did_quick_ones_first(tmp_path):
    settings = load_settings({"home": tmp_path / "home"})
    with open_instance(settings):
        pass
    file = settings.dagster_home / "dagster.yaml"
    told = yaml.safe_load(file.read_text())
    told["concurrency"]["runs"] = {"max_concurrent_runs": 2, "tag_concurrency_limits": []}
    file.write_text(yaml.safe_dump(told))
    with open_instance(settings) as made:
        queue = Queue(made)
        waits = [queue.submit(CATALOGUE).run_id for _ in range(3)]
        quick = queue.submit(QUICK_ASSETS).run_id
        assert queue.goes() == [quick, waits[0]]
        queue.end(quick)
        assert queue.goes() == [waits[1]]


def test_runs_of_this_process_have_the_origin_of_those_of_the_interface(instance):
    with shown_as_any_run(instance):
        assert some_job.execute_in_process(instance=instance).success
    assert some_job.execute_in_process(instance=instance).success, "and then no more"
    other, ours = instance.get_runs()
    assert other.remote_job_origin is None
    origin = ours.remote_job_origin
    assert (origin.location_name, origin.repository_origin.repository_name) == (
        "meso_assets.definitions",
        "__repository__",
    )
    assert origin.job_name == "some_job"
