"""Imaging metadata as types: nothing of the file is lost, and what is typed is what the file says."""

import copy
import dataclasses
import datetime
import json
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from old_versions import VERSIONS
from scanimage_files import at_depths, real_raw_header, small_config, write_bout

from meso_core.errors import MesoWarning, MetadataError
from meso_core.scanimage import (
    ImagingLayout,
    as_imaging_metadata,
    bin_per_plane,
    extract_imaging_meta,
    load_session_metadata,
    parse_imaging_metadata,
    parse_session_metadata,
    patch_imaging_meta,
)
from meso_core.session import IMAGING_META_FILE, BoutMetadata, raw_tifs
from tests.whole_metadata import whole_metadata

CONFIGS = {
    "two channels": small_config(channels=(2, 3)),
    "three depths": small_config(zs=(100.0, 130.0, 160.0), flyback_frames=2),
    "own depths": at_depths(small_config(((16, 16), (20, 16), (24, 16)), zs=(50.0, 80.0)), (50.0,), (50.0, 80.0), ()),
}
REAL_TIFS = ("vol_no_flyback_00001_00001.tif", "hostpixelcorr_noavg_00001_00001.tif")


@pytest.fixture(scope="module")
def samples(real_data, tiny_session, tmp_path_factory):
    """Metadata of every kind that there is: of the rig, of all versions, simulated, made from real tifs."""
    real = real_raw_header(real_data)
    found = {name: make(real) for name, make in VERSIONS.items()} | {"the rig's": real}
    for path in sorted(tiny_session.session_path.rglob(IMAGING_META_FILE)):
        found[f"simulated {path.parent.name}"] = json.loads(path.read_text())
    for name, config in CONFIGS.items():
        folder = tmp_path_factory.mktemp("bout")
        write_bout(folder, config, (5 * len(config.channels),))
        found[name] = extract_imaging_meta(raw_tifs(folder), 2.6, -2)[0]
    for name in REAL_TIFS:
        found[name] = extract_imaging_meta(real_data / "scanimage" / name, 2.6, -2)[0]
    return found


SAMPLES = [
    *VERSIONS,
    "the rig's",
    "simulated raw_imaging_data_00",
    "simulated raw_imaging_data_01",
    *CONFIGS,
    *REAL_TIFS,
]


