"""The header's MATLAB syntax becomes values, on hand-made lines and on real headers."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scanimage_files import real_raw_header

from meso_core.errors import MetadataError
from meso_core.scanimage import ScanImageTif, parse_roi_groups, parse_si_header


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.003", 0.003),
        ("  -2.384e-06", -2.384e-06),
        ("4614", 4614),
        ("true", True),
        ("false", False),
        ("-Inf", -math.inf),
        ("'it''s [1;2] = {3}'", "it's [1;2] = {3}"),
        ("''", ""),
        ("[]", []),
        ("{}", []),
        ("zeros(0,2)", []),
        ("zeros(1,3)", [0, 0, 0]),
        ("zeros(2,2)", [[0, 0], [0, 0]]),
        ("[1 2]", [1, 2]),
        ("[1;2]", [[1], [2]]),
        ("[195 105;207 116]", [[195, 105], [207, 116]]),
        ("[-1.5 Inf;true 2e3]", [[-1.5, math.inf], [True, 2000.0]]),
        ("{'Imaging Beam' 'Stim Beam'}", ["Imaging Beam", "Stim Beam"]),
        ("{[-1 1] [-0.5 0.5]}", [[-1, 1], [-0.5, 0.5]]),
        ("{[] 'a' {1}}", [[], "a", [1]]),
        ("'@scanimage.util.defaultPowerFunction'", "@scanimage.util.defaultPowerFunction"),
        ("@scanimage.util.defaultPowerFunction", "@scanimage.util.defaultPowerFunction"),
        ("[a.Types.None a.Types.Exponential]", ["a.Types.None", "a.Types.Exponential"]),
        ("<nonscalar struct/object>", "<nonscalar struct/object>"),
        ("[1 2", "[1 2"),
        ("", ""),
    ],
)
def test_matlab_literals_become_values(text, value):
    parsed = parse_si_header(f"SI.x = {text}")["SI.x"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_nan_is_a_number():
    assert all(math.isnan(v) for v in parse_si_header("SI.powers = [NaN NaN]")["SI.powers"])


def as_matlab(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, list):
        return "[" + ";".join(" ".join(as_matlab(v) for v in row) for row in value) + "]"
    return "Inf" if value == math.inf else repr(value)


number = st.one_of(st.integers(-(10**9), 10**9), st.floats(allow_nan=False).filter(lambda f: f != -math.inf))
matrix = st.integers(2, 4).flatmap(lambda n: st.lists(st.lists(number, min_size=n, max_size=n), min_size=2, max_size=4))
text = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="\n"), max_size=20)


@given(st.one_of(st.booleans(), number, matrix, text))
def test_what_matlab_would_write_is_read_back(value):
    assert parse_si_header(f"SI.x = {as_matlab(value)}") == {"SI.x": value}


def test_every_line_of_real_headers_becomes_a_value(real_data):
    for name, n in (("hostpixelcorr_noavg_00001_00001.tif", 411), ("vol_no_flyback_00001_00001.tif", 450)):
        header = ScanImageTif(real_data / "scanimage" / name).header
        assert len(header) == n
        assert not [k for k, v in header.items() if isinstance(v, str) and v.startswith(("[", "{"))]
    header = parse_si_header(real_raw_header(real_data)["rawScanImageMeta"]["Software"])
    assert header["SI.hStackManager.arbitraryZs"] == [[150], [250], [300]]
    assert header["SI.hScan2D.scannerToRefTransform"] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert header["SI.hBeams.lengthConstants"] == [700, math.inf, math.inf, math.inf]
    assert header["SI.hMotionManager.motionMarkersXY"] == []


def test_header_equals_what_tifffile_reads(real_data):
    import tifffile

    path = real_data / "scanimage" / "vol_no_flyback_00001_00001.tif"
    with path.open("rb") as file:
        theirs = tifffile.read_scanimage_metadata(file)[0]
    ours = ScanImageTif(path).header
    assert ours.keys() == theirs.keys()
    # tifffile gives a cell of one as its content, and zeros(1,0) as a row without columns
    same = ({repr(v), repr([v]), repr([] if v == [[]] else v)} for v in theirs.values())
    assert not [k for k, values in zip(theirs, same, strict=True) if repr(ours[k]) not in values]


def test_infinity_and_nan_in_roi_groups_are_numbers():
    text = (
        '{"RoiGroups": {"imagingRoiGroup": {"rois": {"zs": [NaN, -Infinity, Infinity], "UserData": null, "_a_": 1}}}}'
    )
    roi = parse_roi_groups(text)["RoiGroups"]["imagingRoiGroup"]["rois"]
    assert math.isnan(roi["zs"][0])
    assert roi["zs"][1:] == [-math.inf, math.inf]
    assert (roi["UserData"], roi["x_a_"]) == ([], 1)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"Roi": 1}'])
def test_damaged_roi_groups_are_named(text):
    with pytest.raises(MetadataError, match=r"a\.tif, field 'RoiGroups'"):
        parse_roi_groups(text, "a.tif")


def test_allen_header_with_bare_infinity_is_parsed(real_data):
    text = (real_data / "headers" / "allen_mesoscope_2024_timeseries_meta.json").read_text()
    assert "Infinity" in text
    _, groups, _ = json.loads(text)
    rois = parse_roi_groups(json.dumps(groups))["RoiGroups"]["imagingRoiGroup"]["rois"]
    assert [roi["zs"] for roi in rois] == [[105, 195], [116, 207], [92, 167], [112, 183]]
