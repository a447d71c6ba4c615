"""Old imaging metadata are patched as ibllib 4.0.0 does, and further where ibllib stops."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from meso_core.errors import MetadataError
from meso_core.scanimage import ImagingLayout, parse_imaging_metadata, patch_imaging_meta

sys.path.insert(0, str(Path(__file__).parents[1] / "scanimage"))
from old_versions import CORNERS, VERSIONS, located, rotated, unversioned
from scanimage_files import real_raw_header

#: What is in each file that ibllib's unit tests make up, which is hardly more than the field that they look at.
BARE = {
    "nFrames": 2000,
    "centerMM": {"ML": 3, "AP": -5},
    "centerDeg": {"x": 90, "y": 180},
    "imageOrientation": {"positiveML": [0, -1], "positiveAP": [-1, 0]},
    "scanImageParams": {"objectiveResolution": 150},
    "coordsTF": [[0.15, 0.0], [0.0, -0.15], [2.7, -2.6]],
}
PLACES = dict(zip(CORNERS, range(4), strict=True))  # numbers where the rig has pairs
BARE_FILES = {
    "another name of the ROI": {
        **BARE,
        "version": "0.1.0",
        "FOV": [{"roiUuid": None, "Deg": PLACES}, {"roiUUID": None, "Deg": PLACES}],
    },
    "no version and no channel": {**BARE, "FOV": [{f"{corner}Deg": x for corner, x in PLACES.items()}] * 2},
    "newer than this code": {
        **BARE,
        "version": "1.5.0",
        "coordsTF": [[0, -20.0], [0, -0.3], [3, 4.6]],
        "FOV": [{"Deg": PLACES, "MM": PLACES}],
    },
}


def patched_by_ibllib(python, folder, metas):
    """What ibllib makes of metadata, in a process of its own."""
    (folder / "old.json").write_text(json.dumps(metas))
    command = [str(python), str(Path(__file__).with_name("scanimage_peer.py"))]
    command += [str(folder / "old.json"), str(folder / "new.json")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "MPLBACKEND": "agg"})
    return json.loads((folder / "new.json").read_text())


@pytest.fixture(scope="module")
def pairs(real_data, peer_python, tmp_path_factory):
    """Each old version of the real metadata, and what ibllib makes of it."""
    real = real_raw_header(real_data)
    old = {name: make(real) for name, make in VERSIONS.items()} | {"up_to_date": real}
    new = patched_by_ibllib(peer_python, tmp_path_factory.mktemp("peer"), list(old.values()))
    return dict(zip(old, zip(old.values(), new, strict=True), strict=True))


@pytest.mark.filterwarnings("ignore:.*is newer than:meso_core.errors.MesoWarning")
def test_what_ibllibs_own_tests_patch_is_patched_as_there(peer_python, tmp_path):
    """Fields that they leave out stay unknown, and the reader that needs them says so."""
    theirs = patched_by_ibllib(peer_python, tmp_path, list(BARE_FILES.values()))
    for (name, old), their in zip(BARE_FILES.items(), theirs, strict=True):
        ours = patch_imaging_meta(old)
        assert {k: v for k, v in ours.items() if k not in ("version", "FOV", "coordsTF")} == {
            k: v for k, v in their.items() if k not in ("version", "FOV", "coordsTF")
        }, name
        np.testing.assert_allclose(ours["coordsTF"], their["coordsTF"], rtol=0, atol=1e-9)
        for fov, their_fov in zip(ours["FOV"], their["FOV"], strict=True):
            assert {k: fov[k] for k in fov if k != "MM"} == {k: their_fov[k] for k in their_fov if k != "MM"}
            assert fov["MM"].keys() == their_fov["MM"].keys()
            for corner in CORNERS:
                np.testing.assert_allclose(fov["MM"][corner], their_fov["MM"][corner], rtol=0, atol=1e-9)


def test_channels_that_no_field_and_no_header_tells_are_asked_for_by_the_reader(real_data):
    old = unversioned(real_raw_header(real_data))
    old["rawScanImageMeta"]["Software"] = "SI.VERSION_MAJOR = 2020"
    for fov in old["FOV"]:
        del fov["channelIdx"]
    assert patch_imaging_meta(old, "my.json")["channelSaved"] == []
    with pytest.raises(MetadataError, match=r"my.json, field 'channelSaved': expected channel.*Correct the field"):
        parse_imaging_metadata(old, "my.json")
    assert parse_imaging_metadata({**old, "channelSaved": 2}).channels_saved == (2,), "the remedy leads to a result"


@pytest.mark.parametrize("name", [*VERSIONS, "up_to_date"])
def test_patch_equals_that_of_ibllib(pairs, name):
    old, theirs = pairs[name]
    kept = copy.deepcopy(old)
    ours = patch_imaging_meta(old)
    assert old == kept
    assert ours["version"] == "0.2.2"
    for key in theirs.keys() - {"version", "FOV", "coordsTF"}:
        assert ours[key] == theirs[key], key
    np.testing.assert_allclose(ours["coordsTF"], theirs["coordsTF"], rtol=0, atol=1e-9)
    for fov, their_fov in zip(ours["FOV"], theirs["FOV"], strict=True):
        if name != "located":  # ibllib 4.0.0 does not know of provenances
            assert their_fov.keys() <= fov.keys()
        assert {k: fov[k] for k in ("Deg", "lineIdx", "nXnYnZ")} == {
            k: their_fov[k] for k in ("Deg", "lineIdx", "nXnYnZ")
        }
        for corner in CORNERS:
            np.testing.assert_allclose(fov["MM"][corner], their_fov["MM"][corner], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", VERSIONS)
def test_old_metadata_become_those_of_today(real_data, name):
    """Every old version of the real metadata leads back to the real ones."""
    real = real_raw_header(real_data)
    ours = patch_imaging_meta(VERSIONS[name](real))
    if name == "off_centre":
        shift = np.array([*(1.5, -0.5), 0]) @ np.array(real["coordsTF"])
        for fov, want in zip(ours["FOV"], real["FOV"], strict=True):
            np.testing.assert_allclose(np.add(fov["MM"]["topLeft"], shift), want["MM"]["topLeft"], atol=1e-9)
        return
    np.testing.assert_allclose(ours["coordsTF"], real["coordsTF"], atol=1e-12)
    for fov, want in zip(ours["FOV"], real["FOV"], strict=True):
        assert {k: fov[k] for k in want if k != "MM"} == {k: v for k, v in want.items() if k != "MM"}
        for corner in CORNERS:
            np.testing.assert_allclose(fov["MM"][corner], want["MM"][corner], rtol=0, atol=1e-9)
    assert ImagingLayout.from_meta(ours) == ImagingLayout.from_meta(real)


@pytest.mark.parametrize("name", VERSIONS)
def test_patching_twice_changes_nothing(real_data, name):
    once = patch_imaging_meta(VERSIONS[name](real_raw_header(real_data)))
    assert patch_imaging_meta(once) == once


def test_a_lone_fov_is_a_list_of_one(real_data):
    """MATLAB's JSON drops the brackets."""
    real = real_raw_header(real_data)
    assert patch_imaging_meta({**real, "FOV": real["FOV"][0]})["FOV"] == real["FOV"][:1]


