"""Runs that failed or left fields of view out, and sessions that recovered: found in Dagster's records, each told once.

What belongs here: which ends of runs are news. An interrupted run that the daemon runs again is none, nor is a session
that fails again, or lacks the same fields again, for the same reason.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from ...io.session_names import PARTITION_TAG
from ..catalogue import CATALOGUE
from ..dagster_internals import asset_of_step, end_of_steps, failed_checks, failure_message, last_words
from ..running.dead_runs import clock, interrupted_at, process_of
from .ledger import Ledger

#: Ends of runs are looked for so far back again, s: records of a run are written one after the other.
_AGAIN_S = 900.0
#: What is not looked at by then is told a minute later, s.
_SECONDS_OF_A_LOOK = 20.0
#: The check that fails where an asset was published without fields of view that failed.
_ALL_FIELDS = "all_fields_published"
_ENDS = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is told."""

    #: Session; the job, where a run has none.
    what: str
    run_id: str
    #: s since 1970.
    at: float
    #: Asset (or job) → why it failed; empty where the session has recovered.
    reasons: dict[str, str]
    host: str = ""
    #: Whether the run went well but for fields of view that are missing; ``reasons`` says which, and why.
    is_partial: bool = False

    @property
    def failed(self) -> bool:
        """Whether it is a failure; else a recovery, or a result without some fields of view."""
        return bool(self.reasons) and not self.is_partial

    @property
    def recovered(self) -> bool:
        """Whether all that had failed is made."""
        return not self.reasons


def take_news(instance: dg.DagsterInstance, ledger: Ledger) -> list[Event]:
    """Find what is to be told of runs that have ended; the ledger then counts it as told, once it is saved."""
    since = max(ledger.since, max(ledger.told.values(), default=0.0) - _AGAIN_S)
    records = instance.get_run_records(
        dg.RunsFilter(statuses=_ENDS, updated_after=datetime.fromtimestamp(since - _AGAIN_S, tz=UTC)),
        order_by="update_timestamp",
        ascending=True,
    )
    news, until = [], time.monotonic() + _SECONDS_OF_A_LOOK
    for record in records:
        if time.monotonic() > until:
            break
        run, ended = record.dagster_run, record.end_time or record.update_timestamp.timestamp()
        if run.run_id in ledger.told or ended < ledger.since:
            continue
        ledger.told[run.run_id] = ended
        if (event := _event(instance, ledger, run, ended)) is not None:
            news.append(event)
    return news


def _event(instance: dg.DagsterInstance, ledger: Ledger, run: dg.DagsterRun, ended: float) -> Event | None:
    what = run.tags.get(PARTITION_TAG, run.job_name)
    process = process_of(run)
    host = process.host if process else ""
    before = ledger.failing.get(what, {})
    if run.status is dg.DagsterRunStatus.SUCCESS:
        made = {key.path[-1] for key in run.asset_selection} if run.asset_selection else {run.job_name, *CATALOGUE}
        reasons = failed_checks(instance, run.run_id, _ALL_FIELDS)
        left = {**{asset: why for asset, why in before.items() if asset not in made}, **reasons}
        ledger.failing[what] = left
        if not left:
            del ledger.failing[what]
        news = {asset: why for asset, why in reasons.items() if before.get(asset) != why}
        is_news = bool(news) if left else bool(before)
        return Event(what, run.run_id, ended, news, host, is_partial=bool(news)) if is_news else None
    if run.tags.get("dagster/will_retry") == "true":
        return None
    reasons = {**failed_checks(instance, run.run_id, _ALL_FIELDS), **_reasons(instance, run)}
    ledger.failing[what] = {**before, **reasons}
    return None if ledger.failing[what] == before else Event(what, run.run_id, ended, reasons, host)


def _reasons(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, str]:
    found: dict[str, str] = {}
    for event in end_of_steps(instance, run.run_id):
        if event.event_type_value == "STEP_FAILURE":
            found.setdefault(asset_of_step(event.step_key or run.job_name), failure_message(event))
    if found:
        return found
    if (at := interrupted_at(run)) is not None:
        return {run.job_name: f"interrupted at {clock(at)}: its process was killed, or its machine went down"}
    return {run.job_name: last_words(instance, run.run_id)}
