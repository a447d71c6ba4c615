"""Dagster's executor that hands steps to an engine outside, and what runs a step there.

What belongs here: the one module that imports Dagster's internals by name, as its own Docker and Kubernetes executors
do: the step-delegating executor, its handler, engine events, and the command that executes one step. An engine knows
nothing of them: it is given a :class:`StepOrder`, and answers in words.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import dagster as dg
from dagster._cli.api import execute_step_command
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.step_delegating import (
    CheckStepHealthResult,
    StepDelegatingExecutor,
    StepHandler,
    StepHandlerContext,
)
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import deserialize_value

#: Between two looks at the events of a run, s; and between two questions for the health of its steps, s.
_LOOK_EVERY_S, _ASK_EVERY_S = 0.5, 1
_ENDS = {dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE}


@dataclass(frozen=True, slots=True)
class StepOrder:
    """One step that an engine is to run."""

    run_id: str
    #: Key of the step, as in ``rois.find_rois[FOV_00]``.
    step: str
    #: How often it was begun before in this run.
    n_before: int
    #: What :func:`execute_step_here` takes.
    command: str
    #: Tells a sentence in the log of the run, with values beside it.
    tell: Callable[[str, Mapping[str, str]], None]


class Engine(Protocol):
    """What runs steps outside of the process that leads a run."""

    @property
    def name(self) -> str:
        """Name for messages."""

    def launch(self, order: StepOrder) -> str:
        """Take a step, without waiting; return a sentence for the log."""

    def why_lost(self, order: StepOrder) -> str | None:
        """Why a step that has not told its end will not tell it any more; None while it waits or works."""

    def terminate(self, order: StepOrder) -> None:
        """End a step because somebody has stopped the run."""


class _Handler(StepHandler):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def name(self) -> str:
        return self._engine.name

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        order = _order(step_handler_context)
        told = self._engine.launch(order)
        yield DagsterEvent.step_worker_starting(step_handler_context.get_step_context(order.step), told, {})

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        why = self._engine.why_lost(_order(step_handler_context))
        return CheckStepHealthResult.healthy() if why is None else CheckStepHealthResult.unhealthy(why)

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        self._engine.terminate(_order(step_handler_context))
        return iter(())


def _order(context: StepHandlerContext) -> StepOrder:
    arguments: Any = context.execute_step_args
    (step,) = arguments.step_keys_to_execute
    before = arguments.known_state.get_retry_state().get_attempt_count(step) if arguments.known_state else 0

    def tell(text: str, values: Mapping[str, str]) -> None:
        DagsterEvent.engine_event(context.get_step_context(step), text, EngineEventData(metadata=dict(values)))

    (command,) = [one["value"] for one in arguments.get_command_env()]
    return StepOrder(arguments.run_id, step, before, command, tell)


def delegating_executor(engine: Engine, most_at_once: int) -> dg.Executor:
    """Make the executor that hands each step to an engine and follows the events that the step writes."""
    return StepDelegatingExecutor(
        _Handler(engine),
        retries=RetryMode.ENABLED,
        sleep_seconds=_LOOK_EVERY_S,
        check_step_health_interval_seconds=_ASK_EVERY_S,
        max_concurrent=most_at_once,
    )


def execute_step_here(command: str) -> None:
    """Execute the step of an order in this process; what becomes of it is written in the run's records.

    One that has ended by these records is left alone: where a machine was taken for lost and was not, two have its
    order, and what leads the run would fail at a second end.
    """
    if _has_ended(deserialize_value(zlib.decompress(base64.b64decode(command)).decode(), ExecuteStepArgs)):
        return
    execute_step_command.main(["--compressed-input-json", command], standalone_mode=False)


def _has_ended(asked: ExecuteStepArgs) -> bool:
    instance = dg.DagsterInstance.from_ref(asked.instance_ref) if asked.instance_ref else dg.DagsterInstance.get()
    with instance:
        ends = instance.all_logs(asked.run_id, of_type=_ENDS)
    return any(entry.step_key in (asked.step_keys_to_execute or ()) for entry in ends)


def tell_of_step(instance: dg.DagsterInstance, run_id: str, step: str, text: str, values: Mapping[str, str]) -> None:
    """Tell a sentence about a step in the log of its run, with values beside it."""
    run = instance.get_run_by_id(run_id)
    if run is not None:
        instance.report_engine_event(text, run, EngineEventData(metadata=dict(values)), step_key=step)
