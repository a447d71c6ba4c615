"""Small movies of simulated FOVs as raw binaries, and suite2p imported once."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.whole_metadata import scan_image_params, whole_metadata


@pytest.fixture(scope="session")
def suite2p() -> Any:
    """Import suite2p here, with the warnings that its dependencies give on import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import suite2p
        import suite2p.registration.metrics
        import suite2p.registration.register
    return suite2p


@dataclass(frozen=True)
class Movies:
    """Raw binaries of FOVs, 600 frames, and what is true of them."""

    folder: Path
    meta: dict[str, Any]
    truth: Any
    bad_frames: np.ndarray


def make_movies(root: Path, *, n_fovs: int, side: int) -> Movies:
    """Simulate square FOVs, and cut the tifs into raw binaries."""
    from meso_core.scanimage import bin_per_plane, load_meta_files
    from meso_core.simulate import load_truth, preset, simulate_session

    config = preset("demo")
    grown = side / config.rois[0].shape[0]
    rois = tuple(
        replace(
            roi,
            shape=(side, side),
            size_deg=(roi.size_deg[0] * grown, roi.size_deg[1] * grown),
            center_deg=(roi.center_deg[0] * grown, roi.center_deg[1] * grown),
        )
        for roi in config.rois[:n_fovs]
    )
    made = simulate_session(root / "Subjects", replace(config, rois=rois))
    meta, _ = load_meta_files(made.session_path)
    bin_per_plane(made.session_path, meta, root / "suite2p")
    truth = load_truth(made.truth_path)
    return Movies(root / "suite2p", dict(meta), truth, np.asarray(truth.fovs[0].bad_frames, bool))


def process(movies: Movies, folder: Path) -> tuple[Path, Any]:
    """Register and detect all FOVs by workers; returns the folder and the results."""
    from meso_core.imaging import fov_jobs, process_fovs

    shutil.copytree(movies.folder, folder)
    jobs = fov_jobs(folder, movies.meta, bad_frames=movies.bad_frames, keep_raw=True)
    return folder, process_fovs(jobs)


@pytest.fixture(scope="session")
def movies(tmp_path_factory: pytest.TempPathFactory) -> Movies:
    """Two FOVs of 160 × 160 px; tests copy them."""
    return make_movies(tmp_path_factory.mktemp("imaging"), n_fovs=2, side=160)


@pytest.fixture(scope="session")
def processed(movies: Movies, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Both FOVs, registered and detected by workers; tests must not change them."""
    return process(movies, tmp_path_factory.mktemp("processed") / "suite2p")


@pytest.fixture
def small_meta() -> dict[str, Any]:
    """Imaging metadata of FOVs of 64 × 64 px."""
    return make_meta(64, 64, 2)


def make_meta(ny: int, nx: int, n_fovs: int, rate: float = 6.0) -> dict[str, Any]:
    """What suite2p's options are made from, for FOVs side by side."""
    fovs = []
    for i in range(n_fovs):
        left = 1.5 * i
        right = left + 1
        corners = {"topLeft": [left, 0.0], "topRight": [right, 0.0], "bottomLeft": [left, 1], "bottomRight": [right, 1]}
        fovs.append({"nXnYnZ": [nx, ny, 1], "Deg": corners})
    colours = {"green": [1, 2], "red": [3, 4]}
    return whole_metadata(fovs, channelID=colours, scanImageParams=scan_image_params(scanVolumeRate=rate))


@pytest.fixture(scope="session")
def real_movie(real_data: Path) -> Callable[[str], np.ndarray]:
    """Real movies by name, as int16."""
    import tifffile

    def load(name: str) -> np.ndarray:
        frames = tifffile.imread(real_data / "movies" / name)
        return np.ascontiguousarray(frames // 2 if frames.dtype == np.uint16 else frames, dtype=np.int16)

    return load
