"""The code location: everything that Dagster loads, put together in one function.

What belongs here: assembly. Tests and the command line call :func:`build_defs` with settings of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from .assets import alyx, archive, location, raw, suite2p, timing
from .assets.session_asset import PLATFORM
from .defs.jobs import session_jobs
from .defs.removal import remove_raw_tifs
from .defs.sensors import sessions_arrive
from .defs.session_checks import session_checks
from .io.managers import AlfIOManager, SessionFilesIOManager
from .io.resources import Platform
from .runs.console import readable_logger
from .runs.settings import MesoSettings, current_settings

_ASSETS = (
    raw.raw_session,
    raw.imaging_metadata,
    archive.imaging_frames_archive,
    archive.reference_images,
    timing.frame_qc,
    timing.frame_times,
    suite2p.motion_registered_frames,
    suite2p.rois,
    location.mean_image_mlapdv,
    location.roi_brain_locations,
    alyx.alyx_fov_records,
)


def build_defs(settings: MesoSettings | None = None, **overrides: Any) -> dg.Definitions:
    """Assemble the code location.

    Parameters
    ----------
    settings
        Settings of the platform; default those of the environment.
    overrides
        Arguments of :class:`dagster.Definitions` that replace what is made here; ``resources`` are merged.
    """
    settings = settings or current_settings()
    parts: dict[str, Any] = {
        "assets": list(_ASSETS),
        "asset_checks": list(session_checks),
        "jobs": [*session_jobs, remove_raw_tifs],
        "sensors": [sessions_arrive(settings)],
        "loggers": {"readable": readable_logger},
        "executor": executor(settings),
        "resources": {**resources(settings), **overrides.pop("resources", {})},
    }
    return dg.Definitions(**{**parts, **overrides})


def resources(settings: MesoSettings) -> Mapping[str, Any]:
    """Platform and IO managers on the settings' root."""
    platform = Platform.open(settings)
    return {
        PLATFORM: platform,
        "alf": AlfIOManager(platform),
        "session_files": SessionFilesIOManager(platform),
        "between_steps": dg.FilesystemIOManager(base_dir=str(settings.dagster_home / "storage")),
    }


def executor(settings: MesoSettings) -> dg.ExecutorDefinition:
    """Run steps side by side, or all in one process.

    A step in a process of its own costs about a second; a fork server that has the code location loaded keeps it there.
    """
    if settings.executor == "in_process":
        return dg.in_process_executor
    return dg.multiprocess_executor.configured(
        {
            "max_concurrent": settings.cores,
            "start_method": {"forkserver": {"preload_modules": ["meso_assets.definitions"]}},
        },
        name="side_by_side",
    )


defs = build_defs()
