"""Running a session from a terminal: the same job as in the UI, in the foreground.

What belongs here: registering the session, running the job, and summing up what it did. Printing is the business of
``cli``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from meso_core.errors import SettingsError, problem
from meso_core.session import SessionKey

from ..defs.catalogue import CATALOGUE
from ..defs.dagster_internals import last_observed_version, reconstructable_job, report_observation
from ..defs.jobs import PROCESS_SESSION
from ..defs.made_with import STAGES
from ..defs.partitions import add_sessions
from ..io.resources import OpenSession, Platform
from .console import READABLE_LOG
from .instance import open_instance
from .settings import MesoSettings


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did."""

    run_id: str
    success: bool
    #: Asset → wall time of its steps, s; assets that did not run are not in it.
    seconds: Mapping[str, float]
    #: Assets that were asked for.
    asked: tuple[str, ...] = ()
    #: Assets of which a step failed.
    failed: frozenset[str] = frozenset()


def register_sessions(instance: dg.DagsterInstance, platform: Platform, keys: Iterable[SessionKey]) -> list[str]:
    """Make sessions known to Dagster: as partitions, and with the version of their raw files.

    Raises
    ------
    MissingInputError
        If one is not there. Then none becomes a partition, for a partition is never deleted.
    """
    keys = tuple(keys)
    sessions = [platform.session(str(key)) for key in keys]
    new = add_sessions(instance, keys)
    for session in sessions:
        observe_raw(instance, session)
    return new


def observe_raw(instance: dg.DagsterInstance, session: OpenSession) -> str:
    """Record the version of a session's raw files, if it is not the one that was recorded last."""
    version = session.raw_version()
    if last_observed_version(instance, "raw_session", str(session.key)) != version:
        report_observation(instance, "raw_session", str(session.key), version)
    return version


def run_session(
    settings: MesoSettings,
    key: SessionKey,
    *,
    assets: tuple[str, ...] = (),
    suite2p: Mapping[str, Any] | None = None,
) -> RunSummary:
    """Materialise assets of one session, here and now.

    Parameters
    ----------
    settings
        Settings of the platform.
    key
        Session.
    assets
        Names of the catalogue; all by default.
    suite2p
        suite2p options of this run, by name.

    Raises
    ------
    SettingsError
        If an asset or a suite2p option is unknown, or a value is not allowed. Then nothing was begun.
    MissingInputError
        If the session is not there.
    """
    chosen = assets or tuple(name for name in CATALOGUE if name != "raw_session")
    unknown = sorted(set(chosen) - set(CATALOGUE) | ({"raw_session"} & set(chosen)))
    if unknown:
        known = ", ".join(name for name in CATALOGUE if name != "raw_session")
        found = ", ".join(unknown)
        raise SettingsError(problem("assets", expected=f"some of {known}", found=found, remedy="Correct the names"))
    _check_options(settings, chosen, suite2p or {})
    os.environ.update(settings.as_environment())  # for the processes of the steps
    with open_instance(settings) as instance:
        register_sessions(instance, Platform.open(settings), [key])
        config = {**READABLE_LOG, **_suite2p_config(chosen, suite2p or {})}
        with dg.execute_job(
            reconstructable_job(PROCESS_SESSION),
            instance,
            run_config=config,
            tags={"dagster/partition": str(key)},
            asset_selection=[dg.AssetKey(name) for name in chosen],
        ) as result:
            seconds, failed = seconds_by_asset(instance, result.run_id), failed_assets(instance, result.run_id)
            return RunSummary(result.run_id, result.success, seconds, chosen, failed)


def _check_options(settings: MesoSettings, assets: tuple[str, ...], suite2p: Mapping[str, Any]) -> None:
    if set(assets) & set(STAGES):
        from meso_core.imaging.options.from_metadata import check_options

        check_options({**settings.suite2p, **suite2p})
    elif suite2p:
        raise SettingsError(
            problem(
                "suite2p options",
                expected=f"{' or '.join(STAGES)} among the assets of the run",
                found=", ".join(assets),
                remedy="Name one of them, or leave the options out",
            )
        )


def _suite2p_config(assets: tuple[str, ...], suite2p: Mapping[str, Any]) -> dict[str, Any]:
    if not suite2p:
        return {}
    return {"ops": {name: {"config": {"suite2p": dict(suite2p)}} for name in STAGES if name in assets}}


def seconds_by_asset(instance: dg.DagsterInstance, run_id: str) -> dict[str, float]:
    """Wall time from the first start to the last end of each asset's steps, s."""
    spans: dict[str, tuple[float, float]] = {}
    for stats in instance.get_run_step_stats(run_id):
        asset = asset_of_step(stats.step_key)
        if asset in CATALOGUE and stats.start_time is not None and stats.end_time is not None:
            start, end = spans.get(asset, (stats.start_time, stats.end_time))
            spans[asset] = (min(start, stats.start_time), max(end, stats.end_time))
    return {asset: end - start for asset, (start, end) in spans.items()}


def failed_assets(instance: dg.DagsterInstance, run_id: str) -> frozenset[str]:
    """Assets of which a step of a run failed."""
    steps = instance.get_run_step_stats(run_id)
    return frozenset(asset_of_step(step.step_key) for step in steps if step.status and step.status.value == "FAILURE")


def asset_of_step(step_key: str) -> str:
    """Asset that a step belongs to: ``rois.find_rois[FOV_00]`` belongs to ``rois``."""
    return step_key.split(".")[0].split("[")[0]
