"""Steps of sessions go to an engine, everything else stays here; and what each step needs there.

What belongs here: what engines share that run steps on other machines. What does not: any one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import dagster as dg

from meso_core.session import SessionKey

from ...defs.catalogue import CATALOGUE, RECORDS
from ...defs.dagster_internals import asset_of_step
from ...defs.dagster_internals.delegating import Engine, delegating_executor
from ...defs.needs import work_of_step
from ...defs.preflight import Flight, look_ahead
from ...defs.standing.standings import look_at
from ...io.resources import Platform
from ...io.session_names import PARTITION_TAG
from ..console import StepsElsewhere
from ..settings.settings import MesoSettings
from .compatibility import Sameness
from .local import multiprocess
from .wrapper import Around, around

if TYPE_CHECKING:
    from meso_core.imaging import StepNeeds, Work

_TIMES = "frame_times"


class OutsideEngine(Engine, Protocol):
    """An engine that is made for one run."""

    def begin(self, tell: Callable[[str], None]) -> None:
        """Check that it answers, and find what an earlier run of the session has left at work.

        Raises
        ------
        MesoError
            If it cannot run steps, with what to change.
        """


class EngineOfRun:
    """What every engine knows of the run whose steps it takes.

    Parameters
    ----------
    settings
        Settings of the platform.
    needs
        What steps need.
    run, key
        The run, and its session.
    """

    def __init__(self, settings: MesoSettings, needs: RunNeeds, run: dg.DagsterRun, key: SessionKey) -> None:
        self._settings = settings
        self._needs = needs
        self._run = run
        self._session = str(key)
        #: What the machines that take steps must have in common with this one.
        self._leader = Sameness.of_this_machine(settings)
        #: Whether the engine did not answer when it was asked last: that is told once.
        self._silent = False


class RunNeeds:
    """What the steps of one run need; asked again until the size of the session is known."""

    def __init__(self, settings: MesoSettings, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
        self.instance = instance
        self._settings = settings
        self._run = run
        self._known: Mapping[Work, StepNeeds] | None = None

    def of(self, step: str) -> StepNeeds:
        """Tell what a step needs."""
        work = work_of_step(step)
        if self._known is not None:
            return self._known[work]
        found, is_final = self._look()
        if is_final:
            self._known = found
        return found[work]

    def _look(self) -> tuple[Mapping[Work, StepNeeds], bool]:
        platform = Platform.open(self._settings)
        session = platform.session(self._run.tags[PARTITION_TAG], self.instance)
        wanted = {key.path[-1] for key in self._run.asset_selection or ()} & set(CATALOGUE) or set(CATALOGUE)
        flight = Flight(platform, self.instance, look_at(session), wanted - {_TIMES}, _suite2p_of(self._run))
        ahead = look_ahead(flight, may_read=False)
        return ahead.needs, ahead.estimate.memory_bytes is not None


def _suite2p_of(run: dg.DagsterRun) -> Mapping[str, Any]:
    """suite2p options of a run alone, as its configuration has them."""
    config: Any = run.run_config
    ops: Any = (config or {}).get("ops") or {}
    found: dict[str, Any] = {}
    for name in CATALOGUE:
        found |= (ops.get(name) or {}).get("config", {}).get("suite2p") or {}
    return found


def elsewhere(
    name: str,
    make: Callable[[MesoSettings, RunNeeds, dg.DagsterRun, SessionKey], OutsideEngine],
    settings: MesoSettings,
) -> dg.ExecutorDefinition:
    """Make the executor of an engine.

    Parameters
    ----------
    name
        Name of the executor.
    make
        Makes the engine for one run of a session.
    settings
        Settings of the platform.
    """
    return around(
        multiprocess(settings),
        lambda here: _Elsewhere(here, make, settings),
        name=name,
        description=f"Steps of sessions by {name}, everything else in processes of this machine.",
    )


class _Elsewhere(Around):
    def __init__(self, here: dg.Executor, make: Callable[..., OutsideEngine], settings: MesoSettings) -> None:
        super().__init__(here)
        self._make = make
        self._settings = settings

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:  # noqa: ANN401  Dagster's
        """Execute the steps of a run, where they belong."""
        run, instance = plan_context.dagster_run, plan_context.instance
        assets = {asset_of_step(key) for key in execution_plan.step_keys_to_execute}
        if PARTITION_TAG not in run.tags or not assets & {*CATALOGUE, *RECORDS}:
            yield from self._inner.execute(plan_context, execution_plan)
            return
        key = Platform.open(self._settings).session(run.tags[PARTITION_TAG], instance).key
        engine = self._make(self._settings, RunNeeds(self._settings, instance, run), run, key)
        engine.begin(plan_context.log.info)
        show = StepsElsewhere(run)
        for event in delegating_executor(engine, self._settings.places).execute(plan_context, execution_plan):
            show(event)
            yield event
