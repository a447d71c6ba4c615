"""The few places where meso leans on Dagster beyond its stable API, each behind one function.

What belongs here: calls of preview or internal API, with what they are needed for. pyproject.toml pins Dagster's minor
version for their sake; when Dagster moves, this is the page to read.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.loader import LoadingContextForTest

from .partitions import session_partitions


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


def observable_source(**options: Any) -> Callable[[Callable[..., dg.DataVersionsByPartition]], Any]:
    """Declare an observable source asset (in beta)."""

    def decorate(function: Callable[..., dg.DataVersionsByPartition]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)
            return dg.observable_source_asset(**options)(function)

    return decorate


def record_data_version(context: dg.OutputContext, version: str) -> None:
    """Give Dagster the content version of what an IO manager has just stored.

    The public way, ``Output(data_version=…)``, wants the version before the IO manager has seen the value.
    """
    context.step_context.set_data_version(context.asset_key, dg.DataVersion(version))


@dataclass(frozen=True, slots=True)
class AssetFacts:
    """What the asset graph says about an asset."""

    code_version: str
    upstream: tuple[str, ...]


def facts_of_output(context: dg.OutputContext) -> AssetFacts:
    """Look up code version and upstream assets of the asset that an output belongs to."""
    node = context.step_context.job_def.asset_layer.get(context.asset_key)
    return _facts(node)


def facts_of_definitions(defs: dg.Definitions) -> dict[str, AssetFacts]:
    """Asset → facts, for all assets of the code location, in topological order."""
    graph = defs.resolve_asset_graph()
    return {key.to_user_string(): _facts(graph.get(key)) for key in graph.toposorted_asset_keys}


def _facts(node: Any) -> AssetFacts:
    upstream = tuple(sorted(key.to_user_string() for key in node.parent_keys))
    return AssetFacts(node.code_version or "", upstream)


def report_observation(instance: dg.DagsterInstance, asset: str, session: str, version: str) -> None:
    """Record that a source asset was seen in a version, without a run."""
    instance.report_runless_asset_event(observation(asset, session, version))


def observation(asset: str, session: str, version: str) -> dg.AssetObservation:
    """Make the event that a source asset was seen in a version."""
    return dg.AssetObservation(asset, partition=session, tags={"dagster/data_version": version})


def last_observed_version(instance: dg.DagsterInstance, asset: str, session: str) -> str | None:
    """Version in which a source asset was last seen, or None."""
    record = instance.get_latest_data_version_record(dg.AssetKey(asset), is_source=True, partition_key=session)
    event = None if record is None else record.asset_observation
    return None if event is None else (event.tags or {}).get("dagster/data_version")


def stale_reasons(
    instance: dg.DagsterInstance, defs: dg.Definitions, assets: Sequence[str], session: str
) -> Mapping[str, tuple[str, ...]]:
    """Ask Dagster which assets of a session are stale, and why.

    Returns
    -------
    mapping
        Stale asset → reasons; assets that are fresh or were never materialised are not in it.
    """
    resolver = CachingStaleStatusResolver(
        instance, defs.resolve_asset_graph(), loading_context=LoadingContextForTest(instance)
    )
    found = {}
    for asset in assets:
        key = dg.AssetKey(asset)
        if resolver.get_status(key, session) == StaleStatus.STALE:
            causes = resolver.get_stale_causes(key, session)
            found[asset] = tuple(
                f"{cause.dependency.asset_key.to_user_string() if cause.dependency else asset}: {cause.reason}"
                for cause in causes
            )
    return found


def reconstructable_job(name: str) -> Any:
    """Name a job of the code location in a way that child processes can load."""
    return ReconstructableRepository.for_module("meso_assets.definitions", "defs").get_reconstructable_job(name)
