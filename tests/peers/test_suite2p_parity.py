"""The same ROIs as suite2p alone finds with the same settings, on real movies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from imaging.conftest import make_meta, real_movie  # noqa: F401
from imaging.test_truth import run_plane

from meso_core.imaging import fov_jobs, process_fovs


@pytest.mark.parametrize(
    ("name", "side", "rate"),
    [("optinist_mouse2p_frames0000-0199.tif", 128, 10.0), ("thunder_mouse_64x64_500frames.tif", 64, 5.0)],
)
def test_real_movies_give_suite2ps_shifts_rois_and_traces(
    real_movie: Callable[[str], np.ndarray],  # noqa: F811
    tmp_path: Path,
    name: str,
    side: int,
    rate: float,
) -> None:
    ours, theirs = tmp_path / "ours" / "plane0", tmp_path / "theirs" / "plane0"
    ours.mkdir(parents=True)
    theirs.parent.mkdir()
    real_movie(name).tofile(ours / "data_raw.bin")
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
