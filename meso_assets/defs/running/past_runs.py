"""What earlier runs took, from Dagster's records and the manifests of what they made; nothing else is kept of it.

What belongs here: wall times by asset, and the steps of earlier runs on this machine, as ``meso_core.imaging`` takes
them.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from meso_core.errors import MesoError
from meso_core.storage import Manifest

from ...io.resources import Platform
from ...io.session_names import PARTITION_TAG
from ..catalogue import CATALOGUE
from ..dagster_internals import asset_of_step, times_of_steps

if TYPE_CHECKING:
    from meso_core.imaging import PastStep

ARCHIVE, MOVIES, ROIS = "imaging_frames_archive", "motion_registered_frames", "rois"
#: Runs that are looked at, newest first.
_RECENT_RUNS = 20


def seconds_by_asset(instance: dg.DagsterInstance, run_id: str) -> dict[str, float]:
    """Wall time from the first start to the last end of each asset's steps, s.

    It is no more than they took one after the other: machines tell times of their own, and only how long each step took
    is told by one clock; where the step was lost, not even that, and it counts as nothing if it ended before it began.
    """
    of_asset: dict[str, list[tuple[float, float]]] = {}
    for times in times_of_steps(instance, run_id):
        asset = asset_of_step(times.step)
        if asset in CATALOGUE and times.start is not None and times.end is not None:
            of_asset.setdefault(asset, []).append((times.start, times.end))
    return {asset: _wall_time(spans) for asset, spans in of_asset.items()}


def _wall_time(spans: Sequence[tuple[float, float]]) -> float:
    whole = max(end for _, end in spans) - min(start for start, _ in spans)
    return max(0.0, min(whole, sum(max(0.0, end - start) for start, end in spans)))


def past_steps(platform: Platform, instance: dg.DagsterInstance) -> tuple[PastStep, ...]:
    """Find what steps that take long took in earlier runs on this machine, newest first.

    A run counts with what it made itself: the manifest names it. What was made again since, elsewhere, or in a session
    that is gone tells nothing.
    """
    records = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS]), limit=_RECENT_RUNS)
    found: list[PastStep] = []
    for record in records:
        run = record.dagster_run
        session = run.tags.get(PARTITION_TAG)
        if session is None or "/" not in session:
            continue
        try:
            made = {name: platform.session(session, instance).manifest(name) for name in (ARCHIVE, MOVIES, ROIS)}
        except MesoError:  # it says nothing of another session
            continue
        seconds = seconds_by_asset(instance, run.run_id)
        found += _steps(made, {name: s for name, s in seconds.items() if _made_here(made.get(name), run.run_id)})
    return tuple(found)


def _made_here(manifest: Manifest | None, run_id: str) -> bool:
    return manifest is not None and (manifest.made_by.run_id, manifest.made_by.host) == (run_id, socket.gethostname())


def _steps(made: Mapping[str, Manifest | None], seconds: Mapping[str, float]) -> list[PastStep]:
    from meso_core.imaging import PastStep, Step

    archive, movies = made[ARCHIVE], made[MOVIES]
    tifs = sum(file.size for files in archive.contents.values() for file in files) if archive else 0
    frames = sum(file.size for file in movies.files if file.path.endswith(".bin")) if movies else 0
    goes_in = {ARCHIVE: (Step.ARCHIVE, tifs), MOVIES: (Step.REGISTRATION, frames), ROIS: (Step.DETECTION, frames)}
    return [
        PastStep(step, n_bytes, manifest.total_bytes, seconds[name])
        for name, (step, n_bytes) in goes_in.items()
        if name in seconds and n_bytes and (manifest := made[name]) is not None
    ]