def test_channels_of_unversioned_metadata_come_from_the_header(real_data):
    old = unversioned(real_raw_header(real_data))
    for fov in old["FOV"]:
        del fov["channelIdx"]
    assert patch_imaging_meta(old)["channelSaved"] == 2


def test_positions_are_nested_by_provenance(real_data):
    old = located(real_raw_header(real_data))
    for fov, before in zip(patch_imaging_meta(old)["FOV"], old["FOV"], strict=True):
        assert fov["MLAPDV"] == {"estimate": before["MLAPDV"]}
        assert fov["brainLocationIds"] == {"estimate": before["brainLocationIds"]}


def test_a_finer_objective_resolution_is_not_rounded_away(real_data):
    """ibllib rounds the transform to 1 µm per degree before it places the corners: some 10 µm at the window's rim."""
    real = real_raw_header(real_data)
    old = rotated(real)
    old["scanImageParams"]["objectiveResolution"] = 150.5
    fov = patch_imaging_meta(old)["FOV"][0]
    width = np.linalg.norm(np.subtract(fov["MM"]["topRight"], fov["MM"]["topLeft"]))
    assert width == pytest.approx(4.6665 * 0.1505, abs=1e-9)


def test_depths_of_unversioned_metadata_come_from_their_rois(real_data):
    old = unversioned(real_raw_header(real_data))
    old["scanImageParams"]["hStackManager"]["zs"] = [120, 245]
    for i, roi in enumerate(old["rawScanImageMeta"]["Artist"]["RoiGroups"]["imagingRoiGroup"]["rois"]):
        roi["discretePlaneMode"], roi["zs"] = 1, [120, 245][i % 2]
    assert [fov["slice_id"] for fov in patch_imaging_meta(old)["FOV"]] == [0, 1] * 4
    old["rawScanImageMeta"]["Artist"]["RoiGroups"]["imagingRoiGroup"]["rois"][0]["discretePlaneMode"] = 0
    with pytest.raises(MetadataError, match=r"FOV\.slice_id.*make the metadata again"):
        patch_imaging_meta(old)


@pytest.mark.parametrize("field", ["nFrames", "centerMM", "coordsTF", "FOV"])
def test_a_missing_field_is_named(real_data, field):
    old = rotated(real_raw_header(real_data))
    del old[field]
    with pytest.raises(MetadataError, match=f"my.json, field '{field}'.*make the metadata again"):
        patch_imaging_meta(old, "my.json")


def test_a_version_that_is_none_is_refused(real_data):
    with pytest.raises(MetadataError, match=r"'version'.*'newest'"):
        patch_imaging_meta({**real_raw_header(real_data), "version": "newest"})
