"""How the last attempts at the assets of sessions ended, or how far they are, by Dagster's records of runs.

What belongs here: questions asked of runs and their logs. How a result stands is not asked of them, but of the disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from ...defs.catalogue import CATALOGUE
from ...defs.dagster_internals import (
    STOPPED,
    asset_of_step,
    end_of_steps,
    failure_message,
    last_messages,
    times_of_steps,
    was_stopped,
)
from ...defs.running.dead_runs import clock, interrupted_at, short
from ...io.session_names import PARTITION_TAG
from .cells import Failure, State

#: Runs per session that are asked for failures, newest first.
_RECENT_RUNS = 10
#: Sessions that are asked for in one query.
_AT_A_TIME = 200
#: Runs in these states may say something else than that all is well.
_NOT_ALL_WELL = [status for status in dg.DagsterRunStatus if status is not dg.DagsterRunStatus.SUCCESS]
_SHARE_DONE = re.compile(r"^(?P<what>.*) \((?P<percent>\d{1,3})%\)")


def failures_of(instance: dg.DagsterInstance, sessions: Sequence[str]) -> dict[str, Mapping[str, Failure]]:
    """Find for very many sessions what :func:`recent_failures` finds; those without any are left out.

    Sessions whose runs all ended well are not asked for one by one.
    """
    chosen = sessions if len(sessions) == 1 else sorted(_troubled(instance) & set(sessions))
    return _failures_of(instance, chosen)


def all_failures(instance: dg.DagsterInstance) -> dict[str, Mapping[str, Failure]]:
    """Find for all sessions that Dagster knows what :func:`failures_of` finds."""
    return _failures_of(instance, sorted(_troubled(instance) - {""}))


def _troubled(instance: dg.DagsterInstance) -> set[str]:
    records = instance.get_run_records(dg.RunsFilter(statuses=_NOT_ALL_WELL))
    return {record.dagster_run.tags.get(PARTITION_TAG, "") for record in records}


def _failures_of(instance: dg.DagsterInstance, chosen: Sequence[str]) -> dict[str, Mapping[str, Failure]]:
    found = dict[str, Mapping[str, Failure]]()
    for start in range(0, len(chosen), _AT_A_TIME):
        some = chosen[start : start + _AT_A_TIME]
        by_session = _newest_first(instance, some)
        found |= {session: _settled(instance, by_session.get(session, ())) for session in some}
    return {session: failures for session, failures in found.items() if failures}


def recent_failures(instance: dg.DagsterInstance, session: str) -> dict[str, Failure]:
    """Find assets whose last run failed, was interrupted or goes on, with the reason."""
    return dict(failures_of(instance, [session]).get(session, {}))


def _newest_first(instance: dg.DagsterInstance, sessions: Sequence[str]) -> dict[str, list[dg.DagsterRun]]:
    """Recent runs of sessions."""
    limit = _RECENT_RUNS if len(sessions) == 1 else None
    wanted = dg.RunsFilter(tags={PARTITION_TAG: sessions[0] if len(sessions) == 1 else list(sessions)})
    found: dict[str, list[dg.DagsterRun]] = {}
    for record in instance.get_run_records(wanted, limit=limit):  # by their numbers: machines tell times of their own
        runs = found.setdefault(record.dagster_run.tags.get(PARTITION_TAG, ""), [])
        if len(runs) < _RECENT_RUNS:
            runs.append(record.dagster_run)
    return found


def _settled(instance: dg.DagsterInstance, runs: Iterable[dg.DagsterRun]) -> dict[str, Failure]:
    settled: dict[str, Failure | None] = {}
    for run in runs:
        settled = {**_ends_in(instance, run), **settled}
        if settled.keys() >= CATALOGUE.keys():  # what was before is history
            break
    return {asset: why for asset, why in settled.items() if why is not None}


def _ends_in(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, Failure | None]:
    """Tell for each asset that a run came to how it ended: None where it was well."""
    if run.status is dg.DagsterRunStatus.SUCCESS and run.asset_selection:
        return {key.path[-1]: None for key in run.asset_selection}  # its log, a file of its own, need not be opened
    found: dict[str, Failure | None] = {**_interrupted(instance, run)}
    for event in end_of_steps(instance, run.run_id):
        asset = asset_of_step(event.step_key or "")
        if event.event_type_value == "STEP_FAILURE":
            why = failure_message(event)
            found[asset] = Failure(State.INTERRUPTED if why == STOPPED else State.FAILED, why, run.run_id)
        else:
            found.setdefault(asset, None)
    return {**found, **_running(instance, run)}


def _stopped_at(instance: dg.DagsterInstance, run: dg.DagsterRun) -> float | None:
    """Return when somebody stopped a run that had begun, s since 1970: by Ctrl-C, or in the interface."""
    stopped = run.status is dg.DagsterRunStatus.FAILURE and was_stopped(instance, run.run_id)
    if not stopped and run.status is not dg.DagsterRunStatus.CANCELED:
        return None
    record = instance.get_run_record_by_id(run.run_id)
    return record.end_time if record is not None and record.start_time is not None else None


def _running(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, Failure]:
    """Find the assets that a run makes now, with the share that is done where their steps tell of it."""
    if run.status is not dg.DagsterRunStatus.STARTED:
        return {}
    begun = [step for step in times_of_steps(instance, run.run_id) if step.start and step.end is None]
    told = last_messages(instance, run.run_id, {step.step for step in begun}) if begun else {}
    found: dict[str, Failure] = {}
    for step in begun:
        share = _SHARE_DONE.match(told.get(step.step, ""))
        since = f"since {clock(step.start or 0.0)}"
        why = f"{share['percent']} % ({share['what']}), {since}" if share else since
        asset = asset_of_step(step.step)
        if asset not in found or share:
            found[asset] = Failure(State.RUNNING, why, run.run_id)
    return found


def _interrupted(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, Failure]:
    """Find the assets that a run was making, or about to make, when its process was gone or somebody stopped it."""
    at, how = interrupted_at(run), "its process was killed, or its machine went down"
    if at is None:
        at, how = _stopped_at(instance, run), "somebody stopped it"
    if at is None:
        return {}
    when = clock(at)
    again = run.tags.get("dagster/will_retry") == "true"
    then = "the daemon runs it again" if again else f"run it again: meso run {run.tags.get(PARTITION_TAG)}"
    times = times_of_steps(instance, run.run_id)
    where = {asset_of_step(step.step): "in" for step in times if step.start and step.end is None}
    if not where and not any(step.failed for step in times):  # it was between two steps
        chosen = {key.path[-1] for key in run.asset_selection or ()} - {asset_of_step(step.step) for step in times}
        where = {asset: "before" for asset in [*(name for name in CATALOGUE if name in chosen)][:1]}
    why = f"(run {short(run.run_id)}: {how}); {then}"
    return {
        asset: Failure(State.INTERRUPTED, f"interrupted at {when} {place} {asset} {why}", run.run_id)
        for asset, place in where.items()
    }