def test_all_samples_are_tried(samples):
    assert sorted(samples) == sorted(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_of_a_file_is_lost(samples, name):
    before = copy.deepcopy(samples[name])
    parsed = parse_imaging_metadata(samples[name])
    assert samples[name] == before
    assert json.loads(parsed.to_json()) == parsed.to_dict() == patch_imaging_meta(before)
    assert json.loads(parsed.source_json) == before
    assert parse_imaging_metadata(parsed.to_dict()) == parsed


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_typed_is_what_the_file_says(samples, name):
    parsed, meta = parse_imaging_metadata(samples[name]), patch_imaging_meta(samples[name])
    rates = meta["scanImageParams"]["hRoiManager"]
    assert (parsed.n_pages, parsed.version) == (meta["nFrames"], meta["version"])
    assert (parsed.page_height, parsed.page_width) == tuple(meta["rawScanImageMeta"][n] for n in ("Height", "Width"))
    assert parsed.line_period_s == rates["linePeriod"]
    assert (parsed.frame_rate_hz, parsed.volume_rate_hz) == (rates["scanFrameRate"], rates["scanVolumeRate"])
    assert (parsed.window.ml_mm, parsed.window.ap_mm) == (meta["centerMM"]["ML"], meta["centerMM"]["AP"])
    assert list(parsed.channels_saved) == np.ravel(meta["channelSaved"]).tolist()
    assert np.array_equal(parsed.coords_transform, meta["coordsTF"])
    assert parsed.fly_to_s == meta["scanImageParams"]["hScan2D"]["flytoTimePerScanfield"]
    assert list(parsed.stack_depths_um) == np.ravel(meta["scanImageParams"]["hStackManager"]["zs"]).tolist()
    for fov, own in zip(parsed.fovs, meta["FOV"], strict=True):
        assert [fov.nx, fov.ny, fov.n_depths] == own["nXnYnZ"]
        assert list(fov.line_indices) == own["lineIdx"]
        assert (fov.slice_index, fov.roi_uuid) == (own["slice_id"], own["roiUUID"])
        assert list(fov.depths_um) == np.ravel(own["Zs"]).tolist()
        for corners, in_file in ((fov.deg, own["Deg"]), (fov.mm, own["MM"])):
            expected = [in_file[name] for name in ("topLeft", "topRight", "bottomLeft", "bottomRight")]
            assert corners.as_array().tolist() == expected


def test_the_real_session_started_when_its_header_says(samples):
    started = parse_imaging_metadata(samples["the rig's"]).acquisition_start
    assert started == datetime.datetime(2025, 1, 28, 10, 49, 53, 448000)


def test_a_typed_stack_has_the_slices_that_were_scanned(samples):
    parsed = parse_imaging_metadata(samples["three depths"])
    assert (parsed.stack.n_slices, parsed.stack.n_flyback) == (3, 2)
    assert parsed.stack.depths_um == (100.0, 130.0, 160.0)
    assert parse_imaging_metadata(samples["the rig's"]).stack.depths_um is None


@settings(max_examples=60, deadline=None)
@given(
    extra=st.dictionaries(
        st.text(min_size=1, max_size=6).map(lambda name: f"x{name}"),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=6,
        ),
        max_size=4,
    ),
    gone=st.sets(st.sampled_from(["Zs", "roiUUID"])),
    numbers=st.tuples(st.floats(1e-6, 0.9), st.floats(0.1, 1e3), st.floats(1.1, 9e3), st.floats(-3, 3)),
)
def test_fields_that_nobody_knows_and_all_numbers_survive(extra, gone, numbers):
    """Parse, write: what is read back is the same to the last bit."""
    period, rate, resolution, ml = numbers
    mm = {"topLeft": [ml, 1], "topRight": [ml + 1, 1], "bottomLeft": [ml, 2], "bottomRight": [ml + 1, 2]}
    fov = {"nXnYnZ": [16, 20, 1], "MM": mm, "Zs": 100, "roiUUID": "A", **extra}
    meta = whole_metadata([{k: v for k, v in fov.items() if k not in gone}], **extra)
    meta["scanImageParams"]["hRoiManager"] |= {"linePeriod": period, "scanVolumeRate": rate}
    meta["scanImageParams"]["objectiveResolution"] = resolution
    parsed = parse_imaging_metadata(meta)
    assert json.loads(parsed.to_json()) == meta
    assert (parsed.line_period_s, parsed.volume_rate_hz, parsed.objective_um_per_deg) == (period, rate, resolution)
    assert parsed.fovs[0].mm.top_right == (ml + 1, 1)
    assert (parsed.fovs[0].depths_um is None, parsed.fovs[0].roi_uuid is None) == ("Zs" in gone, "roiUUID" in gone)


def test_equal_files_are_equal_and_any_change_of_a_value_is_not(samples):
    meta = samples["the rig's"]
    parsed = parse_imaging_metadata(meta)
    turned = parse_imaging_metadata(dict(reversed(meta.items())))
    assert parsed == turned
    assert hash(parsed) == hash(turned)
    for changed in ({**meta, "PMTGain": [0.5]}, {**meta, "nFrames": 3}, {**meta, "new": None}):
        assert parse_imaging_metadata(changed) != parsed
    assert len({parsed, turned, parse_imaging_metadata({**meta, "nFrames": 3})}) == 2


