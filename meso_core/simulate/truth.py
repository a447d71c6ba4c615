"""The ground truth of a simulated session, on disk beside it.

What belongs here: the layout of the truth folder, writing and reading it. What does not: simulating.

Layout, ``<root>.truth/<subject>/<date>/<number>/``::

    truth.json              settings, faults, geometry, bouts
    pages_NN.npy            the whole pages on file of a bout, in file order: tif, frame, channel (counted from 0), time
    FOV_NN/shifts.npy       f4 (n_frames, 2)         rigid displacement [y, x], px
    FOV_NN/weights.npy      f4 (n_frames, 2, n_modes)  weights of the smooth modes [y, x], px
    FOV_NN/modes.npy        f4 (n_modes, ny, nx)     displacement field = shifts + weights @ modes
    FOV_NN/axial.npy        f4 (n_frames,)           focal plane relative to rest, µm
    FOV_NN/centres.npy      f4 (n_cells, 2)          [y, x], px
    FOV_NN/depth.npy        f4 (n_cells,)            µm from the focal plane at rest
    FOV_NN/mask_cell.npy, mask_y.npy, mask_x.npy, mask_weight.npy    footprints as triplets
    FOV_NN/spikes.npy       u1 (n_frames, n_cells)   spikes in each frame
    FOV_NN/traces.npy       f4 (n_frames, n_cells)   brightness relative to rest, without noise and neuropil
    FOV_NN/background.npy   f4 (n_frames, n_cells)   all other light in the footprint, in the same unit
    FOV_NN/snr.npy          f4 (n_cells,)            peak signal-to-noise of what the footprint reads in the movie
    FOV_NN/photon_snr.npy   f4 (n_cells,)            the same without the background: photons and amplifier alone
    FOV_NN/frame_times.npy  f8 (n_frames,)           start of the FOV's first line, DAQ clock, s
    FOV_NN/frame_index.npy  i8 (n_frames,)           place of the frame in its bout, counted in ScanImage frames
    FOV_NN/bad_frames.npy   ? (n_frames,)

Without tissue (no movie, or a plain one) only the last three are there.

Displacements tell where the tissue moved to, positive down and right: suite2p's ``yoff`` and ``xoff``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingInputError
from ..json_text import json_text
from ..session import SessionKey, fov_name
from .config import RoiConfig, ScanfieldConfig, SimulationConfig
from .files.clock import Bout
from .files.pages import WrittenTif
from .plan import SessionPlan
from .tissue.geometry import coords_transform, corners_deg, corners_mm
from .tissue.movie import FovMovie
from .tissue.readout import fov_masks, peak_snr, write_background
from .tissue.scene import MARGIN

#: A page on file: its tif, frame and index of its channel, all counted from 0; its time by ScanImage's clock, s.
PAGE = np.dtype([("tif", "<u2"), ("frame", "<i8"), ("channel", "u1"), ("time", "<f8")])


@dataclass(frozen=True, slots=True)
class FovTruth:
    """Ground truth of one FOV; arrays are memory-mapped, with the shapes in the module's docstring."""

    name: str
    #: Rows of the page, 0-based, the last excluded; position of the slice in the volume; depth in µm.
    row_start: int
    row_stop: int
    slice_id: int
    z: float
    ny: int
    nx: int
    #: Number of the channel that shows it, where channels are depths; else None.
    channel: int | None
    #: Corners in degrees (x, y) and in mm (ML, AP) by name.
    corners_deg: dict[str, list[float]]
    corners_mm: dict[str, list[float]]
    frames_per_bout: tuple[int, ...]
    frame_times: NDArray[np.float64]
    #: Place of each frame in its bout, counted in ScanImage frames; of an average, its first.
    frame_index: NDArray[np.int64]
    #: Seconds from the FOV's first line to each line, f8 (ny,).
    timeshift: NDArray[np.float64]
    bad_frames: NDArray[np.bool_]
    shifts: NDArray[np.float32]
    weights: NDArray[np.float32]
    modes: NDArray[np.float32]
    axial: NDArray[np.float32]
    centres: NDArray[np.float32]
    depth: NDArray[np.float32]
    spikes: NDArray[np.uint8]
    traces: NDArray[np.float32]
    background: NDArray[np.float32]
    snr: NDArray[np.float32]
    photon_snr: NDArray[np.float32]
    mask_cell: NDArray[np.int32]
    mask_y: NDArray[np.int16]
    mask_x: NDArray[np.int16]
    mask_weight: NDArray[np.float32]

    @property
    def n_cells(self) -> int:
        """Cells whose centre lies in the FOV or its margin."""
        return len(self.centres)

    def mask(self, cell: int) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.float32]]:
        """Return pixels y, x and weights of a cell's footprint at rest."""
        own = np.flatnonzero(self.mask_cell == cell)
        return self.mask_y[own], self.mask_x[own], self.mask_weight[own]

    def displacement(self, frame: int) -> NDArray[np.float32]:
        """Compute the displacement [y, x] of every pixel in a frame, f4 (2, ny, nx), px."""
        field = np.tensordot(self.weights[frame], self.modes, axes=1)
        return np.asarray(field + self.shifts[frame][:, None, None])


