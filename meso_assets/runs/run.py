"""Running a session from a terminal: the same job as in the UI, in the foreground.

What belongs here: registering the session, running the job, and summing up what it did. Printing is the business of
``cli``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import dagster as dg

from meso_core.errors import InputFileError, SettingsError, told
from meso_core.session import PARTIAL_COPY, SessionKey, some, unfinished_copies

from ..defs.catalogue import CATALOGUE
from ..defs.dagster_internals import asset_of_step, times_of_steps, was_stopped
from ..defs.dagster_internals.origins import shown_as_any_run
from ..defs.jobs import PROCESS_SESSION
from ..defs.preflight import Flight, look_ahead
from ..defs.running.dead_runs import process_tags
from ..defs.running.past_runs import seconds_by_asset
from ..defs.standing.raw_seen import observe
from ..defs.standing.standings import look_at, records_readers
from ..io.resources import Platform
from ..io.session_names import PARTITION_TAG, add_sessions
from .console import readable_log
from .engines.checks import check_engine
from .instance import open_instance
from .settings.settings import MesoSettings


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
    #: Assets that were asked for and lack fields of view, for which they failed → what is missing.
    partial: Mapping[str, str] = field(default_factory=dict)
    #: A second run, of what reads records alone: Dagster had passed it over for what failed before it.
    then_run_id: str = ""
    #: Name of the session.
    session: str = ""
    #: Whether somebody stopped it.
    stopped: bool = False


def register_sessions(
    instance: dg.DagsterInstance,
    platform: Platform,
    keys: Iterable[SessionKey],
    *,
    labs: Mapping[str, Collection[str]] | None = None,
    pass_over: Callable[[str], None] | None = None,
) -> dict[SessionKey, str]:
    """Make sessions known to Dagster: as partitions, and with the version of their raw files.

    Parameters
    ----------
    instance, platform
        Where records and where results are.
    keys
        Sessions.
    labs
        Subject → labs in which it was found, where the caller knows them; looked for where this is not given.
    pass_over
        Told of each session that cannot be read, which is then passed over; by default that is an error.

    Returns
    -------
    dict
        Their partition keys.

    Raises
    ------
    MissingInputError
        If one is not there. Then none becomes a partition, for a partition is never deleted.
    """
    there, views = [], {}
    for key in keys:
        try:
            session = platform.at(key)
            there.append(key)
            views[key] = look_at(session)
        except Exception as error:
            if pass_over is None:
                raise
            pass_over(f"{key}: {told(error)}")
    if labs is None:
        labs = {key.subject: platform.store.labs_of(key.subject) for key in there if key.lab}
    names = add_sessions(instance, there, labs)
    for key, seen in views.items():
        observe(instance, names[key], seen.given_versions(), seen.given_shown())
    return names


def process_job(settings: str) -> dg.JobDefinition:
    """Make the job that processes a session, in this process or one of a step.

    Parameters
    ----------
    settings
        Settings of the platform, as JSON.
    """
    from ..definitions import build_defs

    return build_defs(MesoSettings(**json.loads(settings))).resolve_job_def(PROCESS_SESSION)


def run_session(
    settings: MesoSettings,
    key: SessionKey,
    *,
    assets: tuple[str, ...] = (),
    suite2p: Mapping[str, Any] | None = None,
    discard_curation: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> RunSummary:
    """Materialise assets of one session, here and now; one that cannot be processed is refused before anything begins.

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
    discard_curation
        Whether labels that a person has given to ROIs may go, where other settings ask for new ROIs.
    tell
        Told what the run is estimated to take, where it takes long.

    Raises
    ------
    SettingsError
        If an asset or a suite2p option is unknown, or a value is not allowed. Then nothing was begun.
    EngineError
        If the engine that runs the steps is not there.
    MissingInputError
        If the session is not there.
    InputFileError
        If raw files of it are still being copied: what is made of a part looks as what is made of all.
    MesoError
        As :meth:`~meso_core.imaging.Preflight.refuse`.
    """
    chosen = chosen_assets(assets)
    _check_options(chosen, suite2p or {}, discard_curation)
    check_engine(settings)
    platform = Platform.open(settings)
    _check_nothing_is_being_copied(platform, key)
    with open_instance(settings) as instance:
        name = register_sessions(instance, platform, [key])[key]
        ahead = look_ahead(Flight(platform, instance, look_at(platform.at(key)), chosen, suite2p or {}))
        ahead.refuse()
        if ahead.estimate.room_bytes:
            tell(f"{name} takes {ahead.estimate}")
        config = _suite2p_config(chosen, suite2p or {}, discard_curation)
        summary = _run(settings, instance, name, chosen, config, ahead.estimate.seconds)
        if rest := _passed_over(platform, instance, key, summary):
            then = _run(settings, instance, name, rest, {})
            seconds, failed = {**summary.seconds, **then.seconds}, summary.failed | then.failed
            summary = replace(summary, seconds=seconds, failed=failed, then_run_id=then.run_id)
        return replace(summary, partial=partial_assets(platform, key, chosen))


def _run(
    settings: MesoSettings,
    instance: dg.DagsterInstance,
    name: str,
    assets: tuple[str, ...],
    config: Mapping[str, Any],
    expected_s: float | None = None,
) -> RunSummary:
    with (
        shown_as_any_run(instance),
        dg.execute_job(
            dg.build_reconstructable_job(
                "meso_assets.runs.run", "process_job", reconstructable_args=(settings.model_dump_json(),)
            ),
            instance,
            run_config={**readable_log(len(assets), expected_s), **config},
            # who runs it here runs it again here: the daemon does not
            tags={PARTITION_TAG: name, "dagster/max_retries": "0", **process_tags()},
            asset_selection=[dg.AssetKey(name) for name in assets],
        ) as result,
    ):
        seconds, failed = seconds_by_asset(instance, result.run_id), failed_assets(instance, result.run_id)
        stopped = not result.success and was_stopped(instance, result.run_id)
        return RunSummary(result.run_id, result.success, seconds, assets, failed, session=name, stopped=stopped)


def _passed_over(
    platform: Platform, instance: dg.DagsterInstance, key: SessionKey, summary: RunSummary
) -> tuple[str, ...]:
    """Find what Dagster passed over for a failure and what goes on without it; nothing where the run was ended.

    They read what is recorded of their inputs, of which some may be missing.
    """
    run = instance.get_run_by_id(summary.run_id)
    if run is None or run.status is not dg.DagsterRunStatus.FAILURE or not summary.failed or summary.stopped:
        return ()
    made = set(platform.at(key).manifests())
    not_reached = set(summary.asked) - {*summary.seconds} - summary.failed
    return tuple(name for name in records_readers(made) if name in not_reached)


def chosen_assets(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the assets that a person names; all of the catalogue where none is named.

    Raises
    ------
    SettingsError
        If one is unknown.
    """
    if unknown := sorted(set(names) - set(CATALOGUE)):
        near = [close[0] for name in unknown if (close := get_close_matches(name, CATALOGUE, n=1))]
        meant = f" (did you mean {', '.join(near)}?)" if near else ""
        raise SettingsError.at(
            "assets",
            expected=f"some of {', '.join(CATALOGUE)}",
            found=", ".join(unknown),
            remedy=f"Correct the names{meant}",
        )
    return names or tuple(CATALOGUE)


