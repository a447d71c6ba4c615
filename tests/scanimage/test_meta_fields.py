"""Metadata with one field spoilt meet a named error, whichever door they come in by."""

import contextlib
import copy
import json
import shutil
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scanimage_files import real_raw_header

from meso_core.errors import InputFileError, MesoError, MesoWarning, MetadataError
from meso_core.imaging import suite2p_options
from meso_core.location import project_mlapdv
from meso_core.scanimage import (
    bin_per_plane,
    load_meta_files,
    load_session_metadata,
    local_bouts,
    parse_imaging_metadata,
    patch_imaging_meta,
)
from meso_core.scanimage.metadata.fields import REQUIRED
from meso_core.timing import extract_frame_times, get_timeshifts

META = "_ibl_rawImagingData.meta.json"
GONE = object()
#: What may stand in a field's place, and a word for it.
SPOILT = {"missing": GONE, "null": None, "text": "x", "empty text": "", "list": [], "table": {}, "true": True,
          "list of text": ["x"], "infinite": float("inf")}  # fmt: skip
#: Each field with what it must not hold; any text may be a header.
SPOILT_FIELDS = [(p, how) for p in REQUIRED for how in SPOILT if (p, how) != ("rawScanImageMeta.Software", "text")]


def spoil(meta, path, value):
    """Copy of metadata with one field of a file spoilt; in a list, that of the last entry."""
    meta = copy.deepcopy(meta)
    *parents, name = path.split(".")
    holder = meta
    for parent in parents:
        holder = holder[parent.removesuffix("[]")]
        holder = holder[-1] if parent.endswith("[]") else holder
    if value is GONE:
        del holder[name]
    else:
        holder[name] = value
    return meta


@pytest.fixture(scope="module")
def real(real_data):
    return real_raw_header(real_data)


def everything(meta, folder):
    """Call all that takes metadata as they are, without reading them from a session."""
    yield lambda: parse_imaging_metadata(meta)
    yield lambda: bin_per_plane((), meta, folder)
    yield lambda: get_timeshifts(meta)
    yield lambda: suite2p_options(meta, 0)


@pytest.mark.parametrize(("path", "how"), SPOILT_FIELDS)
def test_a_spoilt_field_is_named_as_the_metadata_are_read(real, path, how):
    with pytest.raises(MetadataError) as caught:
        parse_imaging_metadata(spoil(real, path, SPOILT[how]), "my.json")
    message = str(caught.value)
    assert message.startswith(f"my.json, field '{path.replace('[]', '[7]')}")
    for word in (": expected ", ", found ", "make the metadata again from the tifs"):
        assert word in message


@pytest.mark.parametrize(("path", "how"), [c for c in SPOILT_FIELDS if c[1] in ("missing", "null", "text", "list")])
def test_a_spoilt_file_is_named_by_all_that_read_a_session(real, tmp_path, path, how):
    bout = tmp_path / "SP061" / "2025-01-28" / "001" / "raw_imaging_data_00"
    bout.mkdir(parents=True)
    (bout / META).write_text(json.dumps(spoil(real, path, SPOILT[how])))
    (bout / "one_00001.tif").touch()
    for read in (load_meta_files, load_session_metadata, local_bouts, extract_frame_times):
        with pytest.raises(MetadataError, match=rf"raw_imaging_data_00/{META}, field '"):
            read(bout.parent)
    with pytest.raises(MetadataError, match=META):
        bin_per_plane(bout.parent, real, tmp_path / "out")


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_spoilt_value_anywhere_meets_a_bare_error(real, data, tmp_path_factory):
    """Any value of the file, not only those of the table, by all that takes metadata."""
    holder = meta = copy.deepcopy({**real, "FOV": real["FOV"][:2]})
    for fov in meta["FOV"]:
        fov["MLAPDV"] = {"center": [1.0, 2.0, 3.0]}
    while True:
        keys = sorted(holder) if isinstance(holder, dict) else range(min(len(holder), 3))
        key = data.draw(st.sampled_from(list(keys)), label="key")
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans(), label="here"):
            break
        holder = inner
    value = data.draw(st.sampled_from([*SPOILT.values(), -1, 0, 1.5, 10**400, [None], [[]], {"topLeft": None}]))
    if value is GONE and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = None if value is GONE else copy.deepcopy(value)
    version = data.draw(st.sampled_from(["as it is", None, "0.1.0", "0.1.4", "0.2.2"]), label="version")
    if version != "as it is":
        meta["version"] = version
    folder = tmp_path_factory.mktemp("any")
    calls = [lambda: patch_imaging_meta(meta), *everything(meta, folder), lambda: project_mlapdv(meta, None)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)
        for call in calls:
            with contextlib.suppress(MesoError):
                call()


@pytest.mark.parametrize("meta", [[], None, "text", 3, {"FOV": ["a", "b"], "nFrames": 3}, {"FOV": None, "nFrames": 3}])
def test_what_are_no_metadata_at_all_are_refused(meta):
    with pytest.raises(MetadataError, match=r"my\.json.*expected"):
        patch_imaging_meta(meta, "my.json")


def test_a_version_newer_than_known_is_used_and_told(real):
    newer = {**real, "version": "9.9.9"}
    with pytest.warns(MesoWarning, match=r"my\.json: version 9\.9\.9 is newer than 0\.2\.2.*update meso"):
        patched = patch_imaging_meta(newer, "my.json")
    assert patched == newer


def test_fields_that_nobody_needs_may_hold_anything(real):
    for name in ("acquisitionStartTime", "PMTGain", "something else"):
        for value in (None, "x", [], {}, ["x"]):
            assert patch_imaging_meta({**real, name: value})[name] == value


@pytest.mark.parametrize("value", ["noon", [2025, 1, 28], [2025, 13, 28, 10, 49, 53.4], {}, 7, None, [None] * 6])
def test_a_start_of_the_acquisition_in_another_form_is_unknown_and_kept(real, value):
    parsed = parse_imaging_metadata({**real, "acquisitionStartTime": value})
    assert parsed.acquisition_start is None
    assert parsed.to_dict()["acquisitionStartTime"] == value


def test_a_lone_depth_or_line_needs_no_brackets(real):
    """MATLAB's JSON drops them."""
    meta = copy.deepcopy(real)
    meta["FOV"] = [{**meta["FOV"][0], "nXnYnZ": [512, 1, 1], "lineIdx": 1}]
    del meta["rawScanImageMeta"]["Artist"]
    assert patch_imaging_meta(meta)["FOV"][0]["lineIdx"] == 1
    assert get_timeshifts(meta).lines[0].tolist() == [0]


def test_numbers_may_be_arrays(real):
    meta = copy.deepcopy(real)
    for fov in meta["FOV"]:
        fov["lineIdx"], fov["nXnYnZ"] = np.array(fov["lineIdx"]), np.array(fov["nXnYnZ"])
    assert patch_imaging_meta(meta)["nFrames"] == 16338


def test_json_that_is_nested_too_deep_is_a_named_error(tmp_path, tiny_session):
    session = tmp_path / "001"
    shutil.copytree(tiny_session.session_path / "raw_imaging_data_00", session / "raw_imaging_data_00")
    (session / "raw_imaging_data_00" / META).write_text("[" * 100_000)
    with pytest.raises(InputFileError, match=r"raw_imaging_data_00.*expected JSON"):
        load_meta_files(session)
