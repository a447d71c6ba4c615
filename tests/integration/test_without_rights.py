"""An ordinary user runs sessions of which some part is closed to them: it is named, and everything else goes on."""

import os
import shutil
from contextlib import contextmanager

import pytest
from ordinary_user import ignores_rights, prefix
from warm_start import Warm

from meso_core.simulate import preset, simulate_session

KEY = "SP035/2023-03-03/001"
ASSETS = "imaging_metadata,frame_qc"


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """meso, loaded, as an ordinary user, on a root with one session; and where everything is."""
    folder = tmp_path_factory.mktemp("user")
    simulate_session(folder / "Subjects", preset("tiny"))
    own = {"ROOT": folder / "Subjects", "HOME": folder / "home", "CACHE": folder / "cache", "EXECUTOR": "in_process"}
    own |= {"ATLAS": "phantom", "ATLAS_RESOLUTION_UM": "50", "QUIET_MINUTES": "0"}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MESO_", "DAGSTER_", "COVERAGE_"))}
    started = Warm({**kept, **{f"MESO_{name}": str(value) for name, value in own.items()}}, prefix())
    yield started, folder
    started.close()


@pytest.fixture
def meso(user, tmp_path):
    """Run a command as an ordinary user; returns the exit code and what was printed."""
    started, _ = user

    def run(*arguments):
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        code = started.start(arguments, log).wait(200)
        return code, log.read_text()

    return run


@pytest.fixture
def session(user):
    _, folder = user
    session = folder / "Subjects" / KEY
    yield session
    shutil.rmtree(session / ".meso", ignore_errors=True)
    shutil.rmtree(session / "alf", ignore_errors=True)


@contextmanager
def rights(path, mode):
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


def whole(meso):
    code, told = meso("run", KEY, "--assets", ASSETS)
    assert code == 0, told


def named(told):
    assert "Traceback" not in told, told
    assert "PermissionError" not in told, told
    remedies = ("Check the permissions", "Give the platform's user the right", "that you may write", "permissions")
    return any(remedy in told for remedy in remedies)


def test_the_user_of_these_tests_is_an_ordinary_one(user, tmp_path):
    """Else they would show nothing."""
    started, _ = user
    closed, log = tmp_path / "closed", tmp_path / "log"
    closed.touch()
    with rights(closed, 0):
        assert started.start([], log, f"open({str(closed)!r})").wait(200) == 1
    assert "PermissionError" in log.read_text()
    assert not ignores_rights() or prefix()


@pytest.mark.parametrize("closed", ["raw_imaging_data_00/exptQC.mat", "raw_imaging_data_00"])
def test_a_raw_file_or_folder_that_may_not_be_read_is_named_and_opened_it_goes_on(meso, session, closed, tried):
    tried("bad inputs: no rights, as an ordinary user")
    with rights(session / closed, 0):
        code, told = meso("run", KEY, "--assets", ASSETS)
        assert code
        assert named(told), told
        assert closed in told
    whole(meso)


@pytest.mark.parametrize(
    "place",
    [
        ".",
        pytest.param(".meso", marks=pytest.mark.nightly),
        pytest.param(".meso/staging", marks=pytest.mark.nightly),
        ".meso/manifests",
        "alf",
    ],
)
def test_a_session_folder_in_which_one_may_not_write_is_named_and_left_as_it_is(meso, session, place, tried):
    tried("bad inputs: no rights, as an ordinary user")
    (session / place).mkdir(parents=True, exist_ok=True)
    before = sorted(session.rglob("*"))
    with rights(session / place, 0o555):
        code, told = meso("run", KEY, "--assets", ASSETS)
        assert code
        assert named(told), told
        new = {path.relative_to(session).parts[0] for path in session.rglob("*") if path not in before}
        assert new <= {".meso", "alf"}
        assert not list(session.glob("alf/**/*.*"))
    whole(meso)


@pytest.mark.parametrize("command", ["scan", "status", "run", "audit", "preflight", "lineage", "qc", "versions"])
def test_a_session_that_may_not_be_entered_is_named_by_each_command(meso, session, command, tried):
    tried("bad inputs: no rights, as an ordinary user")
    named = () if command in ("scan", "status", "audit") else (KEY,)
    with rights(session, 0):
        _, told = meso(command, *named)
    assert "Permission denied" in told
    assert "Traceback" not in told
    assert "unexpected" not in told


def test_a_home_in_which_one_may_not_write_is_named(meso, user, session, tried):
    tried("bad inputs: no rights, as an ordinary user")
    whole(meso)
    _, folder = user
    records = folder / "home" / "dagster_home" / "history" / "runs"
    with rights(records, 0o555):
        code, told = meso("run", KEY, "--assets", ASSETS)
    assert code
    assert named(told), told
    assert "StorageError" in told, told
    whole(meso)


def test_sessions_of_a_subject_that_may_not_be_read_are_told_and_the_others_are_listed(meso, user, session, tried):
    tried("bad inputs: no rights, as an ordinary user")
    _, folder = user
    closed = folder / "Subjects" / "SP036"
    (closed / "2023-03-03" / "001").mkdir(parents=True)
    with rights(closed, 0):
        code, told = meso("status")
        assert code == 0, told
        assert KEY in told
        assert "SP036" in told
        assert "Permission denied" in told
        whole(meso)
    shutil.rmtree(closed)
