"""Which settings of the platform an asset depends on, and whether those that made a result are still in force.

What belongs here: one row per asset; the assets record it in their manifest, and the status compares. Options that were
given for one run alone are recorded as such: they are told, and make nothing stale.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from meso_core.storage import Manifest

from ..runs.settings import MesoSettings

_SUITE2P, _OF_RUN = "suite2p", "suite2p_of_run"
#: Asset → the stage of suite2p that makes it.
STAGES = {"motion_registered_frames": "registration", "rois": "detection"}


def settings_of(asset: str, settings: MesoSettings, suite2p_of_run: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Choose what a manifest keeps of the settings.

    Parameters
    ----------
    asset
        Name in the catalogue.
    settings
        Settings of the platform.
    suite2p_of_run
        suite2p options of one run, by name; they win over those of the platform.
    """
    if asset == "imaging_metadata":
        return {"window_center_ml": settings.window_center_ml, "window_center_ap": settings.window_center_ap}
    if asset == "imaging_frames_archive":
        return {"archive_format": settings.archive_format}
    if asset == "mean_image_mlapdv":
        return settings.location().as_record()
    if asset in STAGES:
        of_run = dict(suite2p_of_run or {})
        return {_SUITE2P: {**settings.suite2p, **of_run}, _OF_RUN: of_run, "genotype": settings.genotype}
    return {}


def changed_settings(manifest: Manifest, settings: MesoSettings) -> tuple[str, ...]:
    """Tell which settings are others now than when a result was made.

    Returns
    -------
    tuple of str
        As in ``settings: archive_format tar.bz2 → zarr``. A setting that the manifest does not name, because an older
        version of meso wrote it, is not compared.
    """
    recorded = manifest.provenance.settings
    now = json.loads(json.dumps(settings_of(manifest.asset, settings, recorded.get(_OF_RUN))))
    stage = STAGES.get(manifest.asset)
    changed = {} if stage is None else _changed_suite2p(recorded, now, stage)
    for name in sorted(set(now) & set(recorded) - {_SUITE2P, _OF_RUN}):
        if recorded[name] != now[name] and not (name == "genotype" and stage == "registration"):
            changed[name] = (recorded[name], now[name])
    return tuple(f"settings: {name} {_shown(old)} → {_shown(new)}" for name, (old, new) in changed.items())


def options_of_run(manifest: Manifest) -> str:
    """Name the suite2p options that were given for the run that made a result; empty where there were none."""
    given = manifest.provenance.settings.get(_OF_RUN) or {}
    return ", ".join(f"{name} = {_shown(value)}" for name, value in sorted(given.items()))


def _changed_suite2p(recorded: Mapping[str, Any], now: Mapping[str, Any], stage: str) -> dict[str, tuple[Any, Any]]:
    if _OF_RUN not in recorded:  # an older version of meso: which options were the run's own is not known
        return {}
    from meso_core.imaging.options.from_metadata import differing_options

    return differing_options(recorded[_SUITE2P], now[_SUITE2P], stage)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
