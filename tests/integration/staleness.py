"""Who says what is stale: Dagster, the status, the sensor, and the completion markers of suite2p.

What belongs here: asking each of them on its own way, for tests that compare the answers.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from sqlalchemy import Engine

from meso_assets.assets.suite2p import session_imaging
from meso_assets.assets.suite2p_config import Suite2pConfig
from meso_assets.definitions import build_defs
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.standing.standings import look_at
from meso_assets.defs.standing.summaries import summary_of
from meso_assets.io.published import read_fovs, read_metadata
from meso_assets.io.resources import Platform
from meso_assets.io.session_names import Registered
from meso_assets.runs.run import register_sessions
from meso_assets.runs.settings.settings import MesoSettings
from meso_assets.runs.status.cells import AssetStatus, State
from meso_core.session import SessionKey
from tests.one_status import session_status


def dagster_says(instance: dg.DagsterInstance, settings: MesoSettings, key: SessionKey) -> set[str]:
    """Ask Dagster's own resolver, which knows events and the code location only."""
    defs = build_defs(settings)
    resolver = CachingStaleStatusResolver(
        instance, defs.resolve_asset_graph(), loading_context=LoadingContextForTest(instance)
    )
    name = Registered.of(instance).name(key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_event_log, "create_engine", _same_engine)
        return {a for a in CATALOGUE if resolver.get_status(dg.AssetKey(a), name) == StaleStatus.STALE}


_create_engine, _engines = sqlite_event_log.create_engine, dict[str, Engine]()


def _same_engine(url: str, **options: Any) -> Engine:
    """Keep the engine of a database: Dagster makes one for each question, some hundred, and compiles each anew."""
    if url not in _engines:
        _engines[url] = _create_engine(url, **options)
    return _engines[url]


def status_says(instance: dg.DagsterInstance, settings: MesoSettings, key: SessionKey) -> dict[str, str]:
    """Ask what `meso status` prints."""
    cells, _ = session_status(Platform.open(settings), instance, key)
    return {cell.asset: cell.why for cell in cells if cell.state is State.STALE}


def status_cells(instance: dg.DagsterInstance, settings: MesoSettings, key: SessionKey) -> dict[str, AssetStatus]:
    """Ask what `meso status` knows of each asset."""
    return {cell.asset: cell for cell in session_status(Platform.open(settings), instance, key)[0]}


def sensor_says(settings: MesoSettings, key: SessionKey) -> set[str]:
    """Ask the sensor what is due."""
    session = Platform.open(settings).session(str(key))
    return set(summary_of(session, settings, now_ns=time.time_ns()).due)


def markers_say(settings: MesoSettings, key: SessionKey) -> set[str]:
    """Ask the completion markers of all FOVs; a stage is stale where a FOV's is not whole for the basis now."""
    from meso_core.imaging.detection.fov import detection_state
    from meso_core.imaging.fovs.job import detection_basis
    from meso_core.imaging.fovs.marker import read_marker
    from meso_core.imaging.registration.fov import why_not_registered

    session = Platform.open(settings).session(str(key))
    seen = look_at(session)
    metadata = read_metadata(session, seen.made["imaging_metadata"])
    ratings = read_fovs(session, seen.made["frame_qc"])
    stale = set()
    for asset in ("motion_registered_frames", "rois"):
        declared = CATALOGUE[asset]
        imaging = session_imaging(
            session, settings, declared, seen.standing(declared, settings).basis, Suite2pConfig(), metadata, ratings
        )
        for fov in imaging.fovs:
            job = imaging.job(fov, declared.stage)
            state = (
                ""
                if asset != "rois"
                else detection_state(job.folder, detection_basis(job, read_marker(job.folder, "registration").outputs))
            )
            whole = not why_not_registered(job) if asset != "rois" else state in ("whole", "curated")
            if not whole:
                stale.add(asset)
    return stale


def all_say(
    instance: dg.DagsterInstance, settings: MesoSettings, key: SessionKey, *, fovs_hold: Collection[str] = ()
) -> Mapping[str, str]:
    """Ask all of them, insist that they agree, and return the reasons by asset.

    ``fovs_hold`` are assets that are stale for what concerns none of their FOVs: the markers say that these hold.
    """
    register_sessions(instance, Platform.open(settings), [key])  # Dagster is told of the raw files as they are
    told = status_says(instance, settings, key)
    assert set(told) == sensor_says(settings, key), "the sensor"
    assert set(told) == dagster_says(instance, settings, key), "Dagster"
    stages = {name for name, declared in CATALOGUE.items() if declared.stage is not None}
    assert set(told) & stages - {*fovs_hold} == markers_say(settings, key), "the markers"
    return told
