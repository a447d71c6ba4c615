"""The FOV binaries are suite2p's own, bit for bit, wherever suite2p handles the layout."""

import gc
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from meso_core.scanimage import ImagingLayout, bin_per_plane, extract_imaging_meta
from meso_core.session import imaging_bouts, raw_tifs

sys.path[:0] = [str(Path(__file__).parents[1] / "scanimage"), str(Path(__file__).parents[2])]
from scanimage_files import small_config, write_bout  # noqa: E402

from benchmarks.bench_scanimage import suite2p_split  # noqa: E402

#: Settings, and frames in the tifs of each bout.
RECORDINGS = {
    "one depth": (small_config(), ((7, 5), (4,))),
    "three depths": (small_config(zs=(100.0, 130.0, 160.0)), ((9, 6), (12,))),
    "files cut in mid-volume": (small_config(zs=(100.0, 130.0, 160.0)), ((7, 5, 3), (6,))),
    "two channels": (small_config(channels=(2, 3)), ((7, 5), (4,))),
    "functional channel second": (small_config(channels=(3, 2)), ((7, 5), (4,))),
    "two channels, two depths": (small_config(zs=(100.0, 130.0), channels=(1, 4)), ((6, 4), (8,))),
    "fly-back frames": (small_config(zs=(100.0, 130.0), flyback_frames=2), ((8, 4), (4,))),
}


@pytest.fixture(scope="module", autouse=True)
def quick_collection():
    """Suite2p collects garbage after each tif, among all objects of torch; and it leaves tifs open."""
    import suite2p  # noqa: F401

    gc.freeze()
    yield
    gc.unfreeze()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("reader", ["ScanImageTiffReader", "tifffile"])
@pytest.mark.parametrize("name", RECORDINGS)
def test_binaries_are_bit_identical_to_suite2p(tmp_path, name, reader):
    config, bouts = RECORDINGS[name]
    session = tmp_path / "001"
    for i, frames in enumerate(bouts):
        pages = tuple(n * len(config.channels) for n in frames)
        write_bout(session / f"raw_imaging_data_{i:02d}", config, pages, seed=i, start_s=60.0 * i)
    paths = [tif for bout in imaging_bouts(session) for tif in raw_tifs(bout)]
    meta, _ = extract_imaging_meta(raw_tifs(imaging_bouts(session)[0]), *config.center_mm)
    # a batch smaller than a file, and no multiple of the volume
    changes = {"batch_size": 5, "force_sktiff": reader == "tifffile"}
    theirs = suite2p_split(paths, ImagingLayout.from_meta(meta), tmp_path / "peer", **changes)

    ours = bin_per_plane(session, meta, tmp_path / "ours")
    assert len(theirs) == len(ours) + 2 * config.flyback_frames
    for fov, db in zip(ours, theirs, strict=False):
        assert fov.path.read_bytes() == Path(db["raw_file"]).read_bytes()
        assert (fov.n_frames, fov.ny, fov.nx) == (db["nframes"], db["Ly"], db["Lx"])
        assert fov.frames_per_bout == tuple(db["frames_per_folder"])
        np.testing.assert_array_equal(fov.mean, db["meanImg"])
        if len(config.channels) > 1:
            assert fov.path_chan2.read_bytes() == Path(db["raw_file_chan2"]).read_bytes()
            np.testing.assert_array_equal(fov.mean_chan2, db["meanImg_chan2"])
