"""The title is what people call the session, and the card names the rig where a header tells it."""

import re
from dataclasses import replace

import pytest
from large_session import report_inputs

from meso_core.report import make_report
from meso_core.report.page.card import rig_of
from meso_core.session import SessionKey


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return report_inputs(tmp_path_factory.mktemp("title"), n_rois=2, n_frames=60, preset_name="tiny")


@pytest.mark.parametrize(
    ("key", "title"),
    [
        (SessionKey("SP036", "2023-03-01", "001"), "SP036/2023-03-01/001"),
        (SessionKey("SP036", "2023-03-01", "001", "mainenlab"), "SP036/2023-03-01/001@mainenlab"),
    ],
)
def test_a_page_has_the_name_of_its_session_and_its_commands_find_it(inputs, key, title):
    page = make_report(replace(inputs, session=key)).html.decode()
    assert re.search(r"<h1>(.*?)</h1>", page)[1] == title
    assert f"<title>{title} – session report</title>" in page
    assert f"meso audit {title}." in page
    assert SessionKey.parse(title) == key, "the commands take it"


@pytest.mark.parametrize(
    ("line", "rig"),
    [
        (r"SI.hConfigurationSaver.cfgFilename = 'E:\Config\Meso1_Config.cfg'", "Meso1_Config"),
        (r"SI.hConfigurationSaver.cfgFilename = 'D:\ScanImage\B2 rig.cfg'", "B2 rig"),
        ("SI.hConfigurationSaver.cfgFilename = '/home/lab/meso.v2.cfg'", "meso.v2"),
        ("SI.hConfigurationSaver.cfgFilename = ''", ""),
        ("SI.hConfigurationSaver.usrFilename = 'C:\\Ada.usr'", ""),
        ("", ""),
    ],
)
def test_the_rig_is_told_by_the_name_of_its_scanimage_configuration(line, rig):
    assert rig_of(f"SI.acqsPerLoop = 1\n{line}\nSI.imagingSystem = 'ImagingScanner'\n") == rig


def test_a_rig_that_no_header_names_is_not_recorded(inputs):
    page = make_report(inputs).html.decode()
    assert re.search(r"<dt>rig</dt><dd>(\w[\w ]*)", page)[1].strip() == "not recorded"
