"""Names and paths of sessions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meso_core.errors import MesoError, MesoWarning, MissingInputError
from meso_core.session import SessionKey, find_sessions, imaging_bouts, natural_key, raw_tifs


@pytest.mark.parametrize("text", ["SP035/2023-03-03/001", "cortexlab/Subjects/SP035/2023-03-03/001"])
def test_a_key_reads_back_as_it_was_written(text):
    assert str(SessionKey.parse(text)) == text


@pytest.mark.parametrize("lab", [None, "cortexlab", "lab-2.b"])
def test_the_name_with_its_lab_means_the_session(lab):
    key = SessionKey("SP035", "2023-03-03", "001", lab)
    assert SessionKey.parse(key.name_with_lab) == key
    assert key.name_with_lab.startswith(key.name)


@pytest.mark.parametrize(
    "text",
    [
        "SP035/2023-03-03",
        "SP035/2023-03-03/1234",
        "SP035/2023-03-03/1\n",
        "../2023-03-03/001",
        "a/b/2023-03-03/001",
        "",
        "x/2023-3-3/001",
        "lab/Subjects/SP035/2023-03-03/001@lab",
        "Subjects/SP035/2023-03-03/001@lab",
        "SP035/2023-03-03/001@..",
        "SP035/2023-03-03/001@.",
        "SP035/2023-03-03/001@a/b",
    ],
)
def test_what_is_not_a_session_key_is_refused(text):
    with pytest.raises(MesoError, match="SP035/2023-03-03/001"):
        SessionKey.parse(text)


@pytest.mark.parametrize("day", ["2023-99-99", "2023-02-29", "0000-01-01"])
def test_a_day_that_the_calendar_does_not_have_is_no_session(tmp_path, day):
    with pytest.raises(MesoError, match="calendar"):
        SessionKey.parse(f"SP035/{day}/001")
    for folder in (f"SP035/{day}/001", "SP035/2024-02-29/001"):
        (tmp_path / folder).mkdir(parents=True)
    with pytest.warns(MesoWarning, match=day):
        assert [str(key) for key in find_sessions(tmp_path)] == ["SP035/2024-02-29/001"]


@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True))
def test_natural_order_is_the_order_of_the_numbers(numbers):
    names = sorted((f"2P_00001_{n}.tif" for n in numbers), key=natural_key)
    assert names == [f"2P_00001_{n}.tif" for n in sorted(numbers)]


@pytest.mark.parametrize("text", ["SP1/2023-03-03/1", "SP1/2023-03-03/01", "Subjects/SP1/2023-03-03/001"])
def test_one_session_has_one_text_however_it_is_written(text):
    """ALF lets the zeros be left out, and a root of one lab may or may not have a folder Subjects."""
    assert str(SessionKey.parse(text)) == "SP1/2023-03-03/001"


def test_sessions_are_found_with_and_without_a_lab_folder(tmp_path):
    for name in ("SP1/2023-03-03/001", "lab/Subjects/SP2/2024-01-01/002", "SP1/2023-03-03/001.truth", "SP1/notes/001"):
        (tmp_path / name).mkdir(parents=True)
    assert [str(k) for k in find_sessions(tmp_path)] == ["SP1/2023-03-03/001", "lab/Subjects/SP2/2024-01-01/002"]


def test_a_root_that_is_gone_is_not_an_empty_root(tmp_path):
    with pytest.raises(MissingInputError, match="MESO_ROOT"):
        find_sessions(tmp_path / "unmounted")


def test_bouts_and_tifs_come_in_natural_order_without_the_reference(tmp_path):
    for bout in ("raw_imaging_data_10", "raw_imaging_data_02", "raw_imaging_data_02_old", "raw_sync_data"):
        (tmp_path / bout).mkdir()
    bout = tmp_path / "raw_imaging_data_02"
    (bout / "reference").mkdir()
    for name in ("a_10.tif", "a_9.tif", "reference/r.tif", "notes.txt"):
        (bout / name).touch()
    assert [b.name for b in imaging_bouts(tmp_path)] == ["raw_imaging_data_02", "raw_imaging_data_10"]
    assert [t.name for t in raw_tifs(bout)] == ["a_9.tif", "a_10.tif"]
