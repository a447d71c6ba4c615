"""The inputs of a report of a simulated session with its tifs, registered by the shifts that the simulator put in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from meso_core.imaging.fovs import plane
from meso_core.report import MadeResult, ReportInputs
from meso_core.scanimage import bin_per_plane, load_session_metadata
from meso_core.session import imaging_bouts, raw_tifs
from meso_core.simulate import preset, simulate_session


def report_inputs(folder: Path, *, frames_per_bout: tuple[int, ...] = (200, 60), steps: int = 40) -> ReportInputs:
    """Simulate two bouts; in the middle of the first, the registered movie was moved by up to 4 px a frame."""
    made = simulate_session(folder / "Subjects", replace(preset("tiny"), frames_per_bout=frames_per_bout))
    metadata = load_session_metadata(made.session_path)
    split = bin_per_plane(made.session_path, metadata.imaging, folder / "suite2p")
    planes, movies = {}, {}
    for fov, movie in zip(metadata.imaging.fovs, split, strict=True):
        rng, place = np.random.default_rng(fov.index), folder / "suite2p" / f"plane{fov.index}"
        raw = plane.open_frames(movie.path, fov.shape)
        y, x = np.zeros((2, len(raw)), int)
        middle = slice(100, 100 + steps)
        y[middle], x[middle] = rng.integers(-4, 5, (2, steps))
        registered = np.stack([np.roll(frame, (-dy, -dx), (0, 1)) for frame, dy, dx in zip(raw, y, x, strict=True)])
        movies[fov.name] = place / plane.REGISTERED
        registered.astype(np.int16).tofile(movies[fov.name])
        outputs = {
            "yoff": y,
            "xoff": x,
            "corrXY": np.full(len(raw), 0.1),
            "badframes": np.zeros(len(raw), bool),
            "refImg": registered.mean(axis=0),
            "meanImg": registered.mean(axis=0),
            "yrange": [0, fov.ny],
            "xrange": [0, fov.nx],
        }
        plane.save_objects(place / "reg_outputs.npy", outputs)
        planes[fov.name] = place
    tifs = {bout.name: raw_tifs(bout) for bout in imaging_bouts(made.session_path)}
    results = [MadeResult("motion_registered_frames", "0123456789abcdef")]
    return ReportInputs(made.key, results, metadata, planes=planes, movies=movies, raw_tifs=tifs)
