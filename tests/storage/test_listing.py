"""What a session holds is listed whatever lies there: links in circles, links to where nobody may look, pipes."""

import errno
import os
from contextlib import contextmanager

import pytest

from meso_core.errors import InputFileError, StorageError
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


class Failing:
    """An entry of a folder of which a share does not tell what it is."""

    def __init__(self, entry):
        self.name, self.path, self._entry = entry.name, entry.path, entry

    def is_symlink(self):
        return self._entry.is_symlink()

    def is_dir(self):
        raise OSError(errno.EIO, os.strerror(errno.EIO), self.path)

    is_file = stat = is_dir


@pytest.fixture
def fails(session):
    """``fails(name)`` lets a disk fail that is asked what the entry of this name is."""
    scan = os.scandir

    def fail(name):
        @contextmanager
        def scanned(folder):
            with scan(folder) as entries:
                yield [Failing(entry) if entry.name == name else entry for entry in entries]

        patched.setattr(os, "scandir", scanned)

    with pytest.MonkeyPatch.context() as patched:
        yield fail


@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_of_which_the_disk_does_not_tell_is_named_and_not_passed_over(session, fails, is_link):
    if is_link:
        (session / "raw" / "b.tif").symlink_to("a.tif")
    fails("b.tif" if is_link else "a.tif")
    with pytest.raises(InputFileError, match=rf"raw/{'b' if is_link else 'a'}\.tif.*Input/output error"):
        listed(session)


@pytest.mark.parametrize("level", ["subject", "date", "number"])
def test_a_folder_of_which_the_disk_does_not_tell_is_passed_over_by_name(session, fails, level):
    beside = {"subject": session.parents[1], "date": session.parent, "number": session}[level]
    name = {"subject": "SP036", "date": "2023-03-04", "number": "002"}[level]
    beside.with_name(name).mkdir()
    fails(name)
    survey = survey_sessions(session.parents[2])
    assert survey.sessions == (KEY,)
    (passed,) = survey.passed_over
    assert passed.path == str(beside.with_name(name).relative_to(session.parents[2]))
    assert passed.reason == "cannot be read: Input/output error"


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


def test_a_share_whose_server_is_gone_is_named_where_a_session_is_only_named(session, monkeypatch):
    def gone(key, root):
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN), str(root))

    monkeypatch.setattr(SessionKey, "folder", gone)
    with pytest.raises(StorageError, match="Mount the share again"):
        open_store(session.parents[2]).where(KEY, "raw/a.tif")
