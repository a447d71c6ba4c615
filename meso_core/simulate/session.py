"""A whole session, from settings to files.

What belongs here: the order in which things are made and where they go. What does not: how any of them is made.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError, StorageError, problem
from ..progress import Progress, silent
from ..session import SessionKey
from . import rigfiles
from .clock import Bout, daq_duration, fov_times, frame_clock
from .config import SimulationConfig
from .geometry import SessionGeometry, coords_transform, corners_mm, session_geometry
from .header import descriptions, frame_data, roi_groups_text, start_of_bout
from .movie import FovMovie, fov_masks, make_movie
from .rigmeta import pixels_per_cm, write_rig_metadata
from .tif import ScanImageTifWriter
from .timeline import Edges, write_software_events, write_timeline
from .truth import config_to_json, write_truth

#: Faults that can be asked for.
FAULTS = (
    "truncated_tif",
    "foreign_tif",
    "missing_metadata",
    "metadata_mismatch",
    "dropped_pulses",
    "surplus_pulses",
    "counter_wrap",
    "missing_bout",
    "wrong_length_qc",
)
#: Bytes of pages in memory at a time.
_BLOCK_BYTES = 1 << 27


@dataclass(frozen=True, slots=True)
class SimulatedSession:
    """Where a simulated session and its truth are."""

    key: SessionKey
    session_path: Path
    truth_path: Path


@dataclass(frozen=True, slots=True)
class _Plan:
    config: SimulationConfig
    geometry: SessionGeometry
    bouts: tuple[Bout, ...]
    #: Kind of fault of each ScanImage frame, one array per bout.
    faults: tuple[NDArray[np.uint8], ...]


def simulate_session(
    root: str | Path,
    config: SimulationConfig,
    *,
    faults: Sequence[str] = (),
    progress: Progress = silent,
) -> SimulatedSession:
    """Write a session as the rig leaves it, and beside the root what is true of it.

    Parameters
    ----------
    root
        Folder of sessions (``MESO_ROOT``). The truth goes to ``<root>.truth``.
    config
        What to simulate: a :func:`preset`, :func:`config_from_meta`, or any other settings.
    faults
        Names from ``FAULTS`` of what shall be wrong.
    progress
        Told of pages written.

    Returns
    -------
    SimulatedSession
        If the same session is there already, made from the same settings, it is left as it is.

    Raises
    ------
    SettingsError
        If a fault is unknown.
    StorageError
        If another session is in the place.
    """
    unknown = sorted(set(faults) - set(FAULTS))
    if unknown:
        raise SettingsError(
            problem(
                "simulate_session",
                field="faults",
                expected=", ".join(FAULTS),
                found=", ".join(unknown),
                remedy="Check the spelling",
            )
        )
    root = Path(root)
    made = SimulatedSession(
        config.key, config.key.folder(root), config.key.folder(root.with_name(root.name + ".truth"))
    )
    if made.session_path.exists():
        return _kept(made, config, faults)
    plan = _plan(config)
    head = _truth_head(plan, faults)
    drafts = [p.with_name(f".{p.name}.part") for p in (made.session_path, made.truth_path)]
    for draft in drafts:
        if draft.exists():
            shutil.rmtree(draft)
        draft.mkdir(parents=True)
    _write(plan, *drafts, head, frozenset(faults), progress)
    for draft, place in zip(reversed(drafts), (made.truth_path, made.session_path), strict=True):
        if place.exists():
            shutil.rmtree(place)
        draft.rename(place)
    return made


def _kept(made: SimulatedSession, config: SimulationConfig, faults: Sequence[str]) -> SimulatedSession:
    """Accept a session that is there already if it is the one that was asked for."""
    head = made.truth_path / "truth.json"
    if head.is_file():
        known = json.loads(head.read_text(encoding="utf-8"))
        if known["config"] == config_to_json(config) and known["faults"] == sorted(faults):
            return made
    raise StorageError(
        problem(
            made.session_path,
            expected="nothing, or the same simulated session",
            found="another session",
            remedy="Choose another root, subject or number, or move the folder away",
        )
    )


def _plan(config: SimulationConfig) -> _Plan:
    geometry = session_geometry(config)
    faults = []
    for i, n in enumerate(config.frames_per_bout):
        rng = np.random.default_rng([config.seed, 701, i])
        fault = np.zeros(n, np.uint8)
        wanted = round(config.bad_frame_share * n)
        if wanted:
            dark = max(wanted // 2, 1)
            start = int(rng.integers(n // 4, max(n - dark, n // 4 + 1)))
            fault[start : start + dark] = 1
            free = np.flatnonzero(fault == 0)[2:]
            fault[rng.choice(free, min(wanted - dark, free.size), replace=False)] = 2
        faults.append(fault)
    return _Plan(config, geometry, frame_clock(config, geometry), tuple(faults))


def _fov_series(plan: _Plan, fov: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Times and faults of a FOV's frames over all bouts."""
    g = plan.geometry
    own = slice(g.fovs[fov].slice_id, None, g.frames_per_volume)
    times = np.concatenate([fov_times(g, fov, b.daq) for b in plan.bouts])
    return times, np.concatenate([f[own] for f in plan.faults])


