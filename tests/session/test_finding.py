"""Which folders below a root are sessions; what is passed over is named with its reason."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meso_core.errors import InputFileError, MesoWarning, MissingInputError
from meso_core.session import (
    SessionKey,
    find_sessions,
    ignored_among,
    imaging_bouts,
    raw_tifs,
    survey_sessions,
    unfinished_copies,
    why_ignored,
)

KEY = "SP1/2023-03-03/001"
BOUT = "raw_imaging_data_00"

#: Names that people's folders have and no rig wrote.
LITTER = [
    "._x_00001.tif",
    ".x_00001.tif",
    ".DS_Store",
    "Thumbs.db",
    "thumbs.DB",
    "desktop.ini",
    "@eaDir",
    "x_00001.tif.part",
    "x_00001.tif.filepart",
    "x_00001.tif.partial",
    "x_00001.tif.crdownload",
    "x_00001.tif.tmp",
    "x_00001.TIF.PART",
    "x_00001.tif~",
    ".x_00001.tif.6XcHrs",
]
DATA = [
    "x_00001.tif",
    "x.part.tif",
    "x~1.tif",
    "exptQC.mat",
    "_timeline_DAQdata.raw.npy",
    "imaging.frames.tar.bz2",
    "parts",
    "tmp_00001.tif",
]


@pytest.mark.parametrize("name", LITTER)
def test_what_no_rig_wrote_is_ignored_at_every_depth(name):
    for path in (name, f"{BOUT}/{name}", f"{name}/x_00001.tif", f"SP1/{name}/001"):
        assert why_ignored(path), path


@pytest.mark.parametrize("name", DATA)
def test_names_of_data_are_not_ignored(name):
    assert why_ignored(f"SP1/2023-03-03/001/{BOUT}/{name}") == ""


def test_an_ignored_folder_is_named_once_for_all_that_is_in_it():
    paths = ["@eaDir/a", "@eaDir/b/c", "x/.DS_Store", "x/y.tif"]
    assert ignored_among(paths) == {"@eaDir": "left by a Synology server", "x/.DS_Store": "a hidden file"}


def test_a_backup_beside_its_original_is_no_copy_that_goes_on():
    assert unfinished_copies(["a.tif", "a.tif~", "b.tif~", "c.tif.part", "c.tif"]) == ("b.tif~", "c.tif.part")


def test_litter_is_neither_a_bout_nor_a_tif(tmp_path):
    bout = tmp_path / BOUT
    bout.mkdir()
    for name in (*LITTER, "x_00001.tif"):
        (bout / name).touch()
    for name in (f"._{BOUT}", f"{BOUT}.part", "@eaDir"):
        (tmp_path / name).mkdir()
    assert imaging_bouts(tmp_path) == (bout,)
    assert raw_tifs(bout) == (bout / "x_00001.tif",)


# sessions


def root_with(tmp_path, *folders):
    for folder in folders:
        (tmp_path / folder / BOUT).mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("number", ["1", "01", "001"])
@pytest.mark.parametrize(("place", "lab"), [("", ""), ("Subjects/", ""), ("lab/Subjects/", "lab/Subjects/")])
def test_a_session_is_found_however_its_number_and_its_place_are_written(tmp_path, number, place, lab):
    root = root_with(tmp_path, f"{place}SP1/2023-03-03/{number}")
    found = survey_sessions(root)
    assert ([str(key) for key in found.sessions], found.passed_over) == ([f"{lab}{KEY}"], ())
    assert found.sessions[0].folder(root) == root / place / "SP1" / "2023-03-03" / number


@pytest.mark.parametrize(
    "two",
    [
        (KEY, "SP1/2023-03-03/1"),
        ("SP1/2023-03-03/01", "SP1/2023-03-03/1"),
        (KEY, f"Subjects/{KEY}"),
        ("lab/Subjects/SP1/2023-03-03/001", "lab/Subjects/SP1/2023-03-03/01"),
    ],
)
def test_two_folders_that_mean_one_session_are_named_and_neither_is_one(tmp_path, two):
    root = root_with(tmp_path, *two, "SP2/2023-03-03/001")
    found = survey_sessions(root)
    assert [str(key) for key in found.sessions] == ["SP2/2023-03-03/001"]
    assert {passed.path for passed in found.passed_over} == set(two)
    for passed in found.passed_over:
        assert (set(two) - {passed.path}).pop() in passed.reason
    with pytest.raises(InputFileError, match=r"one folder of this session, found also .*another number"):
        SessionKey.parse(two[0]).folder(root)
    (root / two[1]).rename((root / two[1]).with_name("2"))  # the remedy
    assert survey_sessions(root).passed_over == ()
    assert len(survey_sessions(root).sessions) == 3


def test_a_link_to_the_folder_itself_is_not_a_second_one(tmp_path):
    root = root_with(tmp_path, KEY)
    (root / "SP1" / "2023-03-03" / "1").symlink_to(root / KEY)
    assert [str(key) for key in survey_sessions(root).sessions] == [KEY]


@pytest.mark.parametrize(
    ("folder", "passed", "reason"),
    [
        ("SP1/2023-99-99/001", "SP1/2023-99-99", "no such date"),
        ("SP1/2023-3-3/001", "SP1/2023-3-3", "a date is YYYY-MM-DD"),
        ("SP1/20230303/001", "SP1/20230303", "a date is YYYY-MM-DD"),
        ("SP1/03_03_2023/001", "SP1/03_03_2023", "a date is YYYY-MM-DD"),
        ("SP1/2023-03-03/1234", "SP1/2023-03-03/1234", "one to three digits"),
        ("SP1/2023-03-03/run2", "SP1/2023-03-03/run2", "one to three digits"),
        ("SP1/2023-03-03", "SP1/2023-03-03", "without a session number"),
        ("my mouse/2023-03-03/001", "my mouse/2023-03-03/001", "other characters"),
        ("my lab/Subjects/SP1/2023-03-03/001", "my lab/Subjects/SP1/2023-03-03/001", "other characters"),
        ("2023-03-03/001", "2023-03-03", "a subject is expected"),
        ("SP1/2p/2023-03-03/001", "SP1/2p", "too deep"),
        ("server/lab/Subjects/SP1/2023-03-03/001", "server/lab", "MESO_ROOT"),
        ("SP1/2023-03-03/001.part", "SP1/2023-03-03/001.part", "a copy that is not finished"),
        ("@eaDir/2023-03-03/001", "@eaDir", "left by a Synology server"),
    ],
)
def test_a_folder_that_is_passed_over_is_named_with_its_reason(tmp_path, folder, passed, reason):
    root = root_with(tmp_path, folder, "SP2/2023-03-03/001")
    found = survey_sessions(root)
    assert [str(key) for key in found.sessions] == ["SP2/2023-03-03/001"], "the others are found"
    (one,) = found.passed_over
    assert one.path == passed
    assert reason in one.reason
    with pytest.warns(MesoWarning, match="not a session"):
        assert len(find_sessions(root)) == 1


def test_folders_that_nobody_takes_for_sessions_are_not_listed(tmp_path):
    for folder in ("SP1/notes/001", "SP1/2023-03-03/001.truth", "SP1/2023-03-03/figures", "docs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "readme.txt").touch()
    assert survey_sessions(tmp_path).passed_over == ()


def test_names_that_are_not_text_are_named_in_text_that_can_be_printed(tmp_path):
    (tmp_path / os.fsdecode(b"mouse\xff\n") / "2023-03-03" / "001").mkdir(parents=True)
    (one,) = survey_sessions(tmp_path).passed_over
    assert str(one).isprintable()
    assert one.path == r"mouse\udcff\n/2023-03-03/001"


def test_links_to_sessions_elsewhere_are_sessions_and_links_to_nothing_are_named(tmp_path):
    elsewhere, root = root_with(tmp_path / "disk", "a/b", "SP3/2023-03-03/001"), tmp_path / "root"
    (root / "SP1" / "2023-03-03").mkdir(parents=True)
    (root / "SP1" / "2023-03-03" / "001").symlink_to(elsewhere / "a" / "b")
    (root / "SP3").symlink_to(elsewhere / "SP3")
    (root / "SP1" / "2023-03-03" / "002").symlink_to("/not/mounted")
    (root / "SP1" / "round").symlink_to(root)
    found = survey_sessions(root)
    assert [str(key) for key in found.sessions] == [KEY, "SP3/2023-03-03/001"]
    reasons = {passed.path: passed.reason for passed in found.passed_over}
    assert reasons["SP1/2023-03-03/002"] == "a link to /not/mounted, where there is none"


def test_a_folder_that_cannot_be_read_is_named_and_a_root_that_cannot_is_an_error(others_folder, another_user):
    root = root_with(others_folder, KEY, "SP2/2023-03-03/001")
    (root / "SP2").chmod(0)
    with another_user():
        found = survey_sessions(root)
    assert [str(key) for key in found.sessions] == [KEY]
    assert [str(passed) for passed in found.passed_over] == ["SP2: cannot be read: Permission denied"]
    root.chmod(0o311)
    with another_user(), pytest.raises(MissingInputError, match="Permission denied"):
        survey_sessions(root)
    root.chmod(0o755)
    (root / "SP2").chmod(0o755)


NUMBERS = st.integers(0, 999)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault of the walk
@given(st.sets(st.tuples(NUMBERS, st.integers(1, 3)), min_size=1, max_size=6))
def test_every_number_folder_is_either_a_session_or_passed_over(tmp_path_factory, folders):
    names = {f"{number:0{width}d}" for number, width in folders}
    root = root_with(tmp_path_factory.mktemp("root"), *(f"SP1/2023-03-03/{name}" for name in names))
    found = survey_sessions(root)
    meant = [int(name) for name in names]
    once = {f"SP1/2023-03-03/{number:03d}" for number in meant if meant.count(number) == 1}
    assert {str(key) for key in found.sessions} == once
    assert {passed.path for passed in found.passed_over} == {
        f"SP1/2023-03-03/{name}" for name in names if meant.count(int(name)) > 1
    }
