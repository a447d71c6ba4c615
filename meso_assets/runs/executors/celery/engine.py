"""The steps of one run, and the tasks of Celery that they are.

What belongs here: which workers are fit, what becomes of a task whose worker or broker is gone, and what is given to
another worker. A step may be begun twice: what it publishes, it publishes whole, and it goes on with what is whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from meso_core.errors import EngineError, MesoError
from meso_core.imaging.needs import StepNeeds, Work
from meso_core.json_text import json_text
from meso_core.session import SessionKey
from meso_core.storage.files.atomic import write_file

from ....defs.dagster_internals.delegating import StepOrder
from ....defs.needs import work_of_step
from ...engines.celery_broker import (
    ENDS,
    KILLS,
    LATE_ANSWER_S,
    STEP_TASK,
    AtHand,
    ask_workers,
    broker_app,
    broker_errors,
    check_broker,
    needed_queues,
    queue_key,
    shown_broker,
    tasks_at_hand,
    tell_workers,
)
from ...settings.settings import MesoSettings
from ..compatibility import Sameness
from ..routing import EngineOfRun, RunNeeds

#: File of the home: what led a run last, for workers that start.
LEADER = "celery/leader.json"
#: Between two looks at what the broker and the workers have, s.
_LOOK_EVERY_S = 5.0
#: What nobody has for so long is lost, s: a message is on its way for a moment.
_LOST_AFTER_S = 20.0
#: A worker that does not answer for so long is gone, s: its machine may have much to do, and a step that is begun
#: anew elsewhere has worked in vain.
_SILENT_FOR_S = 120.0
#: A step has told its end when its task is over; its records may show it a moment later, s.
_GRACE_S = 10.0
#: How often a step is given to another worker.
_AGAIN = 3
_IN_MEMORY = {Work.REGISTER, Work.DETECT, Work.LOCATE}


def queue_of(work: Work, needs: StepNeeds) -> str:
    """Queue of a step, by what it does and needs."""
    if needs.gpu:
        return "gpu"
    return "memory" if work in _IN_MEMORY else "io"


@dataclass(slots=True)
class _Task:
    """The task of a step."""

    id: str
    n: int = 0
    #: Worker that had it when it was seen last.
    worker: str = ""
    missing_since: float | None = None
    over_since: float | None = None


class CeleryEngine(EngineOfRun):
    """Celery for the steps of one run of a session."""

    name = "Celery"

    def __init__(self, settings: MesoSettings, needs: RunNeeds, run: dg.DagsterRun, key: SessionKey) -> None:
        super().__init__(settings, needs, run, key)
        self._tasks: dict[str, _Task] = {}
        self._at_hand: AtHand | None = None
        self._n_workers = 0
        self._looked_at = 0.0
        #: Worker → when it answered last.
        self._heard: dict[str, float] = {}
        #: Tasks of the steps that were asked for since the last look.
        self._wanted: set[str] = set()

    def begin(self, tell: Callable[[str], None]) -> None:
        """Find workers that are fit for this session, and let the others take nothing.

        Raises
        ------
        SettingsError, EngineError
            If there is no fit worker for a queue, with what is wrong with each.
        """
        check_broker(self._settings)
        workers = {**ask_workers(self._session)}
        if not needed_queues(self._settings) <= {queue for told in workers.values() for queue in told["queues"]}:
            workers |= ask_workers(self._session, within_s=LATE_ANSWER_S)  # one may have to look for it on a server
        self._heard = dict.fromkeys(workers, time.monotonic())
        unfit = {name: why for name, told in workers.items() if (why := self._why_unfit(name, told))}
        for name, why in unfit.items():
            tell(f"worker {name} is told to take nothing until it is started again: {why}")
            self._keep_from_work(name, workers[name]["queues"])
        fit = {queue for name, told in workers.items() if name not in unfit for queue in told["queues"]}
        if lacking := sorted(needed_queues(self._settings) - fit):
            raise EngineError.at(
                f"broker at {shown_broker()}",
                expected=f"a fit worker for the queue {' and for '.join(lacking)}",
                found="; ".join(unfit.values()) or "none",
                remedy="Mend that, and start the worker again: `meso worker`",
            )
        write_file(self._settings.home / LEADER, json_text(self._leader.as_record()).encode())

    def _why_unfit(self, name: str, told: Mapping[str, Any]) -> str:
        try:
            self._leader.refuse(Sameness(**told["sameness"]))
        except EngineError as error:
            return str(error)
        if not told["sees_session"]:
            return (
                f"{name} does not see {self._session} below {told['root']}: mount the share there as it is mounted here"
            )
        return str(told["lacks_room"])

    def _keep_from_work(self, name: str, queues: Collection[str]) -> None:
        with broker_errors():
            for queue in queues:
                broker_app().control.cancel_consumer(queue_key(queue), destination=[name])

    def launch(self, order: StepOrder) -> str:
        """Put a step into the queue of its needs."""
        queue = self._send(order, _Task(""))
        return f"{order.step} waits in the queue {queue}"

    def _send(self, order: StepOrder, task: _Task) -> str:
        needs = self._needs.of(order.step)
        queue = queue_of(work_of_step(order.step), needs)
        environment = {**self._settings.as_environment(), "DAGSTER_HOME": str(self._settings.dagster_home)}
        task.id = f"{self._run.run_id}:{order.step}:{order.n_before}:{task.n}"
        task.missing_since, task.over_since, task.worker = None, None, ""
        what = {
            "run_id": order.run_id,
            "step": order.step,
            "command": order.command,
            "environment": environment,
            "cores": needs.cores,
            "memory_gb": needs.memory_gb,
            "leader": self._leader.as_record(),
        }
        with broker_errors():
            broker_app().send_task(STEP_TASK, kwargs=what, task_id=task.id, queue=queue_key(queue), retry=True)
        self._tasks[order.step] = task
        return queue

    def terminate(self, order: StepOrder) -> None:
        """End a step, whether it waits or works."""
        task = self._tasks.get(order.step)
        if task is not None:
            self._end(task, ENDS)

    def _end(self, task: _Task, how: str) -> None:
        with broker_errors():
            broker_app().control.revoke(task.id)
        tell_workers(how, task=task.id)

    def why_lost(self, order: StepOrder) -> str | None:
        """Why a step will not tell its end any more; None while it waits or works, or is given to another worker."""
        task = self._tasks.get(order.step)
        if task is None:
            return None
        self._wanted.add(task.id)
        try:
            self._look()
            return self._judge(order, task)
        except MesoError as error:
            if not self._silent:
                order.tell(f"{error} Steps that are at work go on meanwhile; it is asked again", {})
            self._silent, self._at_hand = True, None
            for one in self._tasks.values():
                one.missing_since = None
            return None

    def _look(self) -> None:
        """Ask who has what, once for all steps."""
        if time.monotonic() - self._looked_at < _LOOK_EVERY_S:
            return
        try:
            self._at_hand = tasks_at_hand(self._wanted, self._n_workers)
        finally:
            self._looked_at = time.monotonic()  # it may have taken long, and other steps wait for their turn
        self._n_workers = len(self._at_hand.workers)
        self._heard |= dict.fromkeys(self._at_hand.workers, self._looked_at)
        self._wanted = set()
        self._silent = False

    def _judge(self, order: StepOrder, task: _Task) -> str | None:
        now, at_hand = time.monotonic(), self._at_hand
        if at_hand is not None and task.id in at_hand.over:
            task.over_since = task.over_since or now
            if now - task.over_since < _GRACE_S:
                return None
            return at_hand.over[task.id] or "its process ended without a word"
        if at_hand is None or at_hand.has(task.id):
            task.missing_since = None
            task.worker = at_hand.at_work.get(task.id, "") if at_hand is not None else task.worker
            return None
        task.missing_since = task.missing_since or now
        silent = {
            name
            for name, heard in self._heard.items()
            if name not in at_hand.workers and now - heard < _SILENT_FOR_S and task.worker in ("", name)
        }
        if silent or now - task.missing_since < _LOST_AFTER_S:  # one of these has it, or may have taken it just now
            return None
        if task.n == _AGAIN:
            return f"its worker was gone {_AGAIN + 1} times: look at the logs of the workers"
        self._end(task, KILLS)
        task.n += 1
        queue = self._send(order, task)
        order.tell(f"its worker or the broker is gone: it waits in the queue {queue} again, for another one", {})
        return None
