"""The same ROIs as suite2p alone finds with the same settings, on real movies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from imaging.conftest import make_meta, real_movie  # noqa: F401
from imaging.test_truth import run_plane

from meso_core.imaging import fov_jobs, process_fovs
from meso_core.scanimage import ScanImageTif, bin_per_plane, load_meta_files
from meso_core.session import raw_tifs
from meso_core.simulate import preset, simulate_session


def as_session(frames: np.ndarray, root: Path) -> Path:
    """Write a real movie as a session: tifs, header, DAQ of a simulated one, and the movie's pixels in its pages."""
    n_frames, side = frames.shape[:2]
    config = preset("tiny")
    roi = replace(config.rois[0], shape=(side, side))
    made = simulate_session(root, replace(config, rois=(roi,), frames_per_bout=(n_frames,), frames_per_file=150))
    pages = iter(frames)
    for tif in raw_tifs(made.session_path / "raw_imaging_data_00"):
        offsets = ScanImageTif(tif).data_offsets
        with tif.open("r+b") as file:
            for offset in offsets:
                file.seek(int(offset))
                file.write(np.ascontiguousarray(next(pages), "<i2").tobytes())
    assert next(pages, None) is None
    return made.session_path


@pytest.mark.parametrize(
    ("name", "side", "rate"),
    [
        ("optinist_mouse2p_frames0000-0199.tif", 128, 10.0),
        pytest.param("thunder_mouse_64x64_500frames.tif", 64, 5.0, marks=pytest.mark.nightly),
    ],
)
def test_real_movies_give_suite2ps_shifts_rois_and_traces(
    real_movie: Callable[[str], np.ndarray],  # noqa: F811
    tmp_path: Path,
    name: str,
    side: int,
    rate: float,
) -> None:
    ours, theirs = tmp_path / "ours" / "plane0", tmp_path / "theirs" / "plane0"
    theirs.parent.mkdir()
    session = as_session(real_movie(name), tmp_path / "Subjects")
    bin_per_plane(session, load_meta_files(session)[0], ours.parent)
    np.testing.assert_array_equal(np.fromfile(ours / "data_raw.bin", np.int16), real_movie(name).ravel())
    job = fov_jobs(ours.parent, make_meta(side, side, 1, rate), tau=0.7, keep_raw=True)[0]
    process_fovs([job])
    run_plane(ours / "data_raw.bin", theirs, job.options.settings_dict(), side)
    mine, their = (np.load(p / "reg_outputs.npy", allow_pickle=True).item() for p in (ours, theirs))
    np.testing.assert_array_equal(mine["refImg"], their["refImg"])
    for key in ("yoff", "xoff", "yoff1", "xoff1"):
        np.testing.assert_allclose(mine[key], their[key], atol=0.01, rtol=0, err_msg=key)
    movies = [np.fromfile(p, np.int16) for p in (ours / "imaging.frames_motionRegistered.bin", theirs / "data.bin")]
    np.testing.assert_array_equal(*movies)
    stats = [np.load(p / "stat.npy", allow_pickle=True) for p in (ours, theirs)]
    assert len(stats[0]) == len(stats[1]) > 3
    for a, b in zip(*stats, strict=True):
        for key in ("ypix", "xpix", "lam", "med"):
            np.testing.assert_allclose(a[key], b[key], rtol=1e-4, err_msg=key)
    for file in ("F.npy", "Fneu.npy", "spks.npy", "iscell.npy"):
        pair = [np.load(p / file) for p in (ours, theirs)]
        np.testing.assert_allclose(pair[0], pair[1], rtol=1e-3, atol=1e-2 * np.abs(pair[1]).max(), err_msg=file)
