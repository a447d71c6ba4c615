"""What meso writes as JSON is JSON, with no bare NaN or Infinity; what others write with them is read all the same."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_trees import source_tree
from whole_metadata import whole_metadata

from meso_core.errors import MesoError, MetadataError
from meso_core.imaging.options.overrides import Suite2pOverrides
from meso_core.json_text import json_text, null_for_nan
from meso_core.qc import QCResult, Verdict, qc_path, read_results, results_to_json
from meso_core.scanimage import parse_imaging_metadata, write_missing_meta
from meso_core.session import BoutMetadata, SessionMetadata
from meso_core.session.imaging import CORNERS

REPOSITORY = Path(__file__).resolve().parents[1]
MODULES = sorted(path for package in ("meso_core", "meso_assets") for path in (REPOSITORY / package).rglob("*.py"))


def strictly(text):
    """Read JSON as every reader but Python's does."""

    def fail(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=fail)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_whatever_is_written_with_nulls_is_json_and_only_nan_and_infinity_become_null(value):
    def expected(v):
        if isinstance(v, dict):
            return {k: expected(x) for k, x in v.items()}
        if isinstance(v, list):
            return [expected(x) for x in v]
        return None if isinstance(v, float) and not math.isfinite(v) else v

    assert strictly(json_text(value, nulls=True)) == expected(value)


def test_numbers_of_numpy_are_numbers_and_their_nans_null():
    value = {"a": np.array([1.5, np.nan]), "b": np.float32("inf"), "c": np.int64(3), "d": Path("x") / "y"}
    assert strictly(json_text(value, nulls=True)) == {"a": [1.5, None], "b": None, "c": 3, "d": "x/y"}
    assert null_for_nan((1.0, np.nan)) == [1.0, None]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.array([np.nan])])
def test_where_null_has_no_meaning_nan_is_refused(value):
    with pytest.raises(ValueError, match="JSON"):
        json_text({"x": value})


def test_there_is_one_writer_of_json():
    others = [
        f"{path}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(source_tree(path))
        if isinstance(node, ast.Attribute)
        and node.attr in ("dump", "dumps")
        and getattr(node.value, "id", "") == "json"
    ]
    assert [other.split(":")[0] for other in others] == [str(REPOSITORY / "meso_core" / "json_text.py")]


@pytest.mark.parametrize("option", ["diameter", "tau", "registration.smooth_sigma"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_an_option_that_no_record_can_hold_is_refused_before_anything_runs(option, value):
    with pytest.raises(MesoError, match="expected"):
        Suite2pOverrides.parse({option: [value, value] if option == "diameter" else value})


def test_a_verdict_on_what_is_no_number_is_stored_as_null(tmp_path):
    (tmp_path / qc_path("rois")).parent.mkdir(parents=True)
    text = results_to_json((QCResult("c", Verdict.FAIL, math.nan, math.inf, "m", "o"),))
    strictly(text)
    (tmp_path / qc_path("rois")).write_text(text)
    (read,) = read_results(tmp_path, "rois")
    assert (read.value, read.threshold) == (None, None)


@pytest.mark.parametrize("word", ["Infinity", "-Infinity", "NaN", "null"])
def test_both_forms_of_no_number_are_read_as_unknown(word):
    """MATLAB writes null, other programs the bare word."""
    meta = whole_metadata([{"nXnYnZ": [4, 4, 1], "Deg": {c: [i, i] for i, c in enumerate(CORNERS)}}])
    known = parse_imaging_metadata(meta)
    meta["scanImageParams"]["hRoiManager"]["scanFrameRate"] = "HERE"
    meta["centerDeg"] = {"x": "HERE", "y": 1.0}
    meta["laserPowerCalibration"] = {"mW": ["HERE", 1]}
    text = json.dumps(meta).replace('"HERE"', word)
    read = parse_imaging_metadata(json.loads(text))
    assert (read.frame_rate_hz, read.window.x_deg, read.window.y_deg) == (None, None, 1.0)
    assert read.fovs == known.fovs
    assert read == parse_imaging_metadata(json.loads(text.replace(word, "null"))), "one meaning, one digest"
    strictly(read.to_json())
    strictly(read.source_json)
    strictly(SessionMetadata((BoutMetadata("raw_imaging_data_00", read, np.arange(3.0)),)).to_json())
    meta["scanImageParams"]["hRoiManager"]["linePeriod"] = "HERE"
    with pytest.raises(MetadataError, match=r"linePeriod': expected the time per line in s, found none"):
        parse_imaging_metadata(json.loads(json.dumps(meta).replace('"HERE"', word)))


def test_metadata_made_from_tifs_whose_header_has_infinity_and_nan_are_json(tmp_path, fresh_session):
    """ScanImage itself writes Infinity and NaN into the ROI groups."""
    session = fresh_session().session_path
    for tif in session.glob("raw_imaging_data_*/*.tif"):
        content = tif.read_bytes()
        at = content.index(b'"powers": null')
        tif.write_bytes(content[:at] + b'"powers": NaN ' + content[at + 14 :])
    for bout in session.glob("raw_imaging_data_*"):
        for name in ("_ibl_rawImagingData.meta.json", "rawImagingData.times_scanImage.npy"):
            (bout / name).unlink()
    made = write_missing_meta(session, tmp_path / "out", center_ml=1.0, center_ap=1.0)
    metas = [path for path in made if path.suffix == ".json"]
    assert metas
    for path in metas:
        rois = strictly(path.read_text())["rawScanImageMeta"]["Artist"]["RoiGroups"]["imagingRoiGroup"]["rois"]
        assert rois[0]["powers"] is None


def test_all_json_of_a_simulated_session_is_json(tiny_session):
    files = sorted(tiny_session.session_path.parent.rglob("*.json"))
    assert len(files) >= 3
    for path in files:
        strictly(path.read_text())
