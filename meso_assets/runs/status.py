"""Where every session stands: per asset done, stale, failed, pending, withheld (and why), or missing.

What belongs here: putting together how results stand (``defs.standings``) and what Dagster knows of failures. Dagster's
own colour of an asset speaks of all sessions at once; this speaks of each.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import asdict, dataclass
from enum import Enum

import dagster as dg

from meso_core.errors import MesoWarning
from meso_core.json_text import json_text
from meso_core.session import SessionKey
from meso_core.storage import Manifest, Standing

from ..defs.catalogue import CATALOGUE
from ..defs.dagster_internals import asset_of_step, end_of_steps, failure_message, times_of_steps
from ..defs.dead_runs import clock, interrupted_at, short
from ..defs.guard import told
from ..defs.standings import look_at
from ..io.resources import Platform

#: Runs per session that are asked for failures, newest first.
_RECENT_RUNS = 10


class State(Enum):
    """Where an asset of a session stands."""

    DONE = "done"
    STALE = "stale"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    MISSING = "missing"
    #: It waits for a server.
    PENDING = "pending"
    #: It may not be sent to a server.
    WITHHELD = "withheld"
    #: The session cannot be looked at.
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class AssetStatus:
    """One cell of the table."""

    session: str
    asset: str
    state: State
    #: Why it is stale, failed, interrupted, pending or withheld; for one that is done, what was special about its run.
    why: str = ""
    #: When it was published, ISO 8601.
    published_at: str = ""

    def as_record(self) -> dict[str, str]:
        """Return plain values, for JSON."""
        return {**asdict(self), "state": self.state.value}


@dataclass(frozen=True, slots=True)
class Failure:
    """How the last attempt at an asset ended."""

    state: State
    why: str


def session_status(
    platform: Platform, instance: dg.DagsterInstance, key: SessionKey
) -> tuple[list[AssetStatus], tuple[str, ...]]:
    """Judge all assets of one session, in the order of the catalogue, and remark what is not as usual in its folder.

    Parameters
    ----------
    platform, instance
        Where results and where records are.
    key
        Session.
    """
    session = platform.session(str(key))
    failures = recent_failures(instance, str(key))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MesoWarning)
        try:
            seen = look_at(session)
            standings, arrival = (
                seen.standings(platform.settings),
                seen.arrival(platform.settings, now_ns=time.time_ns()),
            )
        except Exception as error:  # noqa: BLE001  whatever one session holds, the others are shown
            return [AssetStatus(str(key), asset, State.UNREADABLE, told(error)) for asset in CATALOGUE], ()
    damaged = [str(warning.message) for warning in caught if issubclass(warning.category, MesoWarning)]
    waits = () if arrival.ready else (f"not ready: {arrival.reason}",)
    cells = [_judged(str(key), asset, found, failures.get(asset), damaged) for asset, found in standings.items()]
    return cells, (*waits, *seen.remarks())


def _judged(key: str, asset: str, found: Standing, failure: Failure | None, damaged: list[str]) -> AssetStatus:
    manifest = found.manifest
    when = manifest.published_at if manifest else ""
    if found.is_current and found.withheld:
        return AssetStatus(key, asset, State.WITHHELD, "; ".join(found.withheld), when)
    if found.is_current:
        return AssetStatus(key, asset, State.DONE, _remark(manifest, failure), when)
    if failure is not None:
        return AssetStatus(key, asset, failure.state, failure.why, when)
    if manifest is None:
        return AssetStatus(key, asset, State.MISSING, "; ".join(t for t in damaged if f"/{asset}.json" in t))
    state = State.PENDING if found.reasons == found.waits else State.STALE
    return AssetStatus(key, asset, state, "; ".join(found.reasons), when)


def _remark(manifest: Manifest | None, failure: Failure | None) -> str:
    """Say what was special about a result that is current."""
    options = manifest.made_by.options.get("suite2p", {}) if manifest else {}
    given = ", ".join(f"{name} = {json_text(value)}" for name, value in sorted(options.items()))
    return "; ".join(
        text
        for text in (
            f"with options of its run: {given}" if given else "",
            f"a later attempt failed: {failure.why}" if failure else "",
        )
        if text
    )


def recent_failures(instance: dg.DagsterInstance, session: str) -> dict[str, Failure]:
    """Find assets whose last run failed or was interrupted, with the reason."""
    records = instance.get_run_records(
        dg.RunsFilter(tags={"dagster/partition": session}), limit=_RECENT_RUNS, order_by="create_timestamp"
    )
    settled: dict[str, Failure | None] = {}
    for record in records:
        settled = {**_ends_in(instance, record.dagster_run), **settled}
        if settled.keys() >= CATALOGUE.keys():  # what was before is history
            break
    return {asset: why for asset, why in settled.items() if why is not None}


def _ends_in(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, Failure | None]:
    """Tell for each asset that a run came to how it ended: None where it was well."""
    if run.status is dg.DagsterRunStatus.SUCCESS and run.asset_selection:
        return {key.path[-1]: None for key in run.asset_selection}  # its log, a file of its own, need not be opened
    found: dict[str, Failure | None] = _interrupted(instance, run)
    for event in end_of_steps(instance, run.run_id):
        asset = asset_of_step(event.step_key or "")
        if event.event_type_value == "STEP_FAILURE":
            found[asset] = Failure(State.FAILED, failure_message(event))
        else:
            found.setdefault(asset, None)
    return found


def _interrupted(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dict[str, Failure | None]:
    """Find the assets that a run was making when its process was gone."""
    if (at := interrupted_at(run)) is None:
        return {}
    when = clock(at)
    again = run.tags.get("dagster/will_retry") == "true"
    then = "the daemon runs it again" if again else f"run it again: meso run {run.tags.get('dagster/partition')}"
    times = times_of_steps(instance, run.run_id)
    where = {asset_of_step(step.step): "in" for step in times if step.start and step.end is None}
    if not where:  # it was between two steps
        chosen = {key.path[-1] for key in run.asset_selection or ()} - {asset_of_step(step.step) for step in times}
        where = {asset: "before" for asset in [*(name for name in CATALOGUE if name in chosen)][:1]}
    why = f"(run {short(run.run_id)}: its process was killed, or its machine went down); {then}"
    return {
        asset: Failure(State.INTERRUPTED, f"interrupted at {when} {place} {asset} {why}")
        for asset, place in where.items()
    }
