"""The broker between the process that leads a run and the workers: its address, its queues, and who answers there.

What belongs here: what is asked of Celery. What a step is, and which worker is fit for one, is in ``executors.celery``.
The address holds a password: it stays in the environment, and nothing here shows it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from meso_core.errors import EngineError, SettingsError, problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..settings.settings import MesoSettings

BROKER_VARIABLE = "MESO_BROKER"
_EXAMPLE = "redis://:password@host:6379/0"
#: Queues by what a step needs most: a disk and little else, memory, a GPU.
QUEUES = ("io", "memory", "gpu")
#: Name of the task that runs a step, and of what workers can be told.
STEP_TASK, TELLS, ENDS, KILLS = "meso.step", "meso_tells", "meso_ends", "meso_kills"
#: Time that workers have for an answer, s; and where one is missed, for its machine may have much to do.
ANSWER_S, LATE_ANSWER_S = 2.0, 5.0
_KEPT_S = 7 * 86_400


def queue_key(queue: str) -> str:
    """Name of a queue in the broker, which may serve others too."""
    return f"meso.{queue}"


def broker_address() -> str:
    """Return the address of the broker.

    Raises
    ------
    SettingsError
        If the environment names none, or no Redis or Valkey.
    """
    told = os.environ.get(BROKER_VARIABLE, "").strip()
    address = told.replace("valkey", "redis", 1) if told.startswith("valkey") else told
    if not address.startswith(("redis://", "rediss://")):
        found = "another text (it may hold a password, so it is not shown)" if told else "nothing"
        expected, remedy = "the address of a Redis or Valkey", f"Set it for each process of meso, as in {_EXAMPLE}"
        raise SettingsError(problem(BROKER_VARIABLE, expected=expected, found=found, remedy=remedy))
    if lacking := [name for name in ("celery", "redis") if find_spec(name) is None]:
        found, remedy = f"{', '.join(lacking)} not installed", "pip install 'meso[celery]'"
        raise SettingsError(problem(BROKER_VARIABLE, expected="packages for Celery", found=found, remedy=remedy))
    return address


def shown_broker() -> str:
    """Show host, port and database of the broker, and no password."""
    return broker_address().rpartition("@")[2].rpartition("//")[2]


@lru_cache(maxsize=4)
def _app(address: str) -> Any:  # noqa: ANN401  Celery's
    from celery import Celery
    from kombu import Queue

    app = Celery("meso", broker=address, set_as_current=False)
    app.conf.update(
        # a step is told to one worker once: whether it is lost is found out by who leads the run
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # what became of a step the worker tells when it is asked: a result that the broker could not take at that
        # moment would hold its place without end
        task_ignore_result=True,
        task_queues=[Queue(queue_key(name)) for name in QUEUES],
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": _KEPT_S, "socket_timeout": 10, "socket_connect_timeout": 5},
        worker_hijack_root_logger=False,
    )
    return app


def broker_app() -> Any:  # noqa: ANN401  Celery's
    """Celery's application on the broker."""
    return _app(broker_address())


@contextmanager
def broker_errors() -> Iterator[None]:
    """Name what goes wrong with the broker.

    Raises
    ------
    EngineError
        One that may pass, with host and port.
    """
    from kombu.exceptions import KombuError
    from redis.exceptions import RedisError

    try:
        yield
    except (KombuError, RedisError, OSError) as error:
        named = EngineError.at(
            f"broker at {shown_broker()}",
            expected="a Redis or Valkey that answers",
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            remedy=f"Start it, or correct {BROKER_VARIABLE}; look at the network between it and here",
        )
        named.passes = True
        raise named from None


def ask_workers(
    session: str = "", *, enough: int | None = None, within_s: float = ANSWER_S
) -> Mapping[str, Mapping[str, Any]]:
    """Ask all workers what they are and whether they see a session.

    Parameters
    ----------
    session
        Key of the session; none is asked for where it is empty.
    enough
        Number of answers after which no other one is waited for.
    within_s
        How long the next answer is waited for, s.

    Returns
    -------
    dict
        Name of the worker → what it tells.

    Raises
    ------
    EngineError
        If the broker does not answer.
    """
    with broker_errors():
        app = broker_app()
        with app.connection_for_write(connect_timeout=5) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
            told = app.control.broadcast(
                TELLS,
                arguments={"session": session},
                reply=True,
                timeout=within_s,
                limit=enough,
                connection=connection,
            )
    return {name: answer for one in told or () for name, answer in one.items() if "queues" in answer}


