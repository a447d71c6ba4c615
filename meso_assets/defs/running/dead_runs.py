"""Runs whose process is gone: recognised, marked as interrupted, and what they held given back.

What belongs here: the record of a run's process in its tags, and what follows when that process is gone. Dagster's own
monitoring has no way to ask for a process of this machine: a killed run would count as running until its time limit.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from meso_core.json_text import json_text
from meso_core.processes import ProcessId, this_process

from ..dagster_internals import (
    HeldPlace,
    free_places,
    holders_of_places,
    last_sign_of_life,
    places_of,
    records_are_of_this_machine,
    server_is_gone,
    times_of_steps,
)

#: Tag of a run: the process that leads it, as JSON, and the id of the run. When a run is run again, the new run gets
#: the same tags; by the id it is known that this one is of the old run.
PROCESS_TAG = "meso/process"
#: Tag of a run that was found dead: its last sign of life, s since 1970, and the run.
INTERRUPTED_TAG = "meso/interrupted_at"
#: A run writes its process down before its first step. One that has neither after this time never began, s.
_SECONDS_TO_BEGIN = 300.0
#: A run that is being started tells its process within seconds. If the server that starts it is gone, and the run has
#: told nothing for this time, s, both were killed. If it begins after that, Dagster stops it: it counts as failed.
_SECONDS_TO_START_ALONE = 30.0

_OPEN = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
    dg.DagsterRunStatus.NOT_STARTED,
]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A run that was found dead."""

    run_id: str
    session: str
    #: Its last sign of life, s since 1970.
    at: float
    #: Steps that were at work.
    steps: tuple[str, ...]

    def __str__(self) -> str:
        where = f" in {', '.join(self.steps)}" if self.steps else ""
        return f"run {short(self.run_id)} of {self.session or 'no session'} was interrupted at {clock(self.at)}{where}"


def process_tags(run_id: str = "") -> dict[str, str]:
    """Make the tags that tell that this process leads a run; one that is just to be made has no id yet."""
    return {PROCESS_TAG: json_text({"run_id": run_id, **this_process().as_record()})}


def process_of(run: dg.DagsterRun) -> ProcessId | None:
    """Process that leads a run, if the run has told; what it has from the run that it repeats does not count."""
    try:
        record = json.loads(run.tags.get(PROCESS_TAG, ""))
    except ValueError:
        return None
    told = record.get("run_id", "") if isinstance(record, dict) else None
    is_own = told == run.run_id or (told == "" and run.parent_run_id is None)
    return ProcessId.from_record(record) if is_own else None


def interrupted_at(run: dg.DagsterRun) -> float | None:
    """Return when a run that was found dead gave its last sign of life, s since 1970; None for any other run."""
    at, _, run_id = run.tags.get(INTERRUPTED_TAG, "").partition(" ")
    try:
        return float(at) if run_id in (run.run_id, "") else None
    except ValueError:
        return None


def end_dead_runs(instance: dg.DagsterInstance) -> list[Interrupted]:
    """Mark runs as failed whose process is gone, and give back the places in pools that dead runs hold.

    A run on another machine is left alone, whatever its state: only its machine can tell.
    """
    found = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_OPEN)):
        run = record.dagster_run
        if not _is_dead(instance, record):
            continue
        unfinished = _interrupted(instance, run)
        instance.add_run_tags(run.run_id, {INTERRUPTED_TAG: f"{unfinished.at:.0f} {run.run_id}"})
        why = f"Interrupted: its process is gone ({process_of(run) or 'it never began'}), killed or with its machine"
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message=why)
        else:
            instance.report_run_failed(run, message=why)
        free_places(instance, run.run_id)
        found.append(unfinished)
    _free_places_of_ended_runs(instance)
    return found


def who_holds(instance: dg.DagsterInstance, pool: str, *, but: str) -> str:
    """Tell which runs hold the places of a pool, but the one that asks; empty where none does."""
    by_run: dict[str, list[HeldPlace]] = {}
    for held in places_of(instance, pool):
        by_run.setdefault(held.run_id, []).append(held)
    told = []
    for run_id, places in by_run.items():
        if run_id == but:
            continue
        record = instance.get_run_record_by_id(run_id)
        run = record.dagster_run if record else None
        session = run.tags.get("dagster/partition", "no session") if run else "no session"
        host = f" on {process.host}, process {process.pid}," if run and (process := process_of(run)) else ""
        since, steps = min(place.since for place in places), ", ".join(sorted(place.step for place in places))
        told.append(f"run {short(run_id)} of {session}{host} since {clock(since)} ({steps})")
    return "; ".join(told)


def short(run_id: str) -> str:
    """Run id as the UI shows it."""
    return run_id.split("-")[0]


def clock(at: float) -> str:
    """Time of the day, with the date unless it is today."""
    when, now = datetime.fromtimestamp(at).astimezone(), datetime.now().astimezone()
    return when.strftime("%H:%M" if when.date() == now.date() else "%Y-%m-%d %H:%M")


def _is_dead(instance: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    process = process_of(record.dagster_run)
    if process is not None:  # one that ended well has said so before it was gone, maybe after the record was read
        return process.is_gone and not _has_ended(instance, record.dagster_run.run_id)
    if not records_are_of_this_machine(instance):  # another one may start or lead it: Dagster's own limits hold
        return False
    if record.dagster_run.status is dg.DagsterRunStatus.STARTING:
        silent_s = time.time() - record.update_timestamp.timestamp()
        return silent_s > _SECONDS_TO_START_ALONE and server_is_gone(instance, record.dagster_run)
    if record.dagster_run.status is not dg.DagsterRunStatus.STARTED or record.start_time is None:
        return False  # not begun: Dagster's own limit of the time to start holds
    began = time.time() - record.start_time
    return began > _SECONDS_TO_BEGIN and not times_of_steps(instance, record.dagster_run.run_id)


def _has_ended(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


def _interrupted(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Interrupted:
    steps = tuple(t.step for t in times_of_steps(instance, run.run_id) if t.start is not None and t.end is None)
    at = last_sign_of_life(instance, run.run_id) or time.time()
    return Interrupted(run.run_id, run.tags.get("dagster/partition", ""), at, steps)


def _free_places_of_ended_runs(instance: dg.DagsterInstance) -> None:
    """Give back what runs hold that have ended, or whose record is gone; one that is just ending does so itself."""
    for run_id in holders_of_places(instance):
        run = instance.get_run_by_id(run_id)
        process = process_of(run) if run else None
        if run is None or (run.is_finished and (process is None or process.is_gone)):
            free_places(instance, run_id)