@dataclass(frozen=True, slots=True)
class SessionTruth:
    """Ground truth of a session."""

    key: SessionKey
    config: SimulationConfig
    faults: tuple[str, ...]
    line_period: float
    frame_period: float
    frames_per_volume: int
    #: DAQ time of each ScanImage frame of each bout, f8 (n,), s.
    bout_frames: tuple[NDArray[np.float64], ...]
    fovs: tuple[FovTruth, ...]
    #: Whole pages on file of each bout, in file order, of :data:`PAGE`; empty without a movie.
    pages: tuple[NDArray[Any], ...] = ()


def write_truth(
    folder: Path,
    plan: SessionPlan,
    movies: Sequence[FovMovie],
    faults: Sequence[str],
    tifs: Sequence[Sequence[WrittenTif]] = (),
) -> None:
    """Write the ground truth of a session; ``truth.json`` comes last.

    Spikes and traces were written before, since the movies are rendered from them.
    """
    for i in range(len(plan.geometry.fovs)):
        fov = folder / fov_name(i)
        for name, value in _arrays(plan, i, movies[i] if movies else None, fov).items():
            np.save(fov / f"{name}.npy", value)
    for bout in plan.bouts:
        np.save(folder / f"bout_{bout.index:02d}.npy", bout.daq)
    for bout, written in zip(plan.bouts, tifs, strict=False):
        np.save(folder / f"pages_{bout.index:02d}.npy", _pages_on_file(written, plan, bout))
    (folder / "truth.json").write_text(json_text(_head(plan, faults), indent=1), encoding="utf-8")


def _pages_on_file(tifs: Sequence[WrittenTif], plan: SessionPlan, bout: Bout) -> NDArray[Any]:
    saved, parts = plan.geometry.saved_frames(len(bout.scanimage)), []
    for number, tif in enumerate(tifs):
        frames, channels = saved[tif.whole_pages()[:, 0]], tif.whole_pages()[:, 1]
        part = np.zeros(len(frames), PAGE)
        part["tif"], part["frame"], part["channel"], part["time"] = number, frames, channels, bout.scanimage[frames]
        parts.append(part)
    return np.concatenate([np.zeros(0, PAGE), *parts])


def _head(plan: SessionPlan, faults: Sequence[str]) -> dict[str, Any]:
    c, g = plan.config, plan.geometry
    tf = coords_transform(c)
    fovs = [
        {
            "row_start": p.row_start,
            "row_stop": p.row_stop,
            "slice_id": p.slice_id,
            "z": p.z,
            "ny": p.ny,
            "nx": p.nx,
            "channel": p.channel,
            "corners_deg": corners_deg(p),
            "corners_mm": corners_mm(p, tf),
            "frames_per_bout": [g.frames_of_fov(i, n) for n in c.frames_per_bout],
        }
        for i, p in enumerate(g.fovs)
    ]
    return {
        "config": config_to_json(c),
        "faults": list(faults),
        "line_period": g.line_period,
        "frame_period": g.frame_period,
        "frames_per_volume": g.frames_per_volume,
        "fovs": fovs,
    }


def _arrays(plan: SessionPlan, fov: int, movie: FovMovie | None, folder: Path) -> dict[str, NDArray[Any]]:
    times, fault = plan.fov_series(fov)
    arrays = {} if movie is None else _seen(movie, folder)
    g = plan.geometry
    index = [g.frames_at(g.fovs[fov].slice_id, n) for n in plan.config.frames_per_bout]
    return {**arrays, "frame_times": times, "frame_index": np.concatenate(index), "bad_frames": fault > 0}


