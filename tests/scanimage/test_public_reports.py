"""Recordings as public bug reports describe them: each page says by its value which depth, frame or channel it is.

``make_input.py`` of a report writes the session; what is right stands in its ``expected.md``, and is written here again
by hand.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import tifffile

from meso_core.errors import MesoWarning
from meso_core.scanimage import bin_per_plane, load_meta_files, local_bouts, write_missing_meta
from meso_core.scanimage.reference_images import reference_images
from meso_core.session import find_sessions
from tests.conftest import unavailable

pytestmark = pytest.mark.filterwarnings("ignore:.*scanVolumeRate is 50 Hz:meso_core.errors.MesoWarning")

SESSION = "SP001/2023-03-03/001"
CENTER_MM = (2.6, -2.0)
#: Degrees of the scanner → µm, as the reports' headers say.
UM_PER_DEGREE = 157.5
DEPTHS = [[1] * 4, [2] * 4, [3] * 4]

#: Report, session → the value of each frame of each FOV's movie; what a warning must name.
MOVIES = [
    ("01-missing-page-mixes-depths", "SP001/2023-03-03/001", [[1] * 2, [2] * 3, [3] * 2], "expected frame 4, found 5"),
    ("01-missing-page-mixes-depths", "SP002/2023-03-03/001", [[1] * 2, [2] * 2, [3] * 2], "expected frame 4, found 3"),
    ("02-one-file-per-channel", "SP001/2023-03-03/001", [[1, 2, 3, 4, 5, 6]], ""),
    ("02-one-file-per-channel", "SP002/2023-03-03/001", [[1, 2, 3, 4, 5, 6]], "no tif holds channel 2"),
    ("03-roi-between-scanfields", "SP001/2023-03-03/001", [[1] * 3, [2] * 3, [3] * 3], ""),
    ("03-roi-between-scanfields", "SP002/2023-03-03/001", [[1] * 3, [2] * 3, [1] * 3, [2] * 3, [1] * 3], ""),
    ("05-fast-z-of-scanimage-2016-to-2019", "SP001/2023-03-03/001", DEPTHS, ""),
    ("05-fast-z-of-scanimage-2016-to-2019", "SP002/2023-03-03/001", DEPTHS, ""),
    ("06-frames-per-slice", "SP001/2023-03-03/001", DEPTHS, ""),
    ("06-frames-per-slice", "SP002/2023-03-03/001", DEPTHS, ""),
    ("06-frames-per-slice", "SP003/2023-03-03/001", DEPTHS, ""),
    ("07-last-page-cut", "SP001/2023-03-03/001", [[*range(1, 40)]], r"x_00001_00002\.tif, page 19: tif cut short"),
    ("07-last-page-cut", "SP002/2023-03-03/001", [[*range(1, 40)]], r"x_00001_00001\.tif, page 39: tif cut short"),
    ("08-hidden-apple-file", "SP001/2023-03-03/001", [[1] * 5], ""),
    ("11-session-number-without-zeros", "SP001/2023-03-03/1", [[1] * 5], ""),
    ("12-bare-infinity-in-json", "SP001/2023-03-03/001", [[1] * 5], ""),
]


@pytest.fixture(scope="session")
def reported(real_data, tmp_path_factory):
    """``reported(report)`` gives the folder of a report's sessions."""
    reports, made = real_data.parent / "trials", tmp_path_factory.mktemp("reports")
    if not reports.is_dir():
        unavailable("the inputs of public reports", "put them beside the real data")

    def make(report: str) -> Path:
        folder = made / report
        if not folder.exists():
            folder.mkdir()
            subprocess.run([sys.executable, reports / report / "make_input.py", folder], check=True)
        return folder

    return make


def metadata_of(session):
    return load_meta_files(session, center_ml=CENTER_MM[0], center_ap=CENTER_MM[1])[0]


def values_of(movie):
    """Value of each frame of a movie; all its pixels must agree."""
    frames = np.fromfile(movie, np.int16).reshape(-1, 256)
    assert (frames == frames[:, :1]).all(), "frames of two depths are mixed"
    return frames[:, 0].tolist()


def test_every_report_is_tried(real_data):
    there = {folder.name for folder in (real_data.parent / "trials").iterdir() if folder.is_dir()}
    assert there == {report for report, *_ in MOVIES}


@pytest.mark.parametrize(("report", "session", "movies", "warned"), MOVIES, ids=lambda value: str(value)[:28])
def test_each_movie_holds_the_frames_of_its_own_depth(report, session, movies, warned, reported, tmp_path):
    folder = reported(report) / session
    with pytest.warns(MesoWarning, match=warned) if warned else nullcontext():  # a warning is an error
        made = bin_per_plane(local_bouts(folder), metadata_of(folder), tmp_path / "suite2p")
    assert len(made) == len(movies)
    found = [values_of(tmp_path / "suite2p" / f"plane{i}" / "data_raw.bin") for i in range(len(movies))]
    assert found == movies


def test_the_second_channel_of_one_file_per_channel_is_its_own(reported, tmp_path):
    session = reported("02-one-file-per-channel") / SESSION
    bin_per_plane(local_bouts(session), metadata_of(session), tmp_path / "suite2p")
    assert values_of(tmp_path / "suite2p/plane0/data_chan2_raw.bin") == [101, 102, 103, 104, 105, 106]


def test_a_roi_between_two_scanfields_has_its_own_place_and_size(reported):
    fovs = metadata_of(reported("03-roi-between-scanfields") / SESSION)["FOV"]
    assert [fov["Zs"] for fov in fovs] == [0, 4, 8], "and none at 12"
    for fov, center, size in zip(fovs, (0.2, 0.4, 0.6), (0.2, 0.28, 0.36), strict=True):
        corners = np.array([fov["MM"][name] for name in ("topLeft", "topRight", "bottomLeft", "bottomRight")])
        sides_um = np.ptp(corners, axis=0) * 1e3
        np.testing.assert_allclose(sides_um, size * UM_PER_DEGREE, rtol=1e-9)
        away_um = np.abs(corners.mean(axis=0) - CENTER_MM) * 1e3
        np.testing.assert_allclose(away_um, center * UM_PER_DEGREE, rtol=1e-9)


def test_a_roi_is_a_field_of_view_at_the_depths_at_which_it_was_imaged_alone(reported):
    fovs = metadata_of(reported("03-roi-between-scanfields") / "SP002/2023-03-03/001")["FOV"]
    assert [fov["Zs"] for fov in fovs] == [0, 0, 50, 50, 100]
    assert len({fov["roiUUID"] for fov in fovs}) == 2


def test_a_reference_stack_of_several_frames_per_slice_has_a_page_per_depth(reported, tmp_path):
    session = reported("06-frames-per-slice") / SESSION
    reference_images(session, tmp_path, center_ml=CENTER_MM[0], center_ap=CENTER_MM[1])
    stack = tifffile.imread(tmp_path / "raw_imaging_data_00/reference/referenceImage.stack.tif").reshape(3, -1)
    assert [set(depth.tolist()) for depth in stack] == [{10}, {20}, {30}]


def test_a_session_number_without_zeros_is_found(reported):
    assert [str(key) for key in find_sessions(reported("11-session-number-without-zeros"))] == [SESSION]


def test_written_metadata_are_json_as_everybody_reads_it(reported, tmp_path):
    session = reported("12-bare-infinity-in-json") / SESSION
    (file, *_) = write_missing_meta(session, tmp_path, center_ml=1.0, center_ap=1.0)

    def fail(word):
        raise AssertionError(f"{word} is no JSON")

    json.loads(file.read_text(), parse_constant=fail)
