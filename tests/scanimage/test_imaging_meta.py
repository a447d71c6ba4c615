"""Metadata from headers equal those of the rig, on a real session, real stacks and simulated sessions."""

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scanimage_files import at_depths, real_raw_header, small_config, write_bout

from meso_core.errors import InputFileError, MesoWarning, MetadataError, MissingInputError
from meso_core.scanimage import (
    ImagingLayout,
    Rig,
    extract_imaging_meta,
    fly_to_lines,
    meta_from_header,
    parse_si_header,
)
from meso_core.session import imaging_bouts, raw_tifs
from meso_core.simulate.files.clock import Bout
from meso_core.simulate.files.rigmeta import imaging_meta
from meso_core.simulate.tissue.geometry import session_geometry


def derive(raw, **changes):
    return meta_from_header(raw, 2.6, -2, 16338, **changes)


def with_line(raw, name, value):
    """Raw header with another value of a line."""
    lines = [f"{name} = {value}" if x.startswith(name + " =") else x for x in raw["Software"].splitlines()]
    return {**raw, "Software": "\n".join(lines)}


def test_every_field_of_a_real_session_follows_from_its_raw_header(real_data):
    real = real_raw_header(real_data)
    ours = derive(copy.deepcopy(real["rawScanImageMeta"]))
    assert list(ours) == list(real)
    assert {k: ours[k] for k in ours if k not in ("version", "FOV")} == {
        k: real[k] for k in real if k not in ("version", "FOV")
    }
    assert ours["version"] == "0.2.1"
    for fov, theirs in zip(ours["FOV"], real["FOV"], strict=True):
        assert list(fov) == list(theirs)
        for name in ("slice_id", "roiUUID", "Zs", "Deg", "lineIdx", "nXnYnZ"):
            assert fov[name] == theirs[name]
        for corner, mm in theirs["MM"].items():
            np.testing.assert_allclose(fov["MM"][corner], mm, rtol=0, atol=1e-9)


def test_fly_to_lines_match_three_real_microscopes(real_data):
    """Filler rows of a page, and the lines of a frame period that are not in the page (the fly-back)."""
    software = real_raw_header(real_data)["rawScanImageMeta"]["Software"]
    allen = json.loads((real_data / "headers" / "allen_mesoscope_2024_timeseries_meta.json").read_text())[0]
    from meso_core.scanimage import ScanImageTif

    stack = ScanImageTif(real_data / "scanimage" / "hostpixelcorr_noavg_00001_00001.tif").header
    # rows of the fields, and number of gaps between them
    for header, rows, n_gaps in ((parse_si_header(software), 8 * 512, 7), (allen, 512, 0), (stack, 512, 0)):
        line = header["SI.hRoiManager.linePeriod"]
        gaps = n_gaps * fly_to_lines(header["SI.hScan2D.flytoTimePerScanfield"], line)
        back = fly_to_lines(header["SI.hScan2D.flybackTimePerFrame"], line)
        period = header["SI.hRoiManager.scanFramePeriod"] / line
        assert period == pytest.approx(rows + gaps + back, abs=0.05)


@given(st.floats(1e-6, 0.02), st.floats(1e-5, 1e-4))
def test_fly_to_lines_are_even_and_just_enough(seconds, line_period):
    n = fly_to_lines(seconds, line_period)
    assert n % 2 == 0
    assert (n - 2) * line_period - 1e-9 <= seconds <= n * line_period * (1 + 1e-5) + 1e-9


def test_page_height_that_contradicts_the_fly_to_time_is_an_error(real_data):
    raw = real_raw_header(real_data)["rawScanImageMeta"]
    with pytest.raises(MetadataError, match=r"page height.*4614 rows \(8 FOVs, 74 fly-to lines.*4608 rows"):
        derive({**raw, "Height": 4608})
    with pytest.raises(MetadataError, match=r"expected 512 columns, those of the widest ROI.*found 500"):
        derive({**raw, "Width": 500})


@pytest.mark.parametrize("name", ["objectiveResolution", "hRoiManager.linePeriod", "hStackManager.zs"])
def test_a_header_without_a_field_names_it(real_data, name):
    raw = real_raw_header(real_data)["rawScanImageMeta"]
    lines = [line for line in raw["Software"].splitlines() if not line.startswith(f"SI.{name} ")]
    with pytest.raises(MetadataError, match=f"here.tif, field 'SI.{name}'"):
        derive({**raw, "Software": "\n".join(lines)}, where="here.tif")


