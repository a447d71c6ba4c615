"""Stacks of every ScanImage since 2016, ROIs at depths, and channels that are depths.

Expected values come from ScanImage's documentation, from arithmetic in the tests, or from the small model at the end.
"""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
from drawn_layouts import layouts
from hypothesis import given, settings
from scanimage_files import at_depths, real_raw_header, small_config

from meso_core.errors import InputFileError, MesoWarning, MetadataError
from meso_core.imaging.options import suite2p_options
from meso_core.scanimage import (
    ImagingLayout,
    bin_per_plane,
    extract_imaging_meta,
    load_meta_files,
    load_session_metadata,
    parse_imaging_metadata,
    write_missing_meta,
)
from meso_core.scanimage.metadata.rois import SiHeader, field_at, same_depth
from meso_core.scanimage.reference_stack import stitch_stack
from meso_core.scanimage.scanner import read_stack
from meso_core.scanimage.tiff.header import parse_si_header
from meso_core.session import IMAGING_META_FILE, raw_tifs
from meso_core.simulate.files.header import descriptions, frame_data, roi_groups_text, start_of_bout
from meso_core.simulate.files.tif import ScanImageTifWriter
from meso_core.simulate.tissue.geometry import session_geometry

NEW = {"VERSION_MAJOR": 2020, "hStackManager.enable": True, "hStackManager.stackMode": "fast"}
OLD = {"VERSION_MAJOR": "2016b", "hFastZ.enable": True, "hFastZ.numFramesPerVolume": 4}


def header(*parts):
    """Parsed header from names without ``SI.``; None takes a field away."""
    values = {name: value for part in parts for name, value in part.items()}
    return {f"SI.{name}": value for name, value in values.items() if value is not None}


def manager(**fields):
    return {f"hStackManager.{name}": value for name, value in fields.items()}


def fast_z(**fields):
    return {f"hFastZ.{name}": value for name, value in fields.items()}


