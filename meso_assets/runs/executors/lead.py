"""What every run does around its steps, whichever engine executes them.

What belongs here: the frame around Dagster's executors. The process of a run writes itself down, claims what it is
about to make, and tells for whom it waits; places that dead runs hold are given back before it waits for them.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dagster as dg

from meso_core.errors import MesoError, StorageError
from meso_core.processes import tell_children

from ...defs.catalogue import CATALOGUE
from ...defs.dagster_internals import asset_of_step, watched_claims
from ...defs.dagster_internals.mirrors import deaf_to_the_terminal
from ...defs.running.claims import Claims
from ...defs.running.dead_runs import end_dead_runs, process_tags, who_holds
from ...defs.running.remote_claims import ClaimsOnServer, claims_of
from ...defs.standing.quick import work_of_run
from ...io.resources import Platform
from ...io.session_names import PARTITION_TAG, tags_of_run
from ..instance import in_use, size_pool
from ..settings.settings import MesoSettings
from .wrapper import Around, around

#: Between two lines that tell of the same holder of a place, s; and between two looks for dead holders.
_TELL_EVERY_S, _LOOK_EVERY_S = 300.0, 5.0
_ENDS = {"STEP_SUCCESS", "STEP_FAILURE", "STEP_UP_FOR_RETRY", "STEP_SKIPPED"}


def led(inner: dg.ExecutorDefinition, settings: MesoSettings) -> dg.ExecutorDefinition:
    """Put the frame of a run around an executor."""
    return around(inner, lambda made: Lead(made, settings))


class Lead(Around):
    """The process that leads a run."""

    def __init__(self, inner: dg.Executor, settings: MesoSettings) -> None:
        super().__init__(inner)
        self._settings = settings

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:  # noqa: ANN401  Dagster's
        """Execute the steps of a run."""
        instance, run = plan_context.instance, plan_context.dagster_run
        tags = {**process_tags(run.run_id), **work_of_run(run), **tags_of_run(instance, run)}
        instance.add_run_tags(run.run_id, tags)
        size_pool(instance, self._settings)
        tell_children()
        assets = {asset_of_step(key) for key in execution_plan.step_keys_to_execute} & set(CATALOGUE)
        at_work: set[str] = set()
        with ExitStack() as until_end:
            until_end.enter_context(in_use(self._settings.dagster_home))
            claims = self._claims(instance, run, assets, plan_context.log)
            if claims is not None:
                until_end.callback(claims.give_all_back)
            waiting = _Waiting(instance, run.run_id, plan_context.log)
            until_end.enter_context(watched_claims(instance, lambda: bool(at_work), waiting))
            until_end.enter_context(deaf_to_the_terminal(instance))
            for event in self._inner.execute(plan_context, execution_plan):
                kind, step = event.event_type_value, event.step_key or ""
                if kind == "STEP_WORKER_STARTING":
                    at_work.add(step)
                elif kind in _ENDS:
                    at_work.discard(step)
                elif kind == "ASSET_MATERIALIZATION" and claims is not None:
                    claims.give_back(asset_of_step(step))
                yield event

    def _claims(
        self,
        instance: dg.DagsterInstance,
        run: dg.DagsterRun,
        assets: Collection[str],
        log: Any,  # noqa: ANN401  Dagster's
    ) -> Claims | ClaimsOnServer | None:
        """Claim the assets of a run in its session; None where there is nothing to claim, or no way to."""
        session = run.tags.get(PARTITION_TAG)
        if session is None or not assets:
            return None
        try:
            claims = claims_of(Platform.open(self._settings).session(session, instance), run.run_id)
        except MesoError as error:  # the steps fail by it
            log.warning(f"nothing is claimed: {error}")
            return None
        try:
            with interruptible():
                claims.wait_for(assets, log.info)
        except StorageError as error:
            log.warning(f"nothing is claimed, and nobody keeps a second run away: {error}")
            return None
        return claims


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C and *Terminate* end a wait: Dagster keeps them for its own loop while an executor works."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Waiting:
    """What a run does while it waits for a place in a pool."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str, log: Any) -> None:  # noqa: ANN401  Dagster's
        self._instance = instance
        self._run_id = run_id
        self._log = log
        self._told = ""
        self._told_at = self._looked_at = float("-inf")

    def __call__(self, pool: str) -> None:
        """Give back what dead runs hold, and tell who holds the rest."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        for dead in end_dead_runs(self._instance):
            self._log.info(f"{dead}; its places are given back")
        holders = who_holds(self._instance, pool, but=self._run_id)
        text = f"waiting for a place in {pool}: held by {holders}"
        if not holders:  # its own steps do: that is no news
            self._told = ""
        elif text != self._told or now - self._told_at > _TELL_EVERY_S:
            self._log.info(text)
            self._told, self._told_at = text, now
