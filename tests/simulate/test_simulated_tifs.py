"""Simulated tifs are files of the microscope: byte for byte in their layout, and to every reader."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from meso_core.session import raw_tifs
from meso_core.simulate import SimulationConfig, config_from_meta, load_truth, preset, simulate_session
from meso_core.simulate.files.tif import ScanImageTifWriter
from meso_core.simulate.tissue.geometry import fly_lines, session_geometry

REAL_TIFS = (
    "hostpixelcorr_noavg_00001_00001.tif",
    "vol_no_flyback_00001_00001.tif",
    *(f"volumetric_single_channel_multi_file/vol_one_ch_multi_files_00001_0000{i}.tif" for i in (1, 2, 3)),
)
SP061 = "SP061_2025-01-28_001_raw_imaging_data_00__ibl_rawImagingData.meta.json"


@pytest.mark.parametrize("name", REAL_TIFS)
def test_writer_gives_the_bytes_of_a_real_scanimage_file(name: str, real_data: Path, tmp_path: Path) -> None:
    real = (real_data / "scanimage" / name).read_bytes()
    n_frame_data, n_roi_groups = (int.from_bytes(real[at : at + 4], "little") for at in (24, 28))
    frame_data = real[32 : 31 + n_frame_data].decode()
    roi_groups = real[32 + n_frame_data : 31 + n_frame_data + n_roi_groups].decode()
    with tifffile.TiffFile(real_data / "scanimage" / name) as tif:
        pixels = np.stack([page.asarray() for page in tif.pages])
        at = [page.tags["ImageDescription"].valueoffset for page in tif.pages]
        numerator, denominator = tif.pages[0].tags["XResolution"].value
    words = [real[a : a + 2000].decode() for a in at]
    path = tmp_path / "ours.tif"
    with ScanImageTifWriter(
        path, frame_data, roi_groups, pixels.shape[1:], len(pixels), numerator / denominator
    ) as ours:
        ours.write(pixels[:1], words[:1])
        if len(pixels) > 1:
            ours.write(pixels[1:], words[1:])
    assert path.read_bytes() == real


def test_fly_lines_match_three_real_microscopes(real_data: Path) -> None:
    meta = json.loads((real_data / "headers" / SP061).read_text())
    params = meta["scanImageParams"]
    period = params["hRoiManager"]["linePeriod"]
    starts = [fov["lineIdx"][0] for fov in meta["FOV"]]
    gaps = set(np.diff(starts) - 512)
    assert gaps == {fly_lines(params["hScan2D"]["flytoTimePerScanfield"], period)}
    height = meta["rawScanImageMeta"]["Height"]
    assert round(params["hRoiManager"]["scanFramePeriod"] / period) == height + fly_lines(0.005, period)

    allen, *_ = json.loads((real_data / "headers" / "allen_mesoscope_2024_timeseries_meta.json").read_text())
    period = allen["SI.hRoiManager.linePeriod"]
    back = fly_lines(allen["SI.hScan2D.flybackTimePerFrame"], period)
    assert round(allen["SI.hRoiManager.scanFramePeriod"] / period) == 512 + back

    for name in REAL_TIFS[:3]:
        with tifffile.TiffFile(real_data / "scanimage" / name) as tif:
            header, lines = tif.scanimage_metadata["FrameData"], tif.pages[0].imagelength
        period = header["SI.hRoiManager.linePeriod"]
        steps = header["SI.hFastZ.enable"] and header["SI.hFastZ.waveformType"] == "step"
        back_s = max(header["SI.hScan2D.flybackTimePerFrame"], header["SI.hFastZ.flybackTime"] if steps else 0)
        assert round(header["SI.hRoiManager.scanFramePeriod"] / period) == lines + fly_lines(back_s, period)


def _pages(tifs: tuple[Path, ...]) -> np.ndarray:
    return np.concatenate([tifffile.imread(path, key=slice(None)) for path in tifs])


def test_three_readers_see_the_same_pages_and_header(tiny_session) -> None:
    from ScanImageTiffReader import ScanImageTiffReader

    for path in raw_tifs(tiny_session.session_path / "raw_imaging_data_00"):
        with tifffile.TiffFile(path) as tif:
            assert tif.is_scanimage
            assert tif.is_bigtiff
            header = tif.scanimage_metadata
            pages = np.stack([page.asarray() for page in tif.pages])
            words = [page.description for page in tif.pages]
            offsets = np.diff([page.dataoffsets[0] for page in tif.pages])
        assert pages.dtype == np.int16
        assert len(set(offsets)) == 1  # constant stride
        rois = header["RoiGroups"]["imagingRoiGroup"]["rois"]
        assert [r["scanfields"]["pixelResolutionXY"] for r in rois] == [[96, 96], [96, 64], [96, 80]]
        with ScanImageTiffReader(str(path)) as reader:
            np.testing.assert_array_equal(reader.data(), pages)
            assert "SI.hRoiManager.mroiEnable = 1" in reader.metadata()
            assert reader.description(len(pages) - 1).strip() == words[-1].strip()


@pytest.mark.filterwarnings("ignore")
def test_suite2p_s_converter_cuts_a_stack_as_the_truth_tells(tmp_path: Path) -> None:
    """Its volumes are of equal planes, so fly-back is one; it does not mind that tifs end within volumes."""
    from suite2p.io.tiff import tiff_to_binary

    config = _small(
        channels=(2, 3), zs=(0.0, 30.0), flyback_frames=1, frames_per_bout=(24,), frames_per_file=10, plain_movie=True,
    )  # fmt: skip
    made = simulate_session(tmp_path / "Subjects", config)
    truth, tifs = load_truth(made.truth_path), raw_tifs(made.session_path / "raw_imaging_data_00")
    common = {
        "file_list": [str(path) for path in tifs], "first_files": np.array([True, False, False]), "batch_size": 7,
        "force_sktiff": False, "nplanes": 3, "nchannels": 2, "nrois": 3, "functional_chan": 1,
    }  # fmt: skip
    lines = [np.arange(fov.row_start, fov.row_stop) for fov in truth.fovs[:3]]
    dbs = [
        {**common, "lines": lines[i % 3], "db_path": tmp_path / f"d{i}.npy", "settings_path": tmp_path / f"s{i}.npy"}
        for i in range(9)
    ]
    paths = [[tmp_path / f"{i}_{channel}.bin" for i in range(9)] for channel in (2, 3)]
    tiff_to_binary(dbs, {}, *([path.open("wb") for path in some] for some in paths))
    for i, fov in enumerate(truth.fovs):
        for channel, some in zip((2, 3), paths, strict=True):
            movie = np.fromfile(some[i], np.int16).reshape(-1, fov.ny, fov.nx)
            assert movie[:, 0, :5].tolist() == [[0, frame, channel, fov.slice_id, i % 3] for frame in fov.frame_index]


def test_frame_numbers_times_and_epoch_run_on_over_the_files_of_a_bout(tiny_session) -> None:
    numbers, times, epochs, ends = [], [], set(), []
    for path in raw_tifs(tiny_session.session_path / "raw_imaging_data_00"):
        with tifffile.TiffFile(path) as tif:
            for page in tif.pages:
                words = dict(line.split(" = ", 1) for line in page.description.splitlines() if " = " in line)
                numbers.append(int(words["frameNumbers"]))
                times.append(float(words["frameTimestamps_sec"]))
                epochs.add(words["epoch"])
                ends.append(words["endOfAcquisition"])
    assert numbers == list(range(1, 81))
    period = load_truth(tiny_session.truth_path).frame_period
    np.testing.assert_allclose(np.diff(times), period, rtol=1e-4)
    assert len(epochs) == 1
    assert ends == ["0"] * 79 + ["1"]


def test_rows_between_fields_are_empty_and_fields_are_not(tiny_session) -> None:
    pages = _pages(raw_tifs(tiny_session.session_path / "raw_imaging_data_00"))
    used = np.zeros(pages.shape[1], bool)
    for fov in load_truth(tiny_session.truth_path).fovs:
        assert pages[:, fov.row_start : fov.row_stop].std() > 10
        used[fov.row_start : fov.row_stop] = True
    assert not pages[:, ~used].any()
    assert not used.all()


def _small(**changes) -> SimulationConfig:
    rois = tuple(replace(r, shape=(32, 32)) for r in preset("tiny").rois)
    return replace(preset("tiny"), **{"rois": rois, **changes})


def test_slices_channels_and_flyback_pages_come_in_the_microscopes_order(tmp_path: Path) -> None:
    rois = _small().rois
    config = _small(
        rois=(rois[0], replace(rois[1], zs=(140.0,)), replace(rois[2], zs=(100.0, 140.0))),
        zs=(140.0, 100.0),
        flyback_frames=1,
        channels=(2, 4),
        frames_per_bout=(14,),
        frames_per_file=5,
        bad_frame_share=0,
    )
    made = simulate_session(tmp_path / "S", config)
    truth = load_truth(made.truth_path)
    assert [(f.slice_id, f.z) for f in truth.fovs] == [(0, 140), (0, 140), (0, 140), (1, 100), (1, 100)]
    assert [f.frames_per_bout for f in truth.fovs] == [(5,)] * 5  # 14 frames of 3 a volume: one is cut short
    pages = _pages(raw_tifs(made.session_path / "raw_imaging_data_00")).reshape(14, 2, -1, 32)
    lit = pages.reshape(14, 2, -1).std(axis=2) > 0
    np.testing.assert_array_equal(lit, np.repeat((np.arange(14) % 3 < 2)[:, None], 2, axis=1))
    # the second slice has two fields and is padded to the first one's three
    assert not pages[1::3, :, truth.fovs[4].row_stop :].any()
    # the structural channel does not fluctuate as the cells do, and is dimmer
    assert pages[0::3, 1].mean() < pages[0::3, 0].mean()


def test_a_page_is_as_wide_as_its_widest_field() -> None:
    rois = preset("tiny").rois
    geometry = session_geometry(replace(preset("tiny"), rois=(rois[0], replace(rois[1], shape=(96, 64)))))
    assert (geometry.page_width, [place.nx for place in geometry.fovs]) == (96, [96, 64])


def test_frame_numbers_go_up_by_the_frames_averaged_in_each_acquisition_of_a_slow_stack(tmp_path: Path) -> None:
    config = _small(
        zs=(0.0, 30.0), stack_mode="slow", frames_per_slice=4, frames_averaged=2, scanimage="2016b",
        channels=(1, 2, 3, 4, 5), channels_are_depths=True, frames_per_bout=(16,), frames_per_file=8,
        plain_movie=True,
    )  # fmt: skip
    from ScanImageTiffReader import ScanImageTiffReader

    made = simulate_session(tmp_path / "S", config)
    (tif,) = raw_tifs(made.session_path / "raw_imaging_data_00")
    ours, truth = _pages((tif,)), load_truth(made.truth_path)
    assert ours.shape == (8 * 5, truth.fovs[2].row_stop, 32)
    assert [(fov.channel, fov.z) for fov in truth.fovs[::3]] == [(c, z) for c in range(1, 6) for z in (0, 30)]
    assert truth.fovs[3].frame_index.tolist() == [4, 6, 12, 14]
    with ScanImageTiffReader(str(tif)) as reader:
        np.testing.assert_array_equal(reader.data(), ours)
        words = [reader.description(page) for page in range(len(ours))]
        header = reader.metadata()
    numbers = [[int(text.split(f"{name} = ")[1].split("\n")[0]) for text in words[::5]] for name in (
        "frameNumbers", "acquisitionNumbers", "frameNumberAcquisition")]  # fmt: skip
    assert numbers == [[1, 3, 5, 7, 9, 11, 13, 15], [1, 1, 2, 2, 3, 3, 4, 4], [1, 3, 1, 3, 1, 3, 1, 3]]
    assert "SI.VERSION_MAJOR = '2016b'" in header
    assert "SI.hStackManager.enable" not in header


def test_frame_rate_is_met_by_the_mirror() -> None:
    for rate in (3.0, 6.0, 30.0):
        geometry = session_geometry(replace(preset("tiny"), frame_rate_hz=rate))
        assert math.isclose(1 / geometry.frame_period, rate, rel_tol=0.02)


def test_geometry_of_a_real_session_is_kept(real_data: Path) -> None:
    meta = json.loads((real_data / "headers" / SP061).read_text())
    geometry = session_geometry(config_from_meta(real_data / "headers" / SP061))
    assert geometry.page_height == meta["rawScanImageMeta"]["Height"]
    assert [f.row_start + 1 for f in geometry.fovs] == [f["lineIdx"][0] for f in meta["FOV"]]
    assert f"{geometry.frame_period:.5g}" == f"{meta['scanImageParams']['hRoiManager']['scanFramePeriod']:.5g}"
