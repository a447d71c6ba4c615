"""What a person writes means the sessions that it names, and no others."""

import pytest

from meso_core.errors import MissingInputError, SettingsError
from meso_core.session import SessionKey, choose_sessions, named_session

THERE = tuple(
    SessionKey.parse(text)
    for text in (
        "SP035/2023-03-03/001",
        "SP035/2023-03-03/002",
        "SP035/2023-04-01/001",
        "SP036/2023-03-03/001",
        "labA/Subjects/SP050/2023-05-05/001",
        "labB/Subjects/SP050/2023-05-05/001",
    )
)


def chosen(*texts, root="/data"):
    return [str(key) for key in choose_sessions(texts, THERE, root)]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("SP035/2023-03-03/001", [0]),
        ("SP035/2023-03-03/1", [0]),
        ("Subjects/SP035/2023-03-03/001/", [0]),
        ("SP035", [0, 1, 2]),
        ("SP035/", [0, 1, 2]),
        ("SP035/2023-03-03", [0, 1]),
        ("SP03*/2023-03-*", [0, 1, 3]),
        ("SP03[6-9]", [3]),
        ("*/*/002", [1]),
        ("SP050", [4, 5]),
        ("SP050/2023-05-05/001@labA", [4]),
        ("SP050/2023-05-05/1@labB/", [5]),
        ("SP050/2023-05-05@lab[B-Z]", [5]),
        ("SP0*@labA", [4]),
        ("SP035/2023-03-03/001@", [0]),
        ("/data/labA/Subjects/SP050/2023-05-05/001", [4]),
        ("labA", [4]),
        ("labB/Subjects/SP050/2023-05-05/001", [5]),
        ("/data/SP036", [3]),
        ("/data/Subjects/SP035/2023-04-01", [2]),
        ("/data/Subjects", [0, 1, 2, 3]),
        ("/data", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_text_means_the_sessions_that_it_names(text, numbers):
    assert chosen(text) == [str(THERE[number]) for number in numbers]


@pytest.mark.parametrize("text", ["SP050/2023-05-05/001", "SP050/2023-05-05/1", "SP050/2024-01-01/001"])
def test_the_name_of_one_session_that_may_mean_two_mice_is_refused(text):
    with pytest.raises(SettingsError, match=r"001@labA or SP050.*001@labB"):
        chosen("SP035", text)


def test_a_star_stays_within_one_part_of_the_path():
    with pytest.raises(MissingInputError):
        chosen("SP*003")


def test_sessions_come_in_the_order_of_the_texts_and_each_once():
    assert chosen("SP036", "SP03*") == [str(THERE[number]) for number in (3, 0, 1, 2)]


def test_a_path_through_a_link_and_one_from_here_mean_the_same(tmp_path, monkeypatch):
    (tmp_path / "disk" / "SP036").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    monkeypatch.chdir(tmp_path / "disk")
    for text, root in (("./SP036", "disk"), ("../link/SP036", "disk"), (str(tmp_path / "disk" / "SP036"), "link")):
        assert chosen(text, root=str(tmp_path / root)) == [str(THERE[3])]


HERE = [("SP036", ".", [3]), ("SP036/x", "..", [3]), ("", ".", range(6))]


@pytest.mark.parametrize(("here", "text", "numbers"), HERE)
def test_a_dot_means_the_folder_in_which_it_is_said(tmp_path, monkeypatch, here, text, numbers):
    (tmp_path / here).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / here)
    assert chosen(text, root=str(tmp_path)) == [str(THERE[number]) for number in numbers]


@pytest.mark.parametrize("text", [".", "..", "./", "./."])
def test_a_dot_beside_the_root_means_no_session(tmp_path, monkeypatch, text):
    for name in ("root", "elsewhere/deeper"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere" / "deeper")
    with pytest.raises(MissingInputError, match="found none"):
        chosen(text, root=str(tmp_path / "root"))


def test_all_texts_that_mean_no_session_are_named_with_what_is_near():
    with pytest.raises(MissingInputError, match=r"SP053, /elsewhere/SP035.* nearest .*SP035"):
        chosen("SP035", "SP053", "/elsewhere/SP035")


def test_only_the_name_of_one_session_is_one():
    assert named_session("SP035/2023-03-03/1") == THERE[0]
    assert [named_session(text) for text in ("SP035", "SP*/2023-03-03/001", "/SP035/2023-03-03/001")] == [None] * 3