def _seen(movie: FovMovie, folder: Path) -> dict[str, NDArray[Any]]:
    cell, y, x, weight = fov_masks(movie)
    return {
        "shifts": movie.motion.shifts,
        "weights": movie.motion.weights,
        "modes": np.ascontiguousarray(movie.modes[:, :, MARGIN:-MARGIN]),
        "axial": movie.motion.axial,
        "centres": movie.scene.centres,
        "depth": movie.scene.depth,
        "snr": peak_snr(movie, write_background(movie, folder / "background.npy")),
        "photon_snr": peak_snr(movie),
        "mask_cell": cell,
        "mask_y": y,
        "mask_x": x,
        "mask_weight": weight,
    }


def _nothing_seen(n: int, ny: int, nx: int) -> dict[str, NDArray[Any]]:
    """Make the arrays of a session without tissue, which are not on file: no cells, no motion."""
    return {
        "shifts": np.zeros((n, 2), "f4"),
        "weights": np.zeros((n, 2, 0), "f4"),
        "modes": np.zeros((0, ny, nx), "f4"),
        "axial": np.zeros(n, "f4"),
        "centres": np.zeros((0, 2), "f4"),
        "depth": np.zeros(0, "f4"),
        "spikes": np.zeros((n, 0), "u1"),
        "traces": np.zeros((n, 0), "f4"),
        "background": np.zeros((n, 0), "f4"),
        "snr": np.zeros(0, "f4"),
        "photon_snr": np.zeros(0, "f4"),
        "mask_cell": np.zeros(0, "i4"),
        "mask_y": np.zeros(0, "i2"),
        "mask_x": np.zeros(0, "i2"),
        "mask_weight": np.zeros(0, "f4"),
    }


def config_to_json(config: SimulationConfig) -> dict[str, Any]:
    """Convert settings to JSON values."""
    plain: dict[str, Any] = json.loads(json_text(dataclasses.asdict(config)))
    return plain


def _tuples(value: object) -> Any:  # noqa: ANN401  JSON
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def config_from_json(values: dict[str, Any]) -> SimulationConfig:
    """Convert JSON values to settings."""
    rois = []
    for roi in values["rois"]:
        plain = {k: _tuples(v) for k, v in roi.items()}
        fields = [ScanfieldConfig(**{k: _tuples(v) for k, v in field.items()}) for field in roi.get("scanfields", ())]
        rois.append(RoiConfig(**{**plain, "scanfields": tuple(fields)}))
    return SimulationConfig(**{**{k: _tuples(v) for k, v in values.items()}, "rois": tuple(rois)})


def load_truth(truth_path: str | Path) -> SessionTruth:
    """Read the ground truth of a simulated session.

    Parameters
    ----------
    truth_path
        ``SimulatedSession.truth_path``.

    Raises
    ------
    MissingInputError
        If it is not there.
    """
    folder = Path(truth_path)
    if not (folder / "truth.json").is_file():
        raise MissingInputError.at(
            folder,
            expected="truth.json of a simulated session",
            found="none",
            remedy="Give the truth_path of simulate_session's result",
        )
    head = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    config = config_from_json(head["config"])
    fovs = []
    for i, values in enumerate(head["fovs"]):
        fov = folder / fov_name(i)
        arrays = {p.stem: np.load(p, mmap_mode="r") for p in sorted(fov.glob("*.npy"))}
        if not config.write_movie or config.plain_movie:
            arrays = _nothing_seen(len(arrays["frame_times"]), values["ny"], values["nx"]) | arrays
        timeshift = np.arange(values["ny"]) * head["line_period"]
        values["frames_per_bout"] = tuple(values["frames_per_bout"])
        fovs.append(FovTruth(name=fov_name(i), timeshift=timeshift, **values, **arrays))
    bouts, pages = (
        tuple(np.load(p, mmap_mode="r") for p in sorted(folder.glob(f"{name}_*.npy"))) for name in ("bout", "pages")
    )
    return SessionTruth(
        config.key,
        config,
        tuple(head["faults"]),
        head["line_period"],
        head["frame_period"],
        head["frames_per_volume"],
        bouts,
        tuple(fovs),
        pages,
    )