@pytest.mark.parametrize(
    ("positive_ml", "positive_ap"), [((0, -1), (-1, 0)), ((0, -1), (1, 0)), ((1, 0), (0, 1)), ((-1, 0), (0, -1))]
)
def test_unit_vectors_of_the_image_go_to_ml_and_ap(real_data, positive_ml, positive_ap):
    raw = real_raw_header(real_data)["rawScanImageMeta"]
    moved = with_line(raw, "SI.hDisplay.circleOffset", "[300 -150]")
    meta = derive(moved, rig=Rig(positive_ml=positive_ml, positive_ap=positive_ap))
    transform = np.array(meta["coordsTF"])
    for vector, direction in ((positive_ml, (0.15, 0)), (positive_ap, (0, 0.15)), ((0, 0), (0, 0))):
        np.testing.assert_allclose([*vector, 1] @ transform, np.add((2.6, -2), direction), atol=1e-12)
    assert meta["centerDeg"] == {"x": 2, "y": -1}
    assert meta["centerMM"] == {"x": 0.3, "y": -0.15, "ML": 2.6, "AP": -2}
    fov = meta["FOV"][3]
    expected = [*np.subtract(fov["Deg"]["topRight"], (2, -1)), 1] @ transform
    np.testing.assert_allclose(fov["MM"]["topRight"], expected, atol=1e-12)


def test_a_rotated_roi_keeps_its_centre_and_size(real_data):
    raw = copy.deepcopy(real_raw_header(real_data)["rawScanImageMeta"])
    scanfield = raw["Artist"]["RoiGroups"]["imagingRoiGroup"]["rois"][0]["scanfields"]
    turn, (w, h) = math.radians(30), scanfield["sizeXY"]
    linear = [[w * math.cos(turn), -h * math.sin(turn)], [w * math.sin(turn), h * math.cos(turn)]]
    origin = np.subtract(scanfield["centerXY"], np.sum(linear, axis=1) / 2)
    scanfield["rotationDegrees"] = 30
    scanfield["affine"] = [[*linear[0], origin[0]], [*linear[1], origin[1]], [0, 0, 1]]
    deg = {k: np.array(v) for k, v in derive(raw)["FOV"][0]["Deg"].items()}
    # the affine transform takes the corners of the unit square to those of the field
    np.testing.assert_allclose(deg["topLeft"], origin, atol=1e-12)
    np.testing.assert_allclose(sum(deg.values()) / 4, scanfield["centerXY"], atol=1e-12)
    across = deg["topRight"] - deg["topLeft"]
    assert math.hypot(*across) == pytest.approx(w)
    assert math.degrees(math.atan2(across[1], across[0])) == pytest.approx(30)


def test_disabled_rois_are_left_out(real_data):
    raw = copy.deepcopy(real_raw_header(real_data)["rawScanImageMeta"])
    raw["Artist"]["RoiGroups"]["imagingRoiGroup"]["rois"][2]["enable"] = 0
    meta = derive({**raw, "Height": 4614 - 512 - 74})
    assert len(meta["FOV"]) == 7
    assert "AA952ED7B37B3544" not in [fov["roiUUID"] for fov in meta["FOV"]]


def test_real_volumetric_files_have_their_slices_flyback_and_continuous_times(real_data):
    folder = real_data / "scanimage" / "volumetric_single_channel_multi_file"
    meta, times = extract_imaging_meta(raw_tifs(folder), 2.6, -2)
    assert [fov["Zs"] for fov in meta["FOV"]] == [92, 94, 96, 98, 100, 102, 104, 106, 108]
    assert [fov["slice_id"] for fov in meta["FOV"]] == list(range(9))
    assert all(fov["lineIdx"] == list(range(1, 21)) and fov["nXnYnZ"] == [20, 20, 1] for fov in meta["FOV"])
    layout = ImagingLayout.from_meta(meta)
    assert (layout.n_slices, layout.n_flyback, layout.pages_per_volume) == (9, 7, 16)
    rates = meta["scanImageParams"]["hRoiManager"]
    assert rates["scanFrameRate"] / rates["scanVolumeRate"] == pytest.approx(layout.frames_per_volume, rel=1e-4)
    assert (meta["nFrames"], times.shape, times.dtype) == (480, (480,), np.float64)
    np.testing.assert_allclose(np.diff(times), rates["scanFramePeriod"], rtol=1e-3)

    single, _ = extract_imaging_meta([real_data / "scanimage" / "vol_no_flyback_00001_00001.tif"], 2.6, -2)
    layout = ImagingLayout.from_meta(single)
    assert (layout.n_slices, layout.n_flyback, single["nFrames"]) == (9, 0, 90)