def test_typed_metadata_cannot_be_changed_and_a_copy_can(samples):
    parsed = parse_imaging_metadata(samples["the rig's"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        parsed.n_pages = 3
    before = parsed.to_json()
    parsed.to_dict()["FOV"].clear()
    assert parsed.to_json() == before
    assert pickle.loads(pickle.dumps(parsed)) == parsed


def test_the_door_takes_typed_metadata_as_they_are(samples):
    parsed = parse_imaging_metadata(samples["the rig's"])
    assert as_imaging_metadata(parsed) is parsed
    assert as_imaging_metadata(samples["the rig's"]) == parsed
    assert ImagingLayout.from_meta(parsed) == ImagingLayout.from_meta(samples["the rig's"])


def test_old_metadata_may_go_straight_in(samples):
    with warnings.catch_warnings():
        warnings.simplefilter("error", MesoWarning)
        layouts = [ImagingLayout.from_meta(samples[name]) for name in ("unversioned", "renamed", "the rig's")]
    assert layouts[0] == layouts[1] == layouts[2]


def test_pages_are_split_by_typed_metadata_as_by_their_file(tiny_session, tmp_path):
    session = tiny_session.session_path
    imaging = load_session_metadata(session).imaging
    for name, meta in (("typed", imaging), ("plain", imaging.to_dict())):
        bin_per_plane(session, meta, tmp_path / name)
    movies = sorted(path.relative_to(tmp_path / "typed") for path in (tmp_path / "typed").rglob("*.bin"))
    assert len(movies) == len(imaging.fovs)
    for path in movies:
        assert (tmp_path / "typed" / path).read_bytes() == (tmp_path / "plain" / path).read_bytes()


# a session


def test_a_session_survives_the_way_through_json(tiny_session):
    metadata = load_session_metadata(tiny_session.session_path)
    back = parse_session_metadata(metadata.to_json(), "here.json")
    assert back == metadata
    assert hash(back) == hash(metadata)
    assert back.to_json() == metadata.to_json()
    for bout, again in zip(metadata.bouts, back.bouts, strict=True):
        assert bout.page_times.tobytes() == again.page_times.tobytes()
    assert metadata.imaging is metadata.bouts[0].imaging
    assert [bout.page_times.size for bout in metadata.bouts] == [bout.imaging.n_pages for bout in metadata.bouts]


def test_bouts_differ_by_a_single_time(tiny_session):
    first = load_session_metadata(tiny_session.session_path).bouts[0]
    times = first.page_times.copy()
    assert BoutMetadata(first.name, first.imaging, times) == first
    times[3] += 1e-9
    assert BoutMetadata(first.name, first.imaging, times) != first
    with pytest.raises(ValueError, match="read-only"):
        first.page_times[0] = 1


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"bouts": []}', '{"bouts": [{"name": "a"}]}', "[" * 100_000])
def test_what_is_no_session_is_named(text):
    with pytest.raises(MetadataError, match=r"here\.json: expected metadata of the bouts of a session, found "):
        parse_session_metadata(text, "here.json")


def test_a_bout_with_a_spoilt_field_is_named(tiny_session):
    content = json.loads(load_session_metadata(tiny_session.session_path).to_json())
    content["bouts"][1]["metadata"]["FOV"][0]["nXnYnZ"] = None
    with pytest.raises(MetadataError, match=r"here\.json, raw_imaging_data_01, field 'FOV\[0\]\.nXnYnZ'"):
        parse_session_metadata(json.dumps(content), "here.json")


def test_pages_of_several_channels_are_one_frame(samples):
    imaging = parse_imaging_metadata(samples["two channels"])
    paired = BoutMetadata("b", imaging, np.repeat(np.arange(5) * 0.2, 2))
    assert paired.frame_times.tolist() == (np.arange(5) * 0.2).tolist()
    cut = BoutMetadata("b", imaging, paired.page_times[:-1])
    assert cut.n_frames == 4, "a frame that lacks a channel is none"
    by_frame = BoutMetadata("b", imaging, np.arange(5) * 0.2)
    assert by_frame.n_frames == 5
