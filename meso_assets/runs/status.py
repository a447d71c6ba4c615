"""Where every session stands: per asset done, stale (and why), failed (and why), or missing.

What belongs here: comparing the manifests on disk with the code and with each other, and asking Dagster for failures.
Staleness is computed per session from what is on disk: Dagster's own colour of an asset speaks of all sessions at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum

import dagster as dg

from meso_core.errors import ArchiveError, StorageError
from meso_core.session import SessionKey
from meso_core.storage import Manifest, verify_manifest

from ..defs.dagster_internals import AssetFacts
from ..defs.made_with import changed_settings, options_of_run
from ..io.managers import input_versions
from ..io.resources import OpenSession, Platform
from .console import failure_message
from .run import asset_of_step
from .settings import MesoSettings

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
    #: Why it is stale or failed; for one that is done, what was special about the run that made it, if anything was.
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
    found, stale = [], set[str]()
    for asset, known in facts.items():  # upstream comes first
        if asset == "raw_session":
            continue
        try:
            manifest = session.manifest(asset)
            reasons = stale_reasons(session, manifest, known, platform.settings, stale) if manifest else ()
        except (StorageError, ArchiveError) as error:
            found.append(AssetStatus(str(key), asset, State.FAILED, str(error)))
            continue
        if reasons:
            stale.add(asset)
        found.append(_judged(str(key), asset, manifest, failures.get(asset), reasons))
    return found


def _judged(
    key: str, asset: str, manifest: Manifest | None, failure: str | None, reasons: tuple[str, ...]
) -> AssetStatus:
    if failure is not None:
        return AssetStatus(key, asset, State.FAILED, failure, manifest.published_at if manifest else "")
    if manifest is None:
        return AssetStatus(key, asset, State.MISSING)
    if reasons:
        return AssetStatus(key, asset, State.STALE, "; ".join(reasons), manifest.published_at)
    of_run = options_of_run(manifest)
    why = f"with options of its run: {of_run}" if of_run else ""
    return AssetStatus(key, asset, State.DONE, why, manifest.published_at)


def stale_reasons(
    session: OpenSession, manifest: Manifest, facts: AssetFacts, settings: MesoSettings, stale: Collection[str]
) -> tuple[str, ...]:
    """Tell why a result no longer holds; empty where it does.

    Parameters
    ----------
    session, manifest, facts
        What was published where, and what the asset graph says about it.
    settings
        Settings of the platform, as they are now.
    stale
        Assets that were found stale before; what was made from them is stale too.
    """
    reasons = []
    made_by = manifest.provenance
    if made_by.code_version != facts.code_version:
        reasons.append(f"made by code version {made_by.code_version}, now {facts.code_version}")
    now = input_versions(session, manifest.asset, facts.upstream)
    for name in facts.upstream:
        if name not in made_by.inputs and name in now:
            reasons.append(f"{name}: its version was not recorded")
        elif made_by.inputs.get(name) != now.get(name):
            reasons.append(f"{name} has changed since")
        elif name in stale:
            reasons.append(f"{name} is stale")
    reasons += changed_settings(manifest, settings)
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