def test_a_gap_between_real_files_is_told_and_a_wrong_order_refused(real_data):
    tifs = raw_tifs(real_data / "scanimage" / "volumetric_single_channel_multi_file")
    with pytest.warns(MesoWarning, match=r"00003\.tif, page 0: frames missing, expected frame 161, found 321"):
        _, times = extract_imaging_meta([tifs[0], tifs[2]], 0, 0)
    assert times.size == 320
    with pytest.warns(MesoWarning, match=r"00002\.tif, page 0: frames missing, expected frame 1, found 161"):
        extract_imaging_meta(tifs[1:], 0, 0)
    with pytest.raises(InputFileError, match=r"00001\.tif, field 'frameNumbers': .*tifs not in order"):
        extract_imaging_meta([tifs[1], tifs[0]], 0, 0)
    other = real_data / "scanimage" / "vol_no_flyback_00001_00001.tif"
    with pytest.raises(InputFileError, match=r"vol_no_flyback_00001_00001\.tif, field 'epoch'"):
        extract_imaging_meta([*tifs, other], 0, 0)


def test_two_channels_of_a_real_file(real_data):
    meta, times = extract_imaging_meta([real_data / "scanimage" / "hostpixelcorr_noavg_00001_00001.tif"], 0, 0)
    layout = ImagingLayout.from_meta(meta)
    assert meta["channelSaved"] == [1, 2]
    assert (layout.channels, layout.n_slices, len(layout.fovs)) == ((1, 2), 1, 1)
    assert times.tolist() == [0, 0]


def matlab(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "[" + ";".join(" ".join(map(matlab, row)) for row in value) + "]"
    return f"[{' '.join(map(matlab, value))}]" if isinstance(value, list) else str(value)


def test_two_planes_at_once_are_one_fov_with_two_depths(real_data):
    """The Allen's mesoscope images two depths in each of its four slices, one per channel."""
    text = (real_data / "headers" / "allen_mesoscope_2024_timeseries_meta.json").read_text()
    header, groups, _ = json.loads(text)
    raw = {
        "Software": "\n".join(f"{k} = {matlab(v)}" for k, v in header.items()),
        "Artist": groups,
        "ImageDescription": "epoch = [2024  1 28 10 49 53.448]",
        "Height": 512,
        "Width": 512,
    }
    meta = meta_from_header(raw, 2.6, -2, 1000)
    # slices in the order of scanning, not of depth
    assert [fov["Zs"] for fov in meta["FOV"]] == [[195, 105], [207, 116], [167, 92], [183, 112]]
    assert [fov["slice_id"] for fov in meta["FOV"]] == [0, 1, 2, 3]
    assert all(fov["nXnYnZ"] == [512, 512, 2] for fov in meta["FOV"])
    rois = groups["RoiGroups"]["imagingRoiGroup"]["rois"]
    assert [fov["roiUUID"] for fov in meta["FOV"]] == [roi["roiUuid"] for roi in rois]
    layout = ImagingLayout.from_meta(meta)
    assert (layout.n_slices, layout.n_flyback, layout.channels) == (4, 0, (1, 2))


CONFIGS = {
    "plain": small_config(),
    "two channels": small_config(channels=(2, 3)),
    "three depths": small_config(zs=(100.0, 130.0, 160.0), flyback_frames=2),
    "other order": small_config(zs=(160.0, 100.0, 130.0)),
    "own depths": at_depths(small_config(((16, 16), (20, 16), (24, 16)), zs=(50.0, 80.0)), (50.0,), (50.0, 80.0), ()),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_extraction_equals_what_the_simulated_rig_wrote(tmp_path, name):
    """The simulator writes the metadata from its settings, the extractor reads them from the tifs."""
    config = CONFIGS[name]
    n_frames = 9 * len(config.channels)
    write_bout(tmp_path, config, (5 * len(config.channels), 4 * len(config.channels)))
    ours, times = extract_imaging_meta(raw_tifs(tmp_path), *config.center_mm)
    bout = Bout(0, 0.0, np.arange(9) * 0.2, np.arange(9) * 0.2)
    rig = imaging_meta(config, session_geometry(config), bout)
    assert ours.keys() == rig.keys()
    for key in rig.keys() - {"rawScanImageMeta", "coordsTF", "FOV"}:
        assert ours[key] == rig[key], key
    np.testing.assert_allclose(ours["coordsTF"], rig["coordsTF"], atol=1e-12)
    for fov, theirs in zip(ours["FOV"], rig["FOV"], strict=True):
        assert {k: v for k, v in fov.items() if k != "MM"} == {k: v for k, v in theirs.items() if k != "MM"}
        np.testing.assert_allclose(list(fov["MM"].values()), list(theirs["MM"].values()), atol=1e-9)
    for key in rig["rawScanImageMeta"].keys() - {"ImageDescription", "XResolution", "YResolution"}:
        assert ours["rawScanImageMeta"][key] == rig["rawScanImageMeta"][key], key
    np.testing.assert_allclose(times, np.repeat(bout.scanimage, len(config.channels)), atol=1e-9)
    assert times.size == n_frames


def test_extraction_of_a_simulated_session_equals_its_files(tiny_session):
    for folder in imaging_bouts(tiny_session.session_path):
        rig = json.loads((folder / "_ibl_rawImagingData.meta.json").read_text())
        center = rig["centerMM"]
        ours, times = extract_imaging_meta(raw_tifs(folder), center["ML"], center["AP"])
        np.testing.assert_allclose(times, np.load(folder / "rawImagingData.times_scanImage.npy"), atol=1e-9)
        assert {k: v for k, v in ours.items() if k not in ("FOV", "coordsTF")} == {
            k: v for k, v in rig.items() if k not in ("FOV", "coordsTF")
        }
        assert [f["lineIdx"] for f in ours["FOV"]] == [f["lineIdx"] for f in rig["FOV"]]


def test_no_tifs_is_an_error():
    with pytest.raises(MissingInputError, match="at least one tif"):
        extract_imaging_meta([], 0, 0)


# the layout of pages from metadata


def layout_meta(**changes):
    meta = imaging_meta(small_config(), session_geometry(small_config()), Bout(0, 0.0, np.zeros(3), np.zeros(3)))
    return {**meta, **changes}


@pytest.mark.parametrize("field", ["FOV", "channelSaved"])
def test_a_layout_without_a_field_is_an_error(field):
    meta = layout_meta()
    del meta[field]
    with pytest.raises(MetadataError, match=f"field '{field}'"):
        ImagingLayout.from_meta(meta)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (list(range(1, 20)), "19 lines"),
        (list(range(0, 20)), "from 1, found 20 values"),
        ([*range(1, 20), 21], "20 lines from 1 to 21"),
        ([x + 0.5 for x in range(1, 21)], "from 1, found 20 values"),
        (list(range(40, 60)), "line 59"),
    ],
)
def test_lines_that_cannot_be_are_an_error(lines, found):
    meta = layout_meta()
    meta["FOV"][0]["lineIdx"] = lines
    with pytest.raises(MetadataError, match=rf"FOV\[0\]\.lineIdx.*{found}"):
        ImagingLayout.from_meta(meta)