def _truth_head(plan: _Plan, faults: Sequence[str]) -> dict[str, Any]:
    c, g = plan.config, plan.geometry
    tf = coords_transform(c)
    return {
        "config": config_to_json(c),
        "faults": sorted(faults),
        "line_period": g.line_period,
        "frame_period": g.frame_period,
        "frames_per_volume": g.frames_per_volume,
        "fovs": [
            {
                "row_start": p.row_start,
                "row_stop": p.row_stop,
                "slice_id": p.slice_id,
                "z": p.z,
                "ny": p.ny,
                "nx": p.nx,
                "corners_mm": corners_mm(c.rois[p.roi], tf),
                "frames_per_bout": [g.frames_of_fov(i, n) for n in c.frames_per_bout],
            }
            for i, p in enumerate(g.fovs)
        ],
    }


def _write(
    plan: _Plan, session: Path, truth: Path, head: dict[str, Any], faults: frozenset[str], progress: Progress
) -> None:
    c, g = plan.config, plan.geometry
    movies = _movies(plan) if c.write_movie else []
    for bout in plan.bouts:
        folder = session / f"raw_imaging_data_{bout.index:02d}"
        folder.mkdir()
        if movies:
            _write_tifs(plan, movies, bout, folder, progress)
        if c.write_metadata:
            write_rig_metadata(folder, c, g, bout)
        rigfiles.write_frame_qc(folder, plan.faults[bout.index], bout.index)
    sync = session / "raw_sync_data"
    sync.mkdir()
    frames = np.concatenate([b.daq for b in plan.bouts])
    volumes = np.concatenate([b.daq[:: g.frames_per_volume] for b in plan.bouts])
    write_timeline(sync, c, Edges(frames, volumes), daq_duration(c, g, plan.bouts))
    write_software_events(sync, c, plan.bouts, g.frame_period)
    if movies:
        stack = np.concatenate([m.render(0, 1)[0] for m in movies[:1]])
        rigfiles.write_reference(session / "raw_imaging_data_00", stack, {"version": "0.1.0", "nFrames": len(stack)})
        rigfiles.write_snapshots(session, movies[0].scene.base)
    rigfiles.write_description(session, c)
    write_truth(truth, head, [_fov_truth(plan, i, movies[i] if movies else None) for i in range(len(g.fovs))])
    for bout in plan.bouts:
        np.save(truth / f"bout_{bout.index:02d}.npy", bout.daq)
    (session / "raw_session.flag").touch()


def _movies(plan: _Plan) -> list[FovMovie]:
    frames = np.concatenate([b.daq for b in plan.bouts])
    return [
        make_movie(plan.config, plan.geometry, i, times, frames, fault)
        for i, (times, fault) in enumerate(_fov_series(plan, i) for i in range(len(plan.geometry.fovs)))
    ]