def _check_nothing_is_being_copied(platform: Platform, key: SessionKey) -> None:
    session = platform.at(key)
    if copying := unfinished_copies(file.path for file in look_at(session).delivered):
        raise InputFileError.at(
            session.path,
            expected="raw files that are whole",
            found=f"{some(copying)}, {PARTIAL_COPY}",
            remedy="Wait until the copy has ended, then run again. If none goes on, delete that file or move it away",
        )


def _check_options(assets: tuple[str, ...], suite2p: Mapping[str, Any], discard_curation: bool) -> None:
    made_by_suite2p = [name for name, declared in CATALOGUE.items() if declared.stage is not None]
    if set(assets) & set(made_by_suite2p):
        from meso_core.imaging.options.overrides import Suite2pOverrides

        Suite2pOverrides.parse(suite2p)
    elif suite2p or discard_curation:
        raise SettingsError.at(
            "suite2p options",
            expected=f"{' or '.join(made_by_suite2p)} among the assets of the run",
            found=", ".join(assets),
            remedy="Name one of them, or leave the options out",
        )


def _suite2p_config(assets: tuple[str, ...], suite2p: Mapping[str, Any], discard_curation: bool) -> dict[str, Any]:
    if not (suite2p or discard_curation):
        return {}
    config = {"suite2p": dict(suite2p), "discard_curation": discard_curation}
    return {"ops": {name: {"config": config} for name in assets if CATALOGUE[name].stage}}


def partial_assets(platform: Platform, key: SessionKey, assets: Iterable[str]) -> dict[str, str]:
    """Assets that were published without fields of view for which they failed → a sentence."""
    made = platform.at(key).manifests()
    return {name: "; ".join(made[name].failed_fovs) for name in assets if name in made and made[name].failed_fovs}


def failed_assets(instance: dg.DagsterInstance, run_id: str) -> frozenset[str]:
    """Assets of which a step of a run failed."""
    return frozenset(asset_of_step(times.step) for times in times_of_steps(instance, run_id) if times.failed)