# what a header says of the stack: (header, depths, frames per slice, fly-back frames, slow)
INF = math.inf
LAYOUTS = {
    "2020, fast": (
        header(NEW, manager(zs=[0, 30, 60], numFramesPerVolume=3, numFramesPerVolumeWithFlyback=5, framesPerSlice=1)),
        ((0, 30, 60), 1, 2, False),
    ),
    "2020, fast, frames per slice": (
        header(
            NEW,
            manager(zs=[0, 0, 30, 30], numFramesPerVolume=4, numFramesPerVolumeWithFlyback=5, framesPerSlice=2),
            manager(actualNumSlices=2, numSlices=7),
        ),
        ((0, 30), 2, 1, False),
    ),
    "2020, slow, a depth for each slice": (
        header(NEW, manager(stackMode="slow", zs=[0, 30, 60], numFramesPerVolume=6, framesPerSlice=2)),
        ((0, 30, 60), 2, 0, True),
    ),
    "2020, depths in a column": (
        header(NEW, manager(zs=[[5], [9]], numFramesPerVolume=2, framesPerSlice=1)),
        ((5, 9), 1, 0, False),
    ),
    "2020, the same depth twice": (
        header(NEW, manager(zs=[0, 30, 0], numFramesPerVolume=3, framesPerSlice=1, stackDefinition="arbitrary")),
        ((0, 30, 0), 1, 0, False),
    ),
    "2020, the same depth twice in a row": (
        header(NEW, manager(zs=[0, 0, 30], numFramesPerVolume=3, framesPerSlice=1, actualNumSlices=3)),
        ((0, 0, 30), 1, 0, False),
    ),
    "2020, one depth, endless": (
        header(NEW, manager(zs=7, framesPerSlice=INF, numFramesPerVolume=1)),
        ((7,), 1, 0, False),
    ),
    "2020, off, numbers left over": (
        header(NEW, manager(enable=False, numSlices=25, framesPerSlice=INF, zs=245, stackMode="slow")),
        (None, 1, 0, False),
    ),
    "2020, fast, endless frames per slice": (
        header(NEW, manager(zs=[0, 30], framesPerSlice=INF, numFramesPerVolume=2, actualNumSlices=0)),
        ((0, 30), 1, 0, False),
    ),
    "fly-back told by fast z alone": (
        header(NEW, manager(zs=[0, 30], numFramesPerVolume=2, framesPerSlice=1), fast_z(numDiscardFlybackFrames=3)),
        ((0, 30), 1, 3, False),
    ),
    "frames per slice not told": (
        header(NEW, manager(zs=[0, 0, 0, 30, 30, 30], numFramesPerVolume=6, actualNumSlices=2)),
        ((0, 30), 3, 0, False),
    ),
    "2016b, fast": (
        header(OLD, fast_z(userZs=[0, 30, 60], numDiscardFlybackFrames=1), manager(zs=[0, 30, 60], framesPerSlice=1)),
        ((0, 30, 60), 1, 1, False),
    ),
    "2016b, depths only in userZs": (
        header(OLD, fast_z(userZs=[0, 30, 60, 90], numDiscardFlybackFrames=0), manager(zs=0)),
        ((0, 30, 60, 90), 1, 0, False),
    ),
    "2016b, fly-back not told": (header(OLD, manager(zs=[0, 30, 60])), ((0, 30, 60), 1, 1, False)),
    "2016b, fly-back not told, depths in userZs": (
        header(OLD, manager(zs=0), fast_z(userZs=[0, 30, 60])), ((0, 30, 60), 1, 1, False),
    ),
    "2018b, frames per slice left over": (
        header(OLD, manager(zs=[0, 30, 60, 90], framesPerSlice=100), fast_z(numDiscardFlybackFrames=0)),
        ((0, 30, 60, 90), 1, 0, False),
    ),
    "2016b, slow": (
        header(OLD, fast_z(enable=False, numFramesPerVolume=[]), manager(numSlices=3, framesPerSlice=4, zs=[0, 5, 10])),
        ((0, 5, 10), 4, 0, True),
    ),
    "2016b, no stack": (
        header(OLD, fast_z(enable=False, numFramesPerVolume=[]), manager(numSlices=1, framesPerSlice=900, zs=12)),
        (None, 1, 0, False),
    ),
    "neither on nor off, as 2020": (
        header(manager(zs=[0, 30, 60], numFramesPerVolume=3, numFramesPerVolumeWithFlyback=4, framesPerSlice=1)),
        ((0, 30, 60), 1, 1, False),
    ),
    "neither on nor off, as 2016": (
        header(fast_z(userZs=[0, 30, 60], numFramesPerVolume=4, numDiscardFlybackFrames=1)),
        ((0, 30, 60), 1, 1, False),
    ),
    "neither on nor off, slices counted": (
        header(manager(zs=[0, 30], actualNumSlices=2, framesPerSlice=1)), ((0, 30), 1, 0, False),
    ),
    "neither on nor off, one depth": (header(manager(zs=245, numFramesPerVolume=1)), (None, 1, 0, False)),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_stack_of_each_version_is_understood(name):
    values, (depths, per_slice, flyback, is_slow) = LAYOUTS[name]
    stack = read_stack(values, "x.tif")
    assert (stack.depths_um, stack.frames_per_slice, stack.n_flyback, stack.is_slow) == (
        depths, per_slice, flyback, is_slow,
    )  # fmt: skip
    assert stack.n_slices == len(depths or (0,))


REFUSED = {
    "another mode": (header(NEW, manager(stackMode="spiral", zs=[0, 30])), "stackMode.*fast or slow.*'spiral'.*2020"),
    "an average over depths": (
        header(NEW, manager(zs=[0, 30], framesPerSlice=1, numFramesPerVolume=2), {"hScan2D.logAverageFactor": 2}),
        "logAverageFactor.*averages of 2 frames, over different slices",
    ),
    "an average over fly-back": (
        header(
            NEW, manager(zs=[0, 0, 9, 9], framesPerSlice=2, numFramesPerVolume=4, numFramesPerVolumeWithFlyback=5),
            {"hScan2D.logAverageFactor": 2},
        ),
        "logAverageFactor.*1 fly-back frames",
    ),
    "a slow stack without end": (
        header(NEW, manager(stackMode="slow", zs=[0, 30], framesPerSlice=INF, numFramesPerVolume=2)),
        "framesPerSlice.*Inf: frames without end at the first depth",
    ),
    "a slow stack of 2016 without end": (
        header(OLD, fast_z(enable=False), manager(numSlices=2, framesPerSlice=INF, zs=[0, 30])), "Inf.*2016b",
    ),
    "numbers that contradict each other": (
        header(NEW, manager(zs=[0, 30, 60], framesPerSlice=2, numFramesPerVolume=3, actualNumSlices=3)),
        "framesPerSlice 2, numFramesPerVolume 3, actualNumSlices 3",
    ),
    "depths that fast z cannot have": (
        header(OLD, fast_z(numDiscardFlybackFrames=0), manager(zs=[0, 30])), "4 frames per volume.*2016b",
    ),
    "neither on nor off, and nothing decides": (header(manager(zs=[0, 30, 60])), "whether a stack was scanned"),
    "neither on nor off, slices left over": (header(manager(zs=0, numSlices=25)), "whether a stack was scanned"),
    "off, and fast z on": (
        header(NEW, manager(enable=False, zs=[0, 30]), fast_z(enable=True)), "2 depths say.*found false",
    ),
    "off, and a volume of several frames": (
        header(NEW, manager(enable=False, zs=[0, 30], numFramesPerVolume=2)), "numFramesPerVolume and the 2 depths say",
    ),
    "an average over a depth and fly-back": (
        header(
            NEW, manager(zs=0, framesPerSlice=1, numFramesPerVolume=1, numFramesPerVolumeWithFlyback=2),
            {"hScan2D.logAverageFactor": 2},
        ),
        "over different slices",
    ),
    "depths that are no numbers": (header(NEW, manager(zs=["a"])), "depths in µm"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_served_is_refused_by_its_name(name):
    values, words = REFUSED[name]
    with pytest.raises(MetadataError, match=f"(?s)x.tif, field 'SI.*{words}") as refused:
        read_stack(values, "x.tif")
    assert "ScanImage" in str(refused.value)
    assert "Leave this recording out" in str(refused.value)


def test_an_average_of_one_depth_may_be_of_any_number():
    values = header(manager(enable=False, zs=245), {"hScan2D.logAverageFactor": 7})
    assert read_stack(values, "x.tif").frames_averaged == 7


def test_real_headers_have_their_stacks(real_data):
    """By hand from the headers' text: IBL (one depth), Allen (four pairs of depths)."""
    ibl = parse_si_header(real_raw_header(real_data)["rawScanImageMeta"]["Software"])
    assert (read_stack(ibl, "").depths_um, read_stack(ibl, "").frames_per_volume) == (None, 1)
    allen = json.loads((real_data / "headers" / "allen_mesoscope_2024_timeseries_meta.json").read_text())[0]
    stack = read_stack(allen, "")
    assert (stack.depths_um, stack.frames_per_volume) == ((195, 207, 167, 183), 4)


# where a ROI is at a depth


def roi_of(*fields, discrete=False):
    """A ROI of scanfields (z, centre, size, pixels per line, lines, rotation), the same in x and y."""
    return {
        "name": "R", "discretePlaneMode": int(discrete), "zs": [field[0] for field in fields],
        "scanfields": [
            {"centerXY": [c, c], "sizeXY": [s, s], "pixelResolutionXY": [nx, ny], "rotationDegrees": turn}
            for _, c, s, nx, ny, turn in fields
        ],
    }  # fmt: skip


NO_HEADER = SiHeader({}, "x.tif")


def test_a_roi_is_interpolated_between_its_scanfields_as_on_scanimage_s_own_page():
    """Scanfields at 0 and 10, planes at 0, 4, 8 and 12."""
    roi = roi_of((10, 0.7, 0.4, 32, 32, 0), (0, 0.2, 0.2, 16, 16, 0))  # in any order
    found = [field_at(roi, z, NO_HEADER) for z in (0, 4, 8, 12, -1)]
    assert found[3:] == [None, None]
    np.testing.assert_allclose([f.center[0] for f in found[:3]], [0.2, 0.4, 0.6])
    np.testing.assert_allclose([f.size[1] for f in found[:3]], [0.2, 0.28, 0.36])
    # the page's rectangles: from 0.1 to 0.5, so 0.26 and 0.42
    np.testing.assert_allclose([f.corners()["topLeft"][0] for f in found[:3]], [0.1, 0.26, 0.42])
    # 16 + 0.4 x 16 = 22.4 and 16 + 0.8 x 16 = 28.8, to the nearest even number
    assert [(f.nx, f.ny) for f in found[:3]] == [(16, 16), (22, 22), (28, 28)]


def test_rotation_takes_the_shorter_way_and_turns_the_corners():
    roi = roi_of((0, 0, 2, 16, 16, 350), (10, 0, 2, 16, 16, 30))
    half = field_at(roi, 5, NO_HEADER)
    assert half.rotation % 360 == pytest.approx(10)
    # the corner (-1, -1), turned by 10 degrees
    c, s = math.cos(math.radians(10)), math.sin(math.radians(10))
    np.testing.assert_allclose(half.corners()["topLeft"], [-c + s, -s - c])


def test_one_scanfield_reaches_through_all_depths_and_discrete_planes_do_not():
    one = roi_of((5, 0, 1, 16, 16, 0))
    assert all(field_at(one, z, NO_HEADER) for z in (-1e4, 5, 1e4))
    planes = roi_of((0, 0, 1, 16, 16, 0), (10, 3, 1, 16, 16, 0), discrete=True)
    assert [field_at(planes, z, NO_HEADER) is not None for z in (0, 5, 10)] == [True, False, True]
    assert field_at(planes, 10, NO_HEADER).center == (3, 3)


@pytest.mark.parametrize(
    ("printed", "exact", "same"),
    [
        (123.457, 123.4567891, True),
        (123.457, 123.4575001, False),
        (-251149, -251149.3, True),
        (1234.56, 1234.57, False),
        (0, 0, True),
        (0, 1e-3, False),
        (195, 195.0001, True),
        (195, 195.5, False),
    ],
)
def test_depths_are_the_same_within_the_rounding_to_six_digits(printed, exact, same):
    assert same_depth(printed, exact) == same_depth(exact, printed) == same


def test_the_ends_of_a_roi_are_not_lost_to_rounding():
    roi = roi_of((0, 0, 1, 16, 16, 0), (123.4567891, 9, 1, 16, 16, 0))
    assert field_at(roi, 123.457, NO_HEADER).center == (9, 9)


def test_scanfields_without_depths_are_refused():
    roi = {**roi_of((0, 0, 1, 16, 16, 0), (1, 0, 1, 16, 16, 0)), "zs": [0]}
    with pytest.raises(MetadataError, match="a depth for each of its 2 scanfields"):
        field_at(roi, 0, NO_HEADER)


# recordings on disk, with pages that tell where they are from


def write_recording(folder, config, n_frames):
    """Write the tif of a bout; each page holds its number in its rows. Returns the pages by saved frame and channel."""
    geometry = session_geometry(config)
    n_saved, n_channels = n_frames // config.frames_averaged, len(config.channels)
    shape = (n_saved * n_channels, geometry.page_height, geometry.page_width)
    page, row, column = np.ogrid[: shape[0], : shape[1], : shape[2]]
    pages = ((page * 41 + row * 7 + column) % 30000).astype(np.int16)
    per_acquisition = config.frames_per_slice if config.stack_mode == "slow" else None
    times = np.arange(n_saved) * 0.01 * config.frames_averaged
    start = start_of_bout(config, 0)
    words = descriptions(0, times, start, n_channels, True, config.frames_averaged, per_acquisition)
    folder.mkdir(parents=True)
    texts = frame_data(config, geometry), roi_groups_text(config)
    with ScanImageTifWriter(folder / "a_00001_00001.tif", *texts, shape[1:], len(pages), 5000.0) as tif:
        tif.write(pages, words)
    return pages.reshape(n_saved, n_channels, *shape[1:])


def movie(path, fov):
    return np.fromfile(path, np.int16).reshape(fov.n_frames, fov.ny, fov.nx)


def split(session, **options):
    meta, _ = load_meta_files(session, center_ml=2.6, center_ap=-2.0, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*(last volume is incomplete|same ROI at the same depth)")
        return parse_imaging_metadata(meta), bin_per_plane(session, meta, session / "suite2p")


def test_the_same_depth_twice_is_two_fields_told_apart_and_told(tmp_path):
    session = tmp_path / "001"
    config = small_config(((16, 16),), zs=(0.0, 30.0, 0.0))
    pages = write_recording(session / "raw_imaging_data_00", config, 6)
    with pytest.warns(
        MesoWarning, match=r"FOV_00 and FOV_02 are the same ROI at the same depth \(0 µm\), in slices 0 and 2"
    ):
        ImagingLayout.from_meta(load_meta_files(session, center_ml=2.6, center_ap=-2.0)[0])
    meta, fovs = split(session)
    assert [fov.slice_index for fov in meta.fovs] == [0, 1, 2]
    for i, fov in enumerate(fovs):
        np.testing.assert_array_equal(movie(fov.path, fov), pages[i::3, 0])


def test_rois_of_different_widths_are_cut_at_their_own(tmp_path):
    session = tmp_path / "001"
    config = small_config(((16, 16), (18, 24)))
    pages = write_recording(session / "raw_imaging_data_00", config, 3)
    assert pages.shape[2:] == (16 + 8 + 18, 24)
    _, fovs = split(session)
    np.testing.assert_array_equal(movie(fovs[0].path, fovs[0]), pages[:, 0, :16, :16])
    np.testing.assert_array_equal(movie(fovs[1].path, fovs[1]), pages[:, 0, 24:, :])


def test_the_rate_of_a_field_counts_frames_per_slice_and_averages(tmp_path):
    session = tmp_path / "001"
    config = small_config(((16, 16),), zs=(0.0, 30.0), frames_per_slice=6, frames_averaged=2, flyback_frames=2)
    write_recording(session / "raw_imaging_data_00", config, 28)
    meta, _ = split(session)
    frame_rate = 1 / session_geometry(config).frame_period
    # 14 frames per volume, of which 3 pages are of each field
    assert meta.fov_rate_hz == pytest.approx(frame_rate / 14 * 3, rel=1e-4)
    assert suite2p_options(meta, 0).settings["fs"] == meta.fov_rate_hz


def test_a_rate_of_volumes_that_contradicts_the_frames_is_told_and_counted():
    config = small_config(((16, 16),), zs=(0.0, 30.0))
    raw = frame_data(config, session_geometry(config)).replace("SI.hRoiManager.scanVolumeRate = ", "SI.x = ")
    frame_rate = parse_si_header(raw)["SI.hRoiManager.scanFrameRate"]
    meta = _meta_of(config, raw + f"SI.hRoiManager.scanVolumeRate = {frame_rate}\n")
    with pytest.warns(MesoWarning, match="2 frames per volume make"):
        assert parse_imaging_metadata(meta).volume_rate_hz == pytest.approx(frame_rate / 2)


def _meta_of(config, software):
    from meso_core.scanimage.metadata.extract import meta_from_header

    geometry = session_geometry(config)
    raw = {
        "Software": software,
        "Artist": json.loads(roi_groups_text(config)),
        "ImageDescription": descriptions(0, [0.0], start_of_bout(config, 0), 1, True)[0],
        "Height": geometry.page_height,
        "Width": geometry.page_width,
    }
    return meta_from_header(raw, 2.6, -2.0, 6)


# metadata of the rig against the rule


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda fov: fov["Deg"].update(topLeft=[4.0, 4.0]),
            r"FOV\[0\]\.Deg.*top left corner \(-1\.4, 0\.3\).*found \(4, 4\)",
        ),
        (lambda fov: fov.update(Zs=77), r"FOV\[0\]\.slice_id|FOV\[0\]\.Zs.*77"),
        (lambda fov: fov.update(roiUUID="0123"), r"FOV\[0\].*one of the ROIs imaged at slice 0.*found ROI 0123"),
    ],
)
def test_fields_of_the_rig_that_were_not_imaged_so_are_refused_and_the_remedy_helps(tmp_path, edit, words):
    session = tmp_path / "001"
    bout = session / "raw_imaging_data_00"
    write_recording(bout, small_config(zs=(0.0, 30.0)), 4)
    meta = extract_imaging_meta(raw_tifs(bout), 2.6, -2.0)[0]
    (bout / IMAGING_META_FILE).write_text(json.dumps(meta))
    split(session)
    edit(meta["FOV"][0])
    (bout / IMAGING_META_FILE).write_text(json.dumps(meta))
    with pytest.raises(MetadataError, match=words) as refused:
        load_session_metadata(session)
    assert "Move the metadata file away" in str(refused.value)
    (bout / IMAGING_META_FILE).unlink()
    assert len(split(session)[1]) == 4


def test_a_roi_imaged_but_not_listed_by_the_rig_is_told(tmp_path):
    bout = tmp_path / "001" / "raw_imaging_data_00"
    write_recording(bout, small_config(zs=(0.0, 30.0)), 4)
    meta = extract_imaging_meta(raw_tifs(bout), 2.6, -2.0)[0]
    del meta["FOV"][3]
    (bout / IMAGING_META_FILE).write_text(json.dumps(meta))
    with pytest.warns(MesoWarning, match="imaged, but not listed as FOV: ROI 1 .* at 30 µm"):
        load_meta_files(tmp_path / "001")


# reference stacks


def test_a_reference_stack_of_several_frames_per_depth_is_averaged(tmp_path):
    config = small_config(((16, 16),), zs=(0.0, 30.0, 60.0), frames_per_slice=4, frames_averaged=2, stack_mode="slow")
    pages = write_recording(tmp_path / "reference", config, 12)[:, 0]
    (tif,) = raw_tifs(tmp_path / "reference")
    stack = stitch_stack(tif, extract_imaging_meta([tif], 0.0, 0.0)[0])
    np.testing.assert_array_equal(stack, np.rint(pages.reshape(3, 2, 16, 16).mean(axis=1)))


@pytest.mark.parametrize(("n_frames", "words"), [(10, "fewer frames"), (8, "none of depth 3")])
def test_missing_pages_of_a_reference_stack_are_told(tmp_path, n_frames, words):
    config = small_config(((16, 16),), zs=(0.0, 30.0, 60.0), frames_per_slice=4, frames_averaged=2, stack_mode="slow")
    write_recording(tmp_path / "reference", config, n_frames)
    (tif,) = raw_tifs(tmp_path / "reference")
    meta = extract_imaging_meta([tif], 0.0, 0.0)[0]
    told = rf"expected 6 pages: 3 depths of 4 frames, averaged by 2, .*found {n_frames // 2} pages.*{words}"
    with pytest.warns(MesoWarning, match=told) if n_frames > 8 else pytest.raises(InputFileError, match=told):
        stitch_stack(tif, meta)


# channels


def test_channels_that_are_depths_become_fields_of_their_own(tmp_path):
    session = tmp_path / "001"
    config = small_config(channels=(1, 2, 3, 4, 5), channels_are_depths=True)
    pages = write_recording(session / "raw_imaging_data_00", config, 3)
    meta, fovs = split(session, channels="depths")
    assert [fov.channel for fov in meta.fovs] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert {fov.depths_um for fov in meta.fovs} == {None}, "no header tells the depth of a bead"
    rows = (slice(0, 20), slice(28, 44))
    for i, fov in enumerate(fovs):
        assert fov.path_chan2 is None
        np.testing.assert_array_equal(movie(fov.path, fov), pages[:, i // 2, rows[i % 2]])
    db = suite2p_options(meta, 3).db
    assert (db["nchannels"], db["functional_chan"], db["nplanes"], db["nrois"]) == (1, 1, 5, 10)
    write_missing_meta(session, tmp_path / "made", center_ml=2.6, center_ap=-2.0, channels="depths")
    made = json.loads((tmp_path / "made" / "raw_imaging_data_00" / IMAGING_META_FILE).read_text())
    again = load_session_metadata(session, center_ml=2.6, center_ap=-2.0, channels="depths")
    assert again.imaging == meta == parse_imaging_metadata(made)
    assert again.bouts[0].n_frames == 3


def test_more_channels_than_a_mesoscope_has_colours_are_refused_until_the_user_says_depths(tmp_path):
    session = tmp_path / "001"
    write_recording(
        session / "raw_imaging_data_00", small_config(channels=(1, 2, 3, 4, 5), channels_are_depths=True), 3
    )
    with pytest.raises(MetadataError, match=r"channelSaved.*light beads microscopy. Set MESO_CHANNELS=depths"):
        load_meta_files(session, center_ml=2.6, center_ap=-2.0)
    with pytest.raises(MetadataError, match="light beads"):
        bin_per_plane(session, extract_imaging_meta(raw_tifs(session / "raw_imaging_data_00"), 2.6, -2.0)[0], tmp_path)


def test_a_channel_that_is_not_used_is_told(tmp_path):
    session = tmp_path / "001"
    pages = write_recording(session / "raw_imaging_data_00", small_config(((16, 16),), channels=(4, 1, 2, 3)), 2)
    with pytest.warns(MesoWarning, match="channel 2, 3 is saved, but only 1, 4 is used"):
        meta, fovs = split(session)
    assert (meta.channels_used, meta.channels_unused) == ((1, 4), (2, 3)), "the first green one, and one that is not"
    np.testing.assert_array_equal(movie(fovs[0].path, fovs[0]), pages[:, 1])
    np.testing.assert_array_equal(movie(fovs[0].path_chan2, fovs[0]), pages[:, 0])
    db = suite2p_options(meta, 0).db
    assert (db["nchannels"], db["functional_chan"]) == (2, 2)


# random layouts against a small model


def model(config, n_frames):
    """List the FOVs: slice, depth, channel, rows, columns, centre, size, turn, saved frames; by loops alone."""
    fovs = []
    gap = 2 * math.ceil(config.flyto_s * config.scanner_frequency_hz)
    per_volume = len(config.zs) * config.frames_per_slice + config.flyback_frames
    for index, z in enumerate(config.zs):
        row = 0
        shown = []
        for frame in range(0, n_frames - config.frames_averaged + 1, config.frames_averaged):
            first = frame % per_volume - index * config.frames_per_slice
            if 0 <= first < config.frames_per_slice:
                shown.append(frame // config.frames_averaged)
        for roi in config.rois:
            field = model_field(roi, z)
            if field is not None:
                (ny, nx), *place = field
                row += gap if row else 0
                fovs.append((index, z, None, slice(row, row + ny), nx, *place, shown))
                row += ny
    if config.channels_are_depths:
        fovs = [(*fov[:2], channel, *fov[3:]) for channel in config.channels for fov in fovs]
    return fovs


def model_field(roi, z):
    """Shape, centre, size and turn of a ROI at a depth."""
    if not roi.scanfields:
        return (roi.shape, roi.center_deg, roi.size_deg, 0.0) if not roi.zs or z in roi.zs else None
    below = [f for f in roi.scanfields if f.z <= z]
    above = [f for f in roi.scanfields if f.z >= z]
    if not below or not above:
        return None
    a, b = max(below, key=lambda f: f.z), min(above, key=lambda f: f.z)
    if a == b:
        return a.shape, a.center_deg, a.size_deg, a.rotation_deg
    t = (z - a.z) / (b.z - a.z)
    turn = b.rotation_deg - a.rotation_deg
    turn += 360 * ((turn < -180) - (turn > 180))

    def mix(p, q):
        return tuple((1 - t) * x + t * y for x, y in zip(p, q, strict=True))

    def nearest_even(number):
        return min(range(0, 200, 2), key=lambda even: (abs(even - number) - 1e-9 * even, even))

    shape = tuple(nearest_even(n) for n in mix(a.shape, b.shape))
    return shape, mix(a.center_deg, b.center_deg), mix(a.size_deg, b.size_deg), a.rotation_deg + t * turn


def check_recording(folder, config, n_frames):
    """Compare every FOV of a recording with the model."""
    expected = model(config, n_frames)
    session = folder / "001"
    if not expected or not all(shown for *_, shown in expected):
        return
    pages = write_recording(session / "raw_imaging_data_00", config, n_frames)
    meta, fovs = split(session, channels="depths" if config.channels_are_depths else "colours")
    assert len(fovs) == len(expected)
    for own, fov, (index, z, channel, rows, nx, center, size, turn, shown) in zip(
        meta.fovs, fovs, expected, strict=True
    ):
        assert (own.slice_index, own.channel, own.nx) == (index, channel, nx)
        assert own.depths_um == (None if channel else (z,))
        np.testing.assert_allclose(own.deg.as_array().mean(axis=0), center, atol=1e-9)
        across = np.subtract(own.deg.top_right, own.deg.top_left)
        np.testing.assert_allclose(
            across, np.array([math.cos(math.radians(turn)), math.sin(math.radians(turn))]) * size[0], atol=1e-9
        )
        numbers = [channel] if channel else sorted(config.channels, key=lambda number: number not in (1, 2))
        for path, number in zip((fov.path, fov.path_chan2), numbers, strict=False):
            truth = pages[shown, config.channels.index(number), rows, :nx]
            np.testing.assert_array_equal(movie(path, fov), truth)
        frames = np.arange(len(pages)) * config.frames_averaged
        layout_says = np.flatnonzero(meta.stack.slices_of(frames) == index)
        assert layout_says.tolist() == shown


@settings(max_examples=40, deadline=None)
@given(layouts())
def test_every_field_of_any_layout_is_cut_from_its_own_pages(tmp_path_factory, recording):
    check_recording(tmp_path_factory.mktemp("r"), *recording)


@pytest.mark.nightly
@settings(max_examples=1000, deadline=None)
@given(layouts())
def test_every_field_of_a_thousand_layouts_is_cut_from_its_own_pages(tmp_path_factory, recording):
    check_recording(tmp_path_factory.mktemp("r"), *recording)


def test_rois_bound_to_planes_are_where_they_were(tmp_path):
    """A layout that was read before: ROIs at their own depths."""
    config = at_depths(small_config(zs=(50.0, 80.0)), (50.0,), (50.0, 80.0))
    check_recording(tmp_path, config, 6)
