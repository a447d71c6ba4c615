"""The rig's metadata say what the tifs say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from meso_core.errors import InputFileError, MissingInputError, SettingsError
from meso_core.scanimage import extract_imaging_meta, load_meta_files
from meso_core.session import imaging_bouts, raw_tifs
from meso_core.simulate import SimulationConfig, config_from_meta, load_truth, preset, simulate_session
from meso_core.simulate.files.clock import frame_clock
from meso_core.simulate.files.rigmeta import imaging_meta
from meso_core.simulate.tissue.geometry import session_geometry

SP061 = "headers/SP061_2025-01-28_001_raw_imaging_data_00__ibl_rawImagingData.meta.json"


def _layouts(real_data: Path) -> dict[str, SimulationConfig]:
    tiny = preset("tiny")
    rois = tuple(replace(r, shape=(32, 32)) for r in tiny.rois)
    small = replace(tiny, rois=rois, frames_per_bout=(7, 4), frames_per_file=3)
    uneven = (rois[0], replace(rois[1], zs=(100.0,)), replace(rois[2], zs=(100.0, 180.0)))
    return {
        "two channels": replace(small, channels=(2, 4)),
        "two slices": replace(small, zs=(100.0, 140.0)),
        "uneven slices with fly-back": replace(small, zs=(140.0, 100.0, 180.0), flyback_frames=2, rois=uneven),
        "one field": replace(small, rois=rois[:1]),
        "a real header": config_from_meta(real_data / SP061, frames_per_bout=(2, 1)),
    }


@pytest.mark.parametrize(
    "layout", ["two channels", "two slices", "uneven slices with fly-back", "one field", "a real header"]
)
def test_extracting_from_the_tifs_gives_the_rigs_metadata(layout: str, real_data: Path, tmp_path: Path) -> None:
    made = simulate_session(tmp_path / "S", _layouts(real_data)[layout])
    for bout in imaging_bouts(made.session_path):
        rig = json.loads((bout / "_ibl_rawImagingData.meta.json").read_text())
        meta, times = extract_imaging_meta(raw_tifs(bout), 2.6, -2.0)
        np.testing.assert_array_equal(times, np.load(bout / "rawImagingData.times_scanImage.npy"))
        assert meta["nFrames"] == len(times) == rig["nFrames"]
        _assert_same(rig, json.loads(json.dumps(meta)))


def _assert_same(a, b, at: str = "meta") -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys(), at
        for key in a:
            _assert_same(a[key], b[key], f"{at}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), at
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            _assert_same(x, y, f"{at}[{i}]")
    elif isinstance(a, float):
        assert b == pytest.approx(a, abs=1e-9), at
    else:
        assert a == b, at


def test_a_real_session_keeps_its_header_lines_and_corners(real_data: Path) -> None:
    real = json.loads((real_data / SP061).read_text())
    config = config_from_meta(real_data / SP061)
    geometry = session_geometry(config)
    ours = imaging_meta(config, geometry, frame_clock(config, geometry)[0])
    assert ours["rawScanImageMeta"]["Software"] == real["rawScanImageMeta"]["Software"]
    assert ours["scanImageParams"] == real["scanImageParams"]
    for mine, theirs in zip(ours["FOV"], real["FOV"], strict=True):
        assert mine["lineIdx"] == theirs["lineIdx"]
        assert mine["roiUUID"] == theirs["roiUUID"]
        for corner in theirs["MM"]:
            np.testing.assert_allclose(mine["MM"][corner], theirs["MM"][corner], rtol=0, atol=1e-9)


def test_settings_that_change_a_real_session_change_its_header(real_data: Path) -> None:
    config = config_from_meta(real_data / SP061, channels=(2, 4), frames_per_file=17)
    geometry = session_geometry(config)
    header = imaging_meta(config, geometry, frame_clock(config, geometry)[0])["rawScanImageMeta"]["Software"]
    assert "SI.hChannels.channelSave = [2;4]\n" in header
    assert "SI.hScan2D.logFramesPerFile = 17\n" in header


def test_bouts_agree_and_corners_are_the_truths(tiny_session) -> None:
    meta, bouts = load_meta_files(tiny_session.session_path)
    assert len(bouts) == 2
    for fov, true in zip(meta["FOV"], load_truth(tiny_session.truth_path).fovs, strict=True):
        assert fov["MM"] == true.corners_mm
        assert fov["lineIdx"] == list(range(true.row_start + 1, true.row_stop + 1))


def test_what_is_no_metadata_is_refused(tmp_path: Path, real_data: Path) -> None:
    with pytest.raises(MissingInputError, match="no such file"):
        config_from_meta(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"version": "0.2.0"}')
    with pytest.raises(InputFileError, match="rawScanImageMeta"):
        config_from_meta(tmp_path / "bad.json")
    with pytest.raises(SettingsError, match="frames_per_bouts"):
        config_from_meta(real_data / SP061, frames_per_bouts=(3,))
