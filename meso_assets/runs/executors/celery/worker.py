"""What a worker does: it takes steps from its queues, each in a process of its own, and tells what it is.

What belongs here: whether the machine is fit, before it takes anything and before each step. What a step does is the
business of the step.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from meso_core.errors import EngineError, MesoError, SettingsError, told
from meso_core.opening import is_there, read_plain
from meso_core.processes import tell_children
from meso_core.session import SessionKey

from ...engines.celery_broker import ENDS, KILLS, QUEUES, STEP_TASK, TELLS, ask_workers, broker_app, queue_key
from ...instance import prepare_home
from ...instance.on_server import insist_on_answer
from ...settings.engines import given_to_job
from ...settings.settings import MesoSettings
from ..compatibility import Sameness
from .engine import LEADER

#: Between two looks whether the run of a step still goes on, s; and what a step has to end in when it is told to.
_LOOK_EVERY_S, _ENDS_WITHIN_S = 15.0, 30.0
#: How many steps that are over a worker remembers.
_KEPT = 200


@dataclass(slots=True)
class Worker:
    """A worker of this machine."""

    settings: MesoSettings
    queues: tuple[str, ...]
    room_gb: float
    sameness: Sameness
    #: Task → process of its step.
    at_work: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    #: Task that is over → why its process did not end as it should; the last ones.
    over: dict[str, str] = field(default_factory=dict)

    def lacks_room(self) -> str:
        """Tell why no step can be begun; empty where there is room for the files that steps write for themselves."""
        free_gb = shutil.disk_usage(tempfile.gettempdir()).free / 1e9
        if free_gb >= self.room_gb:
            return ""
        return (
            f"{self.sameness.host} has {free_gb:.1f} GB free in {tempfile.gettempdir()}, and {self.room_gb:g} GB are "
            "wanted (`meso worker --room-gb`): free some, or set TMPDIR to a larger disk"
        )

    def tells(self, session: str) -> dict[str, Any]:
        """Tell what this worker is, and whether it sees a session."""
        return {
            "queues": list(self.queues),
            "tasks": [*self.taken],
            "over": dict(self.over),
            "sameness": self.sameness.as_record(),
            "root": str(self.settings.root),
            "sees_session": not session or sees(self.settings, session),
            "lacks_room": self.lacks_room(),
        }

    def take(self, task: str, what: Mapping[str, Any]) -> None:
        """Run a step, and keep what became of it for who leads its run."""
        try:
            why = self.run_step(task, what)
        except (MesoError, OSError) as error:
            why = told(error)
        self.over[task] = why
        while len(self.over) > _KEPT:
            del self.over[next(iter(self.over))]
        self.taken.discard(task)

    def run_step(self, task: str, what: Mapping[str, Any]) -> str:
        """Run a step in a process of its own; returns a sentence where it did not end as it should.

        Raises
        ------
        EngineError
            If this machine has other code or another atlas than the one that leads the run.
        """
        Sameness(**what["leader"]).refuse(self.sameness)
        if why := self.lacks_room():
            raise EngineError(why)
        environment = {**os.environ, **what["environment"], **given_to_job(what["cores"], what["memory_gb"])}
        command = [sys.executable, "-m", "meso_assets.runs.executors.celery.step"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, text=True)
        self.at_work[task] = process
        try:
            assert process.stdin is not None
            process.stdin.write(what["command"])
            process.stdin.close()
            code = self._wait(process, what["run_id"])
        finally:
            del self.at_work[task]
        return "" if code == 0 else f"the process of this step ended with {code} on {self.sameness.host}"

    def _wait(self, process: subprocess.Popen[str], run_id: str) -> int:
        looked_at = time.monotonic()
        while process.poll() is None:
            time.sleep(0.2)
            if time.monotonic() - looked_at > _LOOK_EVERY_S:
                looked_at = time.monotonic()
                if _has_ended(run_id):
                    self.end(process)
        return process.wait()

    def end(self, process: subprocess.Popen[str]) -> None:
        """End a step as Ctrl-C does, and kill it where it does not end."""
        process.terminate()

        def kill() -> None:
            try:
                process.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()

        threading.Thread(target=kill, daemon=True).start()


def sees(settings: MesoSettings, session: str) -> bool:
    """Whether this machine sees the folder of a session."""
    try:
        key = SessionKey.parse(session)
        return bool(settings.store().store_of(key).holds(key))
    except (MesoError, OSError):
        return False


def _has_ended(run_id: str) -> bool:
    """Whether the run of a step is over, as where what led it was killed; not known counts as no."""
    import dagster as dg
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with dg.DagsterInstance.get() as instance:
            run = instance.get_run_by_id(run_id)
    except (SQLAlchemyError, dg.DagsterError, OSError):  # records that are away come back
        return False
    return run is None or run.is_finished


def fit_worker(settings: MesoSettings, queues: Collection[str], room_gb: float) -> Worker:
    """Look whether this machine is fit to work, before it takes anything.

    Raises
    ------
    MesoError
        With what is wrong: broker, records, root, room, or another version than what led a run last.
    """
    if unknown := sorted(set(queues) - set(QUEUES)):
        remedy, expected = "Correct the names", f"some of {', '.join(QUEUES)}"
        raise SettingsError.at("--queues", expected=expected, found=", ".join(unknown), remedy=remedy)
    ask_workers()
    home = prepare_home(settings)
    insist_on_answer(home)
    settings.store().survey()
    worker = Worker(settings, tuple(queues), room_gb, Sameness.of_this_machine(settings))
    if why := worker.lacks_room():
        raise EngineError(why)
    if is_there(settings.home / LEADER):
        Sameness.from_record(read_plain(settings.home / LEADER).decode()).refuse(worker.sameness)
    return worker


def serve(worker: Worker, name: str, at_once: int) -> None:
    """Take steps until SIGTERM, which lets those at work come to their end."""
    from celery.signals import task_received
    from celery.worker.control import inspect_command

    tell_children()
    os.environ["DAGSTER_HOME"] = str(worker.settings.dagster_home)
    app = broker_app()

    @app.task(bind=True, name=STEP_TASK)  # type: ignore[untyped-decorator,unused-ignore]
    def step(self: Any, **what: Any) -> None:  # noqa: ANN401  Celery's
        worker.take(self.request.id, what)

    @inspect_command(name=TELLS, args=[("session", str)])  # type: ignore[untyped-decorator,unused-ignore]
    def tells(state: Any, session: str = "") -> dict[str, Any]:  # noqa: ANN401, ARG001  Celery's
        return worker.tells(session)

    @inspect_command(name=ENDS, args=[("task", str)])  # type: ignore[untyped-decorator,unused-ignore]
    def ends(state: Any, task: str = "") -> dict[str, Any]:  # noqa: ANN401, ARG001  Celery's
        if (process := worker.at_work.get(task)) is not None:
            worker.end(process)
        return {"ended": process is not None}

    @inspect_command(name=KILLS, args=[("task", str)])  # type: ignore[untyped-decorator,unused-ignore]
    def kills(state: Any, task: str = "") -> dict[str, Any]:  # noqa: ANN401, ARG001  Celery's
        if (process := worker.at_work.get(task)) is not None:
            process.kill()  # another worker has its step now: what became of it here is not to be told
        return {"ended": process is not None}

    def received(request: Any, **_: Any) -> None:  # noqa: ANN401  Celery's
        worker.taken.add(request.id)

    task_received.connect(received, weak=False)
    app.worker_main(
        [
            "worker",
            f"--queues={','.join(map(queue_key, worker.queues))}",
            "--pool=threads",
            f"--concurrency={at_once}",
            f"--hostname={name}",
            "--without-gossip",
            "--without-mingle",
            "--loglevel=INFO",
        ]
    )
