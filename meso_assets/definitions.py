"""The code location: everything that Dagster loads, put together in one function.

What belongs here: assembly. Tests and the command line call :func:`build_defs` with settings of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from . import assets
from .assets.lineage import audit_schedules, audit_sessions
from .assets.upkeep import prune_every_week, prune_records
from .defs.alyx.sensor import alyx_comes_back
from .defs.catalogue import CATALOGUE, RAW, RECORDS
from .defs.dagster_internals.plain_lines import plain_what_is_set_up
from .defs.declare import PEOPLE, raw_asset
from .defs.jobs import session_jobs
from .defs.notices.sending import daily_digest, digest_every_morning, notices_go_out
from .defs.partitions import session_partitions
from .defs.person import judge_session_by_hand
from .defs.removal.removal import free_removed_tifs, remove_raw_tifs, removed_tifs_daily
from .defs.sensors.sensors import dead_runs_end, sessions_arrive
from .defs.session_checks import session_checks
from .io.alyx import Alyx
from .io.managers import AlfIOManager, RawIOManager, SessionFilesIOManager
from .io.resources import Platform
from .overview.links import OVERVIEW_LINK
from .overview.sensor import overview_follows
from .runs.console import readable_logger
from .runs.executors import executor
from .runs.settings.engines import as_given_to_job
from .runs.settings.settings import MesoSettings, current_settings


def build_defs(settings: MesoSettings | None = None, **overrides: Any) -> dg.Definitions:  # noqa: ANN401  of Definitions
    """Assemble the code location.

    Parameters
    ----------
    settings
        Settings of the platform; default those of the environment.
    overrides
        Arguments of :class:`dagster.Definitions` that replace what is made here; ``resources`` are merged.
    """
    settings = as_given_to_job(settings or current_settings())
    parts: dict[str, Any] = {
        "assets": [*raw_specs(), people_spec(), *declared_assets(settings)],
        "asset_checks": list(session_checks),
        "jobs": [
            *session_jobs,
            judge_session_by_hand,
            remove_raw_tifs,
            free_removed_tifs,
            audit_sessions,
            daily_digest,
            prune_records,
        ],
        "schedules": [removed_tifs_daily, *audit_schedules, digest_every_morning(settings), prune_every_week],
        "sensors": [
            sessions_arrive(settings),
            alyx_comes_back(settings),
            dead_runs_end,
            overview_follows,
            notices_go_out(settings),
        ],
        "loggers": {"readable": readable_logger},
        "executor": executor(settings),
        "resources": {**resources(settings), **overrides.pop("resources", {})},
    }
    return dg.Definitions(**{**parts, **overrides})


def raw_specs() -> list[dg.AssetSpec]:
    """Make an external asset per kind of raw files; the sensor and the runs tell Dagster their versions."""
    return [
        dg.AssetSpec(
            raw_asset(kind),
            group_name="raw",
            description=description,
            partitions_def=session_partitions,
            metadata=OVERVIEW_LINK,
        ).with_io_manager_key("raw")
        for kind, description in RAW.items()
    ]


def people_spec() -> dg.AssetSpec:
    """Make the external asset of what people said of a session; the sensor and the runs tell Dagster its versions."""
    return dg.AssetSpec(
        PEOPLE,
        group_name="report",
        description="What people said of the session: accepted, rejected, noted (`meso qc set`, or the job "
        "`judge_session_by_hand`). No machine changes it.",
        partitions_def=session_partitions,
        metadata=OVERVIEW_LINK,
    )


def declared_assets(settings: MesoSettings) -> list[dg.AssetsDefinition]:
    """Collect all assets of the package, each with the version that follows from its declaration and settings."""
    declared = {**CATALOGUE, **RECORDS}

    def versioned(spec: dg.AssetSpec) -> dg.AssetSpec:
        version = declared[spec.key.path[-1]].version(settings)
        return spec.replace_attributes(code_version=version, metadata={**spec.metadata, **OVERVIEW_LINK})

    found = dg.load_assets_from_package_module(assets)
    return [asset.map_asset_specs(versioned) for asset in found if isinstance(asset, dg.AssetsDefinition)]


def resources(settings: MesoSettings) -> Mapping[str, Any]:
    """Platform and IO managers on the settings' root."""
    platform = Platform.open(settings)
    readers = {name: declared.read for name, declared in CATALOGUE.items() if declared.read is not None}
    return {
        "platform": platform,
        "alyx": Alyx.open(settings),
        "raw": RawIOManager(platform, {raw_asset(kind): kind for kind in RAW}),
        "alf": AlfIOManager(platform, readers),
        "session_files": SessionFilesIOManager(platform, readers),
        "between_steps": dg.FilesystemIOManager(base_dir=str(settings.dagster_home / "storage")),
    }


plain_what_is_set_up()
defs = build_defs()
