"""Tifs of one bout may differ in what is measured, within one tolerance, and not in what decides where pixels are."""

import re

import pytest
from damaged_files import Page, write_tif
from scanimage_files import small_config

from meso_core.errors import InputFileError, MesoWarning, MetadataError
from meso_core.scanimage import open_bout
from meso_core.scanimage.measured import MEASURED
from meso_core.scanimage.metadata.compare import check_same_imaging
from meso_core.session import raw_tifs

CONFIG = small_config(((16, 16),))


def two_tifs(folder, field, change):
    """Two tifs that follow each other, with a header field changed in the second; returns its values."""
    write_tif(folder / "a_00001.tif", CONFIG, [Page(0, 0), Page(1, 0)])
    software = open_bout(raw_tifs(folder))[0].software
    value = re.search(rf"SI\.{re.escape(field)} = (.*)", software)[1]
    other = change if isinstance(change, str) else f"{float(value) * change:.9g}"
    write_tif(folder / "a_00002.tif", CONFIG, [Page(2, 0), Page(3, 0)], **{field: other})
    return value, other


@pytest.mark.parametrize("field", sorted(MEASURED))
@pytest.mark.parametrize(("factor", "fine"), [(1 + 9e-4, True), (1 - 9e-4, True), (1.002, False), (0.998, False)])
def test_a_measured_field_may_drift_a_little_between_tifs_as_between_bouts(tmp_path, field, factor, fine):
    value, other = (float(v) for v in two_tifs(tmp_path, field, factor))
    part, name = field.split(".")
    a, b = ({"scanImageParams": {part: {name: v}}} for v in (value, other))
    if fine:
        assert len(open_bout(raw_tifs(tmp_path))) == 2
        check_same_imaging("one", a, "other", b)
        return
    words = rf"a_00002\.tif, field 'SI\.{re.escape(field)}': expected .* as in a_00001"
    with pytest.raises(InputFileError, match=words):
        open_bout(raw_tifs(tmp_path))
    with pytest.raises(MetadataError, match=name):
        check_same_imaging("one", a, "other", b)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hChannels.channelSave", "[1;2]"),
        ("hStackManager.numSlices", "3"),
        ("hScan2D.logAverageFactor", "2"),
        ("hScan2D.bidirectional", "false"),
        ("hRoiManager.pixelsPerLine", "32"),
        ("objectiveResolution", "150.1"),
    ],
)
def test_a_field_of_the_layout_may_not_differ(tmp_path, field, value):
    two_tifs(tmp_path, field, value)
    with pytest.raises(InputFileError, match=rf"a_00002\.tif, field 'SI\.{re.escape(field)}'.*Move tifs of other"):
        open_bout(raw_tifs(tmp_path))


def test_another_field_is_told_once(tmp_path):
    two_tifs(tmp_path, "hBeams.powers", "[50 0]")
    write_tif(tmp_path / "a_00003.tif", CONFIG, [Page(4, 0)], **{"hBeams.powers": "[50 0]"})
    with pytest.warns(MesoWarning, match="hBeams.powers") as told:
        open_bout(raw_tifs(tmp_path))
    assert len(told) == 1
