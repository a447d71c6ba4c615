"""Steps that an engine runs elsewhere: begun by it, executed in another process, lost only where it says so."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from meso_assets.defs.dagster_internals import failure_message, is_told_by_the_leader
from meso_assets.defs.dagster_internals.delegating import delegating_executor, tell_of_step

HERE = "from meso_assets.defs.dagster_internals.delegating import execute_step_here; execute_step_here({!r})"


class Processes:
    """An engine of processes; the step `lost` never begins."""

    name = "processes"

    def __init__(self):
        self.begun, self.ended, self.command, self.late = {}, [], "", None

    def launch(self, order):
        if order.step == "lost":
            late = self.process(self.command)  # of a step that has ended, while the run goes on
            self.late = late.wait(60)
        else:
            self.command = order.command
            self.begun[order.step, order.n_before] = self.process(order.command)
        order.tell(f"process of {order.step}", {"place": "here"})
        return f"{order.step} is begun"

    def process(self, command):
        found = os.pathsep.join([str(Path(__file__).parent), *sys.path])  # as the job below is
        environment = {**os.environ, "PYTHONPATH": found}
        return subprocess.Popen([sys.executable, "-W", "ignore", "-c", HERE.format(command)], env=environment)

    def why_lost(self, order):
        process = self.begun.get((order.step, order.n_before))
        if process is None:
            return "its machine burnt down"
        return f"it ended with {process.returncode}" if process.poll() else None

    def terminate(self, order):
        self.ended.append(order.step)


ENGINE = Processes()


@dg.op
def twice(context: dg.OpExecutionContext) -> int:
    if not context.retry_number:
        raise dg.RetryRequested(max_retries=1)
    return 2


@dg.op
def lost(number: int) -> int:
    return number


@dg.job(
    executor_def=dg.ExecutorDefinition(
        name="processes",
        config_schema={},
        requirements=dg.multiprocess_executor.get_requirements,
        executor_creation_fn=lambda context: delegating_executor(ENGINE, 4),
    )
)
def both():
    lost(twice())


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        job = dg.reconstructable(both)
        with dg.execute_job(job, instance) as result:
            tell_of_step(instance, result.run_id, "twice", "it took a while", {"node": "n1"})
            events = [r.event_log_entry.dagster_event for r in instance.get_records_for_run(result.run_id).records]
        for process in ENGINE.begun.values():
            assert process.wait(30) == 0
        yield [event for event in events if event is not None]


def of(events, kind, step):
    return [event for event in events if event.event_type_value == kind and event.step_key == step]


def test_a_step_is_executed_in_another_process_and_begun_again_where_it_asks_for_that(ran):
    assert list(ENGINE.begun) == [("twice", 0), ("twice", 1)]
    assert of(ran, "STEP_UP_FOR_RETRY", "twice")
    (done,) = of(ran, "STEP_SUCCESS", "twice")
    assert not is_told_by_the_leader(done)


def test_a_step_that_has_ended_is_left_alone_by_a_machine_that_has_its_order_too(ran):
    assert ENGINE.late == 0
    assert len(of(ran, "STEP_SUCCESS", "twice")) == 1
    assert len(of(ran, "STEP_START", "twice")) == 1


def test_what_an_engine_tells_stands_in_the_log_of_the_run_with_its_values(ran):
    told = {event.message: event.engine_event_data.metadata for event in of(ran, "ENGINE_EVENT", "twice")}
    assert told["process of twice"]["place"].value == "here"
    assert told["it took a while"]["node"].value == "n1"
    assert [event.message for event in of(ran, "STEP_WORKER_STARTING", "twice")] == ["twice is begun"] * 2


def test_a_step_that_is_lost_fails_by_the_reason_of_the_engine(ran):
    (failed,) = of(ran, "STEP_FAILURE", "lost")
    assert failure_message(failed) == "its machine burnt down"
    assert is_told_by_the_leader(failed)
    assert ENGINE.ended == []
