"""Sensors: new sessions become partitions, and what is due in those that are ready is run.

What belongs here: looking at the root and asking for runs. When a session counts as ready is decided in
``meso_core.session.arrival``; what is due, by the declarations.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from meso_core.errors import MesoError
from meso_core.session import Survey
from meso_core.storage import Cause, Session, Standing

from ..io.resources import Platform
from ..runs.settings import MesoSettings
from .dagster_internals import unseen
from .dead_runs import end_dead_runs
from .guard import told
from .jobs import PROCESS_SESSION
from .partitions import known_sessions, session_partitions
from .standings import look_at, with_downstream

#: A tick may take a minute; listing goes on in the next one after this time, s.
_SECONDS_OF_A_LOOK = 30.0


@dataclass(frozen=True, slots=True)
class SessionState:
    """What one look found out about a session."""

    key: str
    ready: bool
    #: Why it is ready, or not.
    reason: str
    #: Raw asset → version of its files.
    raw_versions: Mapping[str, str]
    #: Asset → why it is due; assets that are current are not in it.
    due: Mapping[str, Standing]

    @property
    def run_key(self) -> str:
        """Key of the run that this state asks for: a key once used never runs again, so it carries the state."""
        state = "\n".join(f"{name} {standing.basis.digest}" for name, standing in sorted(self.due.items()))
        return f"{self.key}:{hashlib.sha256(state.encode()).hexdigest()[:16]}"

    @property
    def runs_by_itself(self) -> bool:
        """Whether something of the session asks for a run: something is not made yet, or its files have changed.

        Results of older code, settings or packages wait until somebody asks for them.
        """
        return any(standing.causes - {Cause.MAKING} for standing in self.due.values())

    @property
    def why(self) -> str:
        """What is due, in a sentence."""
        return "; ".join(f"{name}: {', '.join(standing.reasons)}" for name, standing in self.due.items())


def state_of(session: Session, settings: MesoSettings, *, now_ns: int) -> SessionState:
    """List a session, and judge whether it is ready and what is due in it."""
    seen, key = look_at(session), str(session.key)
    judged = seen.arrival(settings, now_ns=now_ns)
    if not seen.delivered:
        return SessionState(key, False, judged.reason, {}, {})
    due = {name: found for name, found in seen.standings(settings).items() if not found.is_current}
    return SessionState(key, judged.ready, judged.reason, seen.raw_versions(), due)


def requests(
    states: Sequence[SessionState],
    known: Collection[str],
    asked: Collection[str],
    settings: MesoSettings,
) -> dg.SensorResult:
    """Turn states into partitions to add and runs to ask for.

    Parameters
    ----------
    states
        What the look found.
    known
        Partition keys that exist.
    asked
        Run keys that were used.
    settings
        How many runs a look may start, and whether results of older code, settings or packages are made again.
    """
    new = [state.key for state in states if state.key not in known]
    wanted = [s for s in states if s.ready and s.due and (s.runs_by_itself or settings.rerun_stale)]
    due = [state for state in wanted if state.run_key not in asked]
    runs = [
        dg.RunRequest(
            run_key=state.run_key,
            partition_key=state.key,
            asset_selection=[dg.AssetKey(name) for name in with_downstream(state.due)],
            tags={"meso/why": state.why[:500]},
        )
        for state in due[: settings.scan_max_runs]
    ]
    return dg.SensorResult(
        run_requests=runs,
        dynamic_partitions_requests=[session_partitions.build_add_request(new)] if new else [],
    )


def sessions_arrive(settings: MesoSettings) -> dg.SensorDefinition:
    """Make the sensor that watches the root."""

    @dg.sensor(
        name="sessions_arrive",
        job_name=PROCESS_SESSION,
        minimum_interval_seconds=settings.scan_every_s,
        description=(
            "Looks for session folders below `MESO_ROOT`. New ones become partitions; in those that are ready (flag, "
            "or whole and quiet) what is not made yet, or was made from files that have changed since, is run. What "
            "older code or other settings made is only told, unless `MESO_RERUN_STALE` is set."
        ),
    )
    def look(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
        return scan(context, platform)

    return look


def scan(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
    """Look at the sessions, as many as the time of a tick allows; the next tick goes on behind the last.

    A root that cannot be listed skips the tick: it does not mean that there are no sessions.
    """
    try:
        found = platform.store.survey()
    except (MesoError, OSError) as error:
        return dg.SkipReason(f"the root could not be listed: {error}")
    keys, states = [str(key) for key in found.sessions], list[SessionState]()
    passed_over = _tell_passed_over(context, found)
    until = time.monotonic() + _SECONDS_OF_A_LOOK
    last = context.cursor
    for key in in_turn(keys, last):
        if time.monotonic() > until:
            break
        last = key
        if (state := _look_or_tell(context, platform, key)) is not None:
            states.append(state)
    asked = {state.run_key for state in states if state.ready and state.due and _was_asked(context.instance, state)}
    result = requests(states, known_sessions(context.instance), asked, platform.settings)
    starting = {run.partition_key for run in result.run_requests or ()}
    seen: list[dg.AssetObservation | dg.AssetMaterialization | dg.AssetCheckEvaluation] = [
        event
        for state in states
        if state.key in starting
        for event in unseen(context.instance, state.key, state.raw_versions)
    ]
    if passed_over and not result.run_requests:  # the interface shows it beside the tick
        result = result._replace(skip_reason=dg.SkipReason(passed_over))
    return result._replace(cursor=last, asset_events=seen)


def _tell_passed_over(context: dg.SensorEvaluationContext, found: Survey) -> str:
    """Log the folders that look like sessions and are none; returns a sentence about them, or nothing."""
    for passed in found.passed_over:
        context.log.info(f"passed over: {passed}")
    if not found.passed_over:
        return ""
    first = "; ".join(str(passed) for passed in found.passed_over[:3])
    return f"{len(found.passed_over)} folders are passed over (`meso status` lists all): {first}"


def in_turn(keys: Sequence[str], last: str | None) -> list[str]:
    """Order sessions so that the look goes on behind the one it ended with."""
    behind = [key for key in keys if last is not None and key > last]
    return [*behind, *(key for key in keys if last is None or key <= last)]


def _was_asked(instance: dg.DagsterInstance, state: SessionState) -> bool:
    """Whether a run was asked for in this state of the session."""
    return instance.get_runs_count(dg.RunsFilter(tags={"dagster/run_key": state.run_key})) > 0


def _look_or_tell(context: dg.SensorEvaluationContext, platform: Platform, key: str) -> SessionState | None:
    """Look at one session; one that cannot be read is told and left for the next look, the others go on."""
    try:
        state = state_of(platform.session(key), platform.settings, now_ns=time.time_ns())
    except Exception as error:  # noqa: BLE001  whatever one session holds, the others go on
        context.log.warning(f"{key}: {told(error)}")
        return None
    if not state.ready:
        context.log.info(f"{key}: {state.reason}")
    elif state.due and not state.runs_by_itself and not platform.settings.rerun_stale:
        context.log.info(f"{key}: stale, and run only when asked for: {state.why}")
    return state


@dg.sensor(
    name="dead_runs_end",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Marks runs as interrupted whose process is gone: it was killed, or the machine was restarted. What they held "
        "is free at once, and Dagster runs them again, a few times at most (`run_retries` in `dagster.yaml`)."
    ),
)
def dead_runs_end(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Look for dead runs; the first look is when the daemon starts."""
    found = end_dead_runs(context.instance)
    for dead in found:
        context.log.warning(str(dead))
    return dg.SkipReason("; ".join(map(str, found)) or "every run that counts as running has its process")