@dataclass(frozen=True, slots=True)
class AtHand:
    """What the broker and the workers have."""

    #: Tasks that wait in a queue.
    waiting: frozenset[str]
    #: Task that is at work → worker that has it.
    at_work: Mapping[str, str]
    #: Task that was over a short time ago → why its process did not end as it should; empty where it did.
    over: Mapping[str, str]
    #: Workers that have answered.
    workers: frozenset[str]

    def has(self, task: str) -> bool:
        """Whether somebody has a task, or has had it to its end."""
        return task in self.waiting or task in self.at_work or task in self.over


def tasks_at_hand(wanted: Collection[str], n_workers: int) -> AtHand:
    """Ask the broker and the workers what they have.

    Parameters
    ----------
    wanted
        Tasks that are asked for: where nobody seems to have one of them, all workers are waited for.
    n_workers
        How many have answered before: otherwise no others are waited for.

    Raises
    ------
    EngineError
        If the broker does not answer.
    """
    waiting: set[str] = set()
    with broker_errors():
        app = broker_app()
        with app.connection_for_read(connect_timeout=5) as connection:
            client = connection.default_channel.client
            for queue in QUEUES:
                for message in client.lrange(queue_key(queue), 0, -1):
                    with suppress(ValueError, KeyError, TypeError):
                        waiting.add(_id_of(message))
    workers = ask_workers(enough=n_workers or None)
    found = _at_hand(waiting, workers)
    if all(found.has(task) for task in wanted):
        return found
    # those that answer first are not all: others have much to do, or were started since
    return _at_hand(waiting, {**workers, **ask_workers(within_s=LATE_ANSWER_S)})


def _at_hand(waiting: Collection[str], workers: Mapping[str, Mapping[str, Any]]) -> AtHand:
    at_work = {task: name for name, told in workers.items() for task in told["tasks"]}
    over = {task: why for told in workers.values() for task, why in told["over"].items()}
    return AtHand(frozenset(waiting), at_work, over, frozenset(workers))


def _id_of(message: bytes) -> str:
    import json

    return str(json.loads(message)["headers"]["id"])


def tell_workers(command: str, **about: str) -> None:
    """Tell all workers something, without waiting for an answer."""
    with broker_errors():
        broker_app().control.broadcast(command, arguments=about)


def check_broker(settings: MesoSettings, needed: Collection[str] | None = None) -> None:
    """Refuse to begin a session where nobody would take its steps.

    Parameters
    ----------
    settings
        Settings of the platform.
    needed
        Queues of the steps; by default those that a session of these settings needs.

    Raises
    ------
    SettingsError, EngineError
        With what to change.
    """
    lacking: list[str] = []
    for within_s in (ANSWER_S, LATE_ANSWER_S):
        workers = ask_workers(within_s=within_s)
        queues = {queue for told in workers.values() for queue in told["queues"]}
        lacking = sorted(set(needed or needed_queues(settings)) - queues)
        if not lacking:
            break
    if lacking:
        found = f"{len(workers)} workers, of the queues {', '.join(sorted(queues))}" if workers else "no worker"
        raise EngineError.at(
            f"broker at {shown_broker()}",
            expected=f"a worker for the queue {' and for '.join(lacking)}",
            found=found,
            remedy=f"Start one where there is room for such steps: `meso worker --queues {','.join(lacking)}`",
        )


def needed_queues(settings: MesoSettings) -> frozenset[str]:
    """Queues that the steps of sessions go to."""
    return frozenset({"io", "gpu" if wants_gpu(settings) else "memory"})


def wants_gpu(settings: MesoSettings) -> bool:
    """Whether suite2p is set to work on a GPU."""
    return bool(settings.suite2p) and str(settings.overrides.values.get("torch_device", "")).startswith("cuda")
