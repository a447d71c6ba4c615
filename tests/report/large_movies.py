"""Registered movies and raw tifs for the inputs of a large report: as many frames as it has, of few different ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from meso_core.imaging.fovs import plane
from meso_core.report import ReportInputs
from meso_core.session import imaging_bouts, raw_tifs
from meso_core.simulate import preset, simulate_session

#: Different frames of the registered movie, and frames of the tifs, in which the fields move most.
_N_DRAWN, _N_RAW = 40, 160


def with_movies(folder: Path, inputs: ReportInputs, preset_name: str = "real") -> ReportInputs:
    """Add a registered movie, which fields of one shape share, and the raw tifs of those frames that are shown."""
    assert inputs.metadata is not None
    fovs = inputs.metadata.imaging.fovs
    for fov in fovs:
        _move_at_first(inputs.planes[fov.name], fov.index)
    n_frames = len(plane.load_dict(inputs.planes["FOV_00"] / "reg_outputs.npy")["yoff"])
    movies = {shape: folder / f"registered_{shape[0]}_{shape[1]}.bin" for shape in {fov.shape for fov in fovs}}
    for shape, file in movies.items():
        _write_movie(file, n_frames, shape)
    raw = simulate_session(folder / "raw", replace(preset(preset_name), frames_per_bout=(_N_RAW,)))
    (bout,) = imaging_bouts(raw.session_path)
    return replace(inputs, movies={fov.name: movies[fov.shape] for fov in fovs}, raw_tifs={bout.name: raw_tifs(bout)})


def _move_at_first(place: Path, seed: int) -> None:
    file = place / "reg_outputs.npy"
    outputs, rng = plane.load_dict(file), np.random.default_rng(seed)
    for name in ("yoff", "xoff"):
        outputs[name][: _N_RAW - 5] = rng.integers(-4, 5, _N_RAW - 5)
    file.unlink()
    plane.save_objects(file, outputs)


def _write_movie(file: Path, n_frames: int, shape: tuple[int, int]) -> None:
    """Photons of one scene, 40 counts each."""
    rng = np.random.default_rng(0)
    scene = gaussian_filter(rng.gamma(0.3, 1, shape), 1.5)
    scene *= 10 / scene.mean()
    drawn = (40 * rng.poisson(scene, (_N_DRAWN, *shape)) + 200).astype(np.int16)
    with file.open("wb") as opened:
        for k in range(n_frames):
            opened.write(drawn[k % _N_DRAWN].data)
