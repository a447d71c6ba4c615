"""What a session holds is listed whatever lies there: links in circles, links to where nobody may look, pipes."""

import os

import pytest

from meso_core.errors import InputFileError
from meso_core.session import GONE, SessionKey, survey_sessions
from meso_core.storage import open_store

KEY = SessionKey("SP035", "2023-03-03", "001")


@pytest.fixture
def session(others_folder):
    folder = others_folder / "Subjects" / str(KEY)
    (folder / "raw").mkdir(parents=True)
    (folder / "raw" / "a.tif").write_bytes(b"a")
    return folder


def listed(session):
    return {file.path: file.size for file in open_store(session.parents[2]).listing(KEY)}


@pytest.mark.parametrize("target", ["itself", "other/../itself", "/no/such/place", "raw/a.tif/below"])
def test_a_link_that_leads_nowhere_is_listed_as_such_and_hides_nothing(session, target):
    (session / "other").mkdir()
    (session / "itself").symlink_to(target)
    assert listed(session) == {"raw/a.tif": 1, "itself": GONE}


def test_a_link_to_where_nobody_may_look_is_listed_as_one_to_nothing(session, another_user, others_folder):
    closed = others_folder / "closed"
    (closed / "within").mkdir(parents=True)
    closed.chmod(0)
    for name in ("one", "two"):
        (session / name).symlink_to(closed / "within" / name)
    with another_user():
        assert listed(session) == {"raw/a.tif": 1, "one": GONE, "two": GONE}
    closed.chmod(0o700)


def test_a_folder_whose_names_alone_may_be_read_is_named(session, another_user):
    (session / "raw").chmod(0o744)
    with another_user(), pytest.raises(InputFileError, match=r"raw.*expected a readable folder.*Permission denied"):
        listed(session)
    (session / "raw").chmod(0o755)


@pytest.mark.parametrize("level", ["subject", "date", "number"])
def test_a_folder_that_is_a_link_in_a_circle_or_to_where_nobody_may_look_stops_no_other_session(
    session, another_user, others_folder, level
):
    closed = others_folder / "closed"
    (closed / "within").mkdir(parents=True)
    closed.chmod(0)
    beside = {"subject": session.parents[1], "date": session.parent, "number": session}[level]
    name = {"subject": "SP036", "date": "2023-03-04", "number": "002"}[level]
    beside.with_name(name).symlink_to(closed / "within")
    circle = beside.with_name({"subject": "SP037", "date": "2023-03-05", "number": "003"}[level])
    circle.symlink_to(circle.name)
    with another_user():
        survey = survey_sessions(session.parents[2])
    assert survey.sessions == (KEY,)
    assert [os.path.basename(passed.path) for passed in survey.passed_over] == [name, circle.name]  # noqa: PTH119
    assert all(passed.reason.startswith("a link to ") for passed in survey.passed_over)
    closed.chmod(0o700)
