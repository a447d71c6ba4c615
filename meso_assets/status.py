"""Where every session stands: per asset done, stale (and why), failed (and why), or missing.

What belongs here: comparing the manifests on disk with the code and with each other, and asking Dagster for failures.
Staleness is computed per session from what is on disk: Dagster's own colour of an asset speaks of all sessions at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum

import dagster as dg

from meso_core.errors import StorageError
from meso_core.session import SessionKey
from meso_core.storage import Manifest, verify_manifest

from .console import failure_message
from .dagster_internals import AssetFacts
from .io_managers import input_versions
from .resources import OpenSession, Platform
from .running import asset_of_step

#: Runs per session that are asked for failures, newest first.
_RECENT_RUNS = 10


class State(Enum):
    """Where an asset of a session stands."""

    DONE = "done"
    STALE = "stale"
    FAILED = "failed"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class AssetStatus:
    """One cell of the table."""

    session: str
    asset: str
    state: State
    #: Why it is stale or failed; empty otherwise.
    why: str = ""
    #: When it was published, ISO 8601.
    published_at: str = ""

    def as_record(self) -> dict[str, str]:
        """Return plain values, for JSON."""
        return {**asdict(self), "state": self.state.value}


def session_status(
    platform: Platform, instance: dg.DagsterInstance, facts: Mapping[str, AssetFacts], key: SessionKey
) -> list[AssetStatus]:
    """Judge all assets of one session.

    Parameters
    ----------
    platform, instance
        Where results and where records are.
    facts
        Asset → code version and upstream assets, from the definitions.
    key
        Session.
    """
    session = platform.session(str(key))
    failures = recent_failures(instance, str(key))
    return [
        _asset_status(session, asset, known, failures.get(asset))
        for asset, known in facts.items()
        if asset != "raw_session"
    ]


def _asset_status(session: OpenSession, asset: str, facts: AssetFacts, failure: str | None) -> AssetStatus:
    key = str(session.key)
    try:
        manifest = session.manifest(asset)
    except StorageError as error:
        return AssetStatus(key, asset, State.FAILED, str(error))
    published = manifest.published_at if manifest else ""
    if failure is not None:
        return AssetStatus(key, asset, State.FAILED, failure, published)
    if manifest is None:
        return AssetStatus(key, asset, State.MISSING)
    reasons = stale_reasons(session, manifest, facts)
    return AssetStatus(key, asset, State.STALE if reasons else State.DONE, "; ".join(reasons), published)


def stale_reasons(session: OpenSession, manifest: Manifest, facts: AssetFacts) -> tuple[str, ...]:
    """Tell why a result no longer holds; empty where it does."""
    reasons = []
    made_by = manifest.provenance
    if made_by.code_version != facts.code_version:
        reasons.append(f"made by code version {made_by.code_version}, now {facts.code_version}")
    now = input_versions(session, facts.upstream)
    changed = [name for name in facts.upstream if made_by.inputs.get(name) != now.get(name)]
    reasons += [f"{name} has changed since" for name in changed]
    return (*reasons, *verify_manifest(session.path, manifest, content=False))


def recent_failures(instance: dg.DagsterInstance, session: str) -> dict[str, str]:
    """Find assets whose last run failed, with the reason."""
    records = instance.get_run_records(
        dg.RunsFilter(tags={"dagster/partition": session}), limit=_RECENT_RUNS, order_by="create_timestamp"
    )
    settled: dict[str, str | None] = {}
    for record in records:
        run_id = record.dagster_run.run_id
        in_run: dict[str, str | None] = {}
        for event in _step_ends(instance, run_id):
            asset = asset_of_step(event.step_key or "")
            if event.event_type_value == "STEP_FAILURE":
                in_run[asset] = failure_message(event)
            else:
                in_run.setdefault(asset, None)
        settled = {**in_run, **settled}
    return {asset: why for asset, why in settled.items() if why is not None}


def _step_ends(instance: dg.DagsterInstance, run_id: str) -> Iterable[dg.DagsterEvent]:
    wanted = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.STEP_SUCCESS}
    for record in instance.get_records_for_run(run_id, of_type=wanted).records:
        if record.event_log_entry.dagster_event is not None:
            yield record.event_log_entry.dagster_event