def test_overlapping_fovs_are_an_error():
    meta = layout_meta()
    meta["FOV"][1]["lineIdx"] = list(range(11, 27))
    with pytest.raises(MetadataError, match=r"FOV\[1\]\.lineIdx"):
        ImagingLayout.from_meta(meta)


def test_lines_that_contradict_the_fly_to_time_are_told():
    meta = layout_meta()
    moved = [line - 2 for line in meta["FOV"][1]["lineIdx"]]
    meta["FOV"][1]["lineIdx"] = moved
    with pytest.warns(MesoWarning, match="6 lines between FOV_00 and FOV_01, but the fly-to time makes 8"):
        layout = ImagingLayout.from_meta(meta)
    assert layout.fovs[1].row_start == moved[0] - 1


def test_slices_numbered_by_depth_though_scanned_in_another_order_are_an_error():
    config = small_config(zs=(160.0, 100.0, 130.0))
    meta = imaging_meta(config, session_geometry(config), Bout(0, 0.0, np.zeros(3), np.zeros(3)))
    ImagingLayout.from_meta(meta)
    for fov in meta["FOV"]:  # as the rig's code would
        fov["slice_id"] = sorted(config.zs).index(fov["Zs"])
    with pytest.raises(MetadataError, match=r"FOV\[0\]\.slice_id.*scanned at 160.0 µm"):
        ImagingLayout.from_meta(meta)


def test_functional_channel_is_the_first_green_one():
    for saved, index in ((2, 0), ([2, 3], 0), ([3, 2], 1), ([3, 4], 0), ([4, 1], 1)):
        assert ImagingLayout.from_meta(layout_meta(channelSaved=saved)).functional_channel == index


def test_a_pixel_is_as_wide_as_the_field_over_its_pixels(tiny_session):
    from meso_core.scanimage import load_session_metadata
    from meso_core.simulate import preset

    fovs = load_session_metadata(tiny_session.session_path).imaging.fovs
    config = preset("tiny")
    for fov, roi in zip(fovs, config.rois, strict=True):
        expected = roi.size_deg[0] * config.objective_resolution / roi.shape[1]
        assert fov.um_per_pixel == pytest.approx(expected, rel=1e-6)
