"""The few places where meso leans on Dagster beyond its stable API, each behind one function.

What belongs here: calls of API in preview or beta, and of internal API, with what they are needed for. pyproject.toml
pins Dagster's minor version for their sake; when Dagster moves, this is the page to read. ``tests/defs`` has a test for
each.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import dagster as dg

from .partitions import session_partitions

T = TypeVar("T")


def partitioned_check_spec(
    name: str, asset: str, description: str, *, reads: tuple[str, ...] = ()
) -> dg.AssetCheckSpec:
    """Declare a check that is evaluated per session (partitioned checks are in preview).

    ``reads`` names further assets that the check looks at, besides its own.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            name, asset=asset, description=description, additional_deps=reads, partitions_def=session_partitions
        )


def versioned_output(value: T, version: str, metadata: Mapping[str, Any]) -> dg.Output[T]:
    """Return a step's value with the content version of the asset (this parameter is in beta)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.Output(value, data_version=dg.DataVersion(version), metadata=dict(metadata))


def observation(
    asset: str, session: str, version: str, *, description: str | None = None, metadata: Mapping[str, Any] | None = None
) -> dg.AssetObservation:
    """Make the event that raw files were seen in a version (the tag's name is Dagster's own)."""
    return dg.AssetObservation(asset, description, metadata, partition=session, tags={"dagster/data_version": version})


def last_seen(instance: dg.DagsterInstance, asset: str, session: str) -> str | None:
    """Version in which raw files were last seen, or None."""
    found = instance.fetch_observations(
        dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[session]), limit=1
    ).records
    event = found[0].asset_observation if found else None
    return None if event is None else (event.tags or {}).get("dagster/data_version")


def unseen(instance: dg.DagsterInstance, session: str, versions: Mapping[str, str]) -> list[dg.AssetObservation]:
    """Make the events that are due: raw files in versions that Dagster has not seen last."""
    return [
        observation(asset, session, version)
        for asset, version in versions.items()
        if last_seen(instance, asset, session) != version
    ]


def observe(instance: dg.DagsterInstance, session: str, versions: Mapping[str, str]) -> bool:
    """Report raw files in versions that Dagster has not seen last; returns whether there were any."""
    due = unseen(instance, session, versions)
    for event in due:
        instance.report_runless_asset_event(event)
    return bool(due)


def end_of_steps(instance: dg.DagsterInstance, run_id: str) -> Iterable[dg.DagsterEvent]:
    """Events of a run that say that a step failed or succeeded, in order."""
    wanted = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.STEP_SUCCESS}
    for record in instance.get_records_for_run(run_id, of_type=wanted).records:
        if record.event_log_entry.dagster_event is not None:
            yield record.event_log_entry.dagster_event


def set_pool_size(instance: dg.DagsterInstance, pool: str, size: int) -> None:
    """Say how many steps of a pool run at a time."""
    instance.event_log_storage.set_concurrency_slots(pool, size)


def failure_message(event: dg.DagsterEvent) -> str:
    """Message of a step failure: what ``meso_core`` said, without Dagster's frame around it."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return str(error.message).strip() if error is not None else "no reason recorded"


@dataclass(frozen=True, slots=True)
class StepTimes:
    """When a step of a run started and ended, and whether it failed."""

    step: str
    #: s since 1970; None for a step that did not get so far.
    start: float | None
    end: float | None
    failed: bool


def times_of_steps(instance: dg.DagsterInstance, run_id: str) -> tuple[StepTimes, ...]:
    """Sum up the steps of a run."""
    stats = instance.get_run_step_stats(run_id)
    return tuple(
        StepTimes(s.step_key, s.start_time, s.end_time, s.status is not None and s.status.value == "FAILURE")
        for s in stats
    )
