"""Sensors: new sessions become partitions, and what is due in those that are ready is run.

What belongs here: looking at the root and asking for runs. When a session counts as ready is decided in
``meso_core.session.arrival``; what is due, by the declarations.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import dagster as dg

from meso_core.errors import MesoError, told
from meso_core.session import SessionKey, Survey

from ...io.resources import Platform
from ...io.session_names import known_sessions, labs_by_subject, name_sessions, session_tags
from ...runs.engines.checks import check_engine
from ...runs.settings.settings import MesoSettings
from ..dagster_internals import sessions_at_work, used_run_keys
from ..jobs import PROCESS_SESSION
from ..partitions import session_partitions
from ..running.dead_runs import end_dead_runs
from ..standing.quick import quick_part, tags_of_work
from ..standing.raw_seen import unseen
from ..standing.session_index import SessionIndex
from ..standing.standings import look_at, records_readers, with_downstream
from ..standing.summaries import SessionSummary
from .arriving import Arriving, asks_for_a_run, seen_session

#: A tick may take a minute; looking at sessions goes on in the next one after this time, s.
_SECONDS_OF_A_LOOK = 12.0
#: What a tick logs of a session, and how it begins.
_TOLD = {
    Arriving.WAITING: "",
    Arriving.BROKEN: "breaks a rule: ",
    Arriving.ON_REQUEST: "stale, and run only when asked for: ",
}
#: How the reason of a run begins that makes what is quick before the rest.
_QUICK_FIRST = "quick results first; "
#: Lines of one kind that a tick logs.
_MOST_LINES = 50


def requests(
    states: Sequence[SessionSummary],
    known: Collection[str],
    asked: Collection[str],
    settings: MesoSettings,
    at_work: Collection[str] = (),
    names: Mapping[str, str] | None = None,
) -> dg.SensorResult:
    """Turn states into partitions to add and runs to ask for.

    What is quick goes first: of all sessions, and in a run of its own where the session has long work too. That is
    asked for when the quick run has ended, however it did. Of the runs that a look may start one is kept for long
    work, where there is some: quick ones of very many sessions must not let the machine idle for days.

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
    at_work
        Partition keys of which a run waits or goes on: what is due then is what it has not made yet.
    names
        Session, as its state has it → partition key; that is the same where it is not given.
    """
    names = names or {}
    called = {state.key: names.get(state.key, state.key) for state in states}
    new = [name for name in called.values() if name not in known]
    wanted = [s for s in states if asks_for_a_run(s, settings) and called[s.key] not in at_work]
    quick, most = _quick_runs(wanted, asked), settings.scan_max_runs
    others = (run for state in wanted if state.key not in quick and (run := _run_of(state, asked)) is not None)
    then = list(islice(others, most))
    first = islice(quick.values(), most - 1 if then and most > 1 else most)
    return dg.SensorResult(
        run_requests=[run.request(called[run.state.key]) for run in [*first, *then][:most]],
        dynamic_partitions_requests=[session_partitions.build_add_request(new)] if new else [],
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """A run to ask for."""

    state: SessionSummary
    key: str
    assets: tuple[str, ...]

    def request(self, name: str) -> dg.RunRequest:
        """Ask for it by the name of the session."""
        first = _QUICK_FIRST if self.key == self.state.quick_key else ""
        told = session_tags(SessionKey.parse(self.state.key), name)
        return dg.RunRequest(
            run_key=self.key,
            partition_key=name,
            asset_selection=[dg.AssetKey(asset) for asset in self.assets],
            tags={"meso/why": f"{first}{self.state.why}"[:500], **tags_of_work(self.assets), **told},
        )


def _quick_runs(wanted: Sequence[SessionSummary], asked: Collection[str]) -> dict[str, _Run]:
    """Find the sessions of which something quick is made first, or is all that is due; by session.

    What was tried before, with what it is made from, is not tried first again: the run of all that is due tells why.
    """
    found, parts = dict[str, _Run](), dict[tuple[str, ...], tuple[tuple[str, ...], bool]]()
    for state in wanted:
        if state.run_key in asked or state.quick_key in asked:
            continue
        due = tuple(state.due)
        if due not in parts:  # very many sessions have the same things due
            part = quick_part(due)
            parts[due] = part, part == with_downstream(due)
        part, is_all = parts[due]
        key = state.run_key if is_all else state.quick_key
        if part and key:
            found[state.key] = _Run(state, key, part)
    return found


def _run_of(state: SessionSummary, asked: Collection[str]) -> _Run | None:
    """Make the run of what is due; where that was tried and something failed, of what goes on without it."""
    if state.run_key not in asked:
        return _Run(state, state.run_key, with_downstream(state.due))
    made = [asset for asset in state.assets if state.asset(asset).is_made]
    if not made:  # of very many sessions, most
        return None
    key, chosen = f"{state.run_key}:records", tuple(one for one in records_readers(made) if one in state.due)
    return _Run(state, key, chosen) if chosen and set(chosen) != set(state.due) and key not in asked else None


def sessions_arrive(settings: MesoSettings) -> dg.SensorDefinition:
    """Make the sensor that watches the root; it is on where a lab wants that, or somebody has switched it on."""

    @dg.sensor(
        name="sessions_arrive",
        job_name=PROCESS_SESSION,
        minimum_interval_seconds=settings.scan_every_s,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.watch else dg.DefaultSensorStatus.STOPPED,
        description=(
            "Looks for session folders below `MESO_ROOT`. New ones become partitions; in those that are ready (flag, "
            "or whole and quiet) what is not made yet, or was made from files that have changed since, is run, quick "
            "results first. What older code or other settings made is only told, unless `MESO_RERUN_STALE` is set."
        ),
    )
    def look(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
        return scan(context, platform)

    return look


def scan(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
    """Look at the sessions, as many as the time of a tick allows; the next tick goes on behind the last.

    What was looked at before and has not changed since costs no look (``session_index``). A root that cannot be listed
    skips the tick: it does not mean that there are no sessions.
    """
    try:
        check_engine(platform.settings)
    except MesoError as error:
        why = f"no session is begun: {error}"
        context.log.warning(why)
        return dg.SkipReason(why)
    try:
        found = platform.store.survey()
    except (MesoError, OSError) as error:
        why = f"the root could not be listed: {error}"
        context.log.warning(why)
        return dg.SkipReason(why)
    passed_over = _tell_passed_over(context, found)
    states, last = _look_at_all(context, platform, found)
    by_path = {str(key): key for key in found.sessions}
    looked_at, labs = [by_path[state.key] for state in states], labs_by_subject(found.sessions)
    is_due = any(state.ready and state.due for state in states)
    at_work = sessions_at_work(context.instance) if is_due else set[str]()
    asked = used_run_keys(context.instance) if is_due else set[str]()
    names = {str(key): name for key, name in name_sessions(context.instance, looked_at, labs).items()}
    result = requests(states, known_sessions(context.instance), asked, platform.settings, at_work, names)
    _log_some(context, [line for run in result.run_requests or () if (line := _told_of_run(run))])
    starting = [run.partition_key for run in result.run_requests or () if run.partition_key is not None]
    seen: list[dg.AssetObservation | dg.AssetMaterialization | dg.AssetCheckEvaluation] = [
        event
        for key in starting
        for view in [look_at(platform.session(key, context.instance))]
        for event in unseen(context.instance, key, view.given_versions(), view.given_shown())
    ]
    if passed_over and not result.run_requests:  # the interface shows it beside the tick
        result = result._replace(skip_reason=dg.SkipReason(passed_over))
    return result._replace(cursor=last, asset_events=seen)


def _look_at_all(
    context: dg.SensorEvaluationContext, platform: Platform, found: Survey
) -> tuple[list[SessionSummary], str | None]:
    """Look at sessions while there is time; returns what was found, and the last one for the cursor."""
    settings, states, last = platform.settings, list[SessionSummary](), context.cursor
    index = SessionIndex(settings)
    by_name = {str(key): key for key in found.sessions}
    until, remarks = time.monotonic() + _SECONDS_OF_A_LOOK, list[str]()
    for name in in_turn(list(by_name), last):
        if time.monotonic() > until:
            break
        last = name
        if (state := _look_or_tell(context, index, by_name[name], found)) is None:
            continue
        states.append(state)
        seen = seen_session(state, settings)
        if seen.state in _TOLD:
            remarks.append(f"{name}: {_TOLD[seen.state]}{seen.why}")
    index.save(by_name)
    _log_some(context, remarks)
    return states, last


def _tell_passed_over(context: dg.SensorEvaluationContext, found: Survey) -> str:
    """Log the folders that look like sessions and are none; returns a sentence about them, or nothing."""
    for root in found.unreachable:
        context.log.warning(f"{root}; its sessions are not looked at")
    _log_some(context, [f"passed over: {passed}" for passed in found.passed_over if passed not in found.unreachable])
    if not found.passed_over:
        return ""
    first = "; ".join(str(passed) for passed in found.passed_over[:3])
    return f"{len(found.passed_over)} folders are passed over (`meso status` lists all): {first}"


def _told_of_run(run: dg.RunRequest) -> str:
    """Say of a run that makes what is quick before the rest what that is."""
    assets = ", ".join(key.path[-1] for key in run.asset_selection or ())
    return (
        f"{run.partition_key}: quick results first: {assets}" if run.tags["meso/why"].startswith(_QUICK_FIRST) else ""
    )


def _log_some(context: dg.SensorEvaluationContext, lines: Sequence[str]) -> None:
    """Log lines about sessions; of very many, a tick would do nothing but log."""
    for line in lines[:_MOST_LINES]:
        context.log.info(line)
    if len(lines) > _MOST_LINES:
        context.log.info(f"and {len(lines) - _MOST_LINES} more (`meso status` and the overview list all)")


def in_turn(keys: Sequence[str], last: str | None) -> list[str]:
    """Order sessions so that the look goes on behind the one it ended with."""
    behind = [key for key in keys if last is not None and key > last]
    return [*behind, *(key for key in keys if last is None or key <= last)]


def _look_or_tell(
    context: dg.SensorEvaluationContext, index: SessionIndex, key: SessionKey, found: Survey
) -> SessionSummary | None:
    """Look at one session; one that cannot be read is told and left for the next look, the others go on."""
    try:
        return index.summary(key, place=found.folders.get(key, ""), now_ns=time.time_ns())
    except Exception as error:  # noqa: BLE001  whatever one session holds, the others go on
        context.log.warning(f"{key}: {told(error)}")
        return None


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