def _fov_truth(plan: _Plan, fov: int, movie: FovMovie | None) -> dict[str, NDArray[Any]]:
    times, fault = _fov_series(plan, fov)
    n = len(times)
    if movie is None:
        arrays: dict[str, NDArray[Any]] = {
            "shifts": np.zeros((n, 2), "f4"),
            "weights": np.zeros((n, 2, 0), "f4"),
            "axial": np.zeros(n, "f4"),
            "modes": np.zeros((0, plan.geometry.fovs[fov].ny, plan.geometry.fovs[fov].nx), "f4"),
            "centres": np.zeros((0, 2), "f4"),
            "depth": np.zeros(0, "f4"),
            "spikes": np.zeros((n, 0), "u1"),
            "traces": np.zeros((n, 0), "f4"),
            "snr": np.zeros(0, "f4"),
            "mask_cell": np.zeros(0, "i4"),
            "mask_y": np.zeros(0, "i2"),
            "mask_x": np.zeros(0, "i2"),
            "mask_weight": np.zeros(0, "f4"),
        }
    else:
        cell, y, x, weight = fov_masks(movie)
        arrays = {
            "shifts": movie.motion.shifts,
            "weights": movie.motion.weights,
            "axial": movie.motion.axial,
            "modes": movie.modes,
            "centres": movie.scene.centres,
            "depth": movie.scene.depth,
            "spikes": movie.spikes,
            "traces": movie.traces * movie.light[:, None],
            "snr": peak_snr(movie),
            "mask_cell": cell,
            "mask_y": y,
            "mask_x": x,
            "mask_weight": weight,
        }
    return {**arrays, "frame_times": times, "bad_frames": fault > 0}


def peak_snr(movie: FovMovie) -> NDArray[np.float32]:
    """Peak signal-to-noise of each cell, f4 (n_cells,).

    The largest rise above the median, summed over the footprint with the footprint as weights, by the standard
    deviation of one frame's noise (photons and amplifier) in the same sum.
    """
    cell, y, x, photons = fov_masks(movie)
    n = movie.traces.shape[1]
    flat = (y.astype(int) + 16) * movie.scene.base.shape[1] + x + 16
    variance = movie.scene.base.ravel()[flat] + photons + (movie.config.read_noise / movie.config.gain) ** 2
    signal = np.bincount(cell, photons.astype(float) ** 2, n)
    noise = np.sqrt(np.bincount(cell, photons.astype(float) ** 2 * variance, n))
    rise = movie.traces.max(axis=0) - np.median(movie.traces, axis=0)
    return np.asarray(rise * signal / np.maximum(noise, 1e-9), dtype=np.float32)


def _write_tifs(plan: _Plan, movies: list[FovMovie], bout: Bout, folder: Path, progress: Progress) -> None:
    c, g = plan.config, plan.geometry
    text, groups = frame_data(c, g), roi_groups_text(c)
    n, n_channels = len(bout.scanimage), len(c.channels)
    start_time = start_of_bout(c, bout.start_s)
    step = max(_BLOCK_BYTES // (2 * g.page_height * g.page_width * n_channels), 1)
    with ThreadPoolExecutor(min(len(movies), 4)) as pool:
        for number, first in enumerate(range(0, n, c.frames_per_file)):
            stop = min(first + c.frames_per_file, n)
            name = f"{c.date}_{bout.index + 1}_{c.subject}_2P_00001_{number + 1:05d}.tif"
            shape = (g.page_height, g.page_width)
            with ScanImageTifWriter(
                folder / name, text, groups, shape, (stop - first) * n_channels, pixels_per_cm(c)
            ) as tif:
                for a in range(first, stop, step):
                    b = min(a + step, stop)
                    words = descriptions(a, bout.scanimage[a:b], start_time, n_channels, b == n)
                    tif.write(_pages(plan, movies, bout, a, b, pool), words)
                    progress(b, n, f"frames of bout {bout.index} simulated")


def _pages(
    plan: _Plan, movies: list[FovMovie], bout: Bout, a: int, b: int, pool: ThreadPoolExecutor
) -> NDArray[np.int16]:
    """Pages of frames ``a`` to ``b`` of a bout, channels interleaved."""
    g, n_channels = plan.geometry, len(plan.config.channels)
    pages = np.zeros((b - a, n_channels, g.page_height, g.page_width), np.int16)

    def paint(i: int) -> None:
        place = g.fovs[i]
        own = np.arange(a, b)[(np.arange(a, b) - place.slice_id) % g.frames_per_volume == 0]
        if not own.size:
            return
        before = sum(g.frames_of_fov(i, m) for m in plan.config.frames_per_bout[: bout.index])
        volume = before + own // g.frames_per_volume
        for channel, frames in enumerate(movies[i].render(int(volume[0]), int(volume[-1]) + 1)):
            pages[own - a, channel, place.row_start : place.row_stop, : place.nx] = frames

    list(pool.map(paint, range(len(movies))))
    return pages.reshape(-1, g.page_height, g.page_width)
