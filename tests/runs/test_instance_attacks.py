"""Dagster's records killed, without room, raced for: the next command goes on, and each error has a name."""

import os
import re
import shutil
import signal
import time
import warnings

import pytest
from dagster_home import INDEX, made_home, partitions, spoil
from kills import killed_at
from warm_start import Warm

from meso_assets.runs.instance import open_instance, records
from meso_assets.runs.settings.settings import load_settings
from meso_core.simulate import preset, simulate_session
from tests.small_disk import fill, small_disk, used

KEY = "SP035/2023-03-03/001"
#: More steps than any of these has.
MANY = 400


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("MESO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESO_ROOT", str(tmp_path / "Subjects"))
    return load_settings()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Home with a partition, and a backup of it; made once."""
    home = made_home(tmp_path_factory.mktemp("kept"))
    records.back_up(home)
    return home


def all_whole(home):
    return {records.what_is_wrong(home / name, thorough=True) for name in records.MAIN} == {""}


def left_overs(home):
    return [path.name for path in home.rglob(".*") if path.name.endswith((".part", ".new")) or ".part-" in path.name]


def open_fresh(settings):
    with open_instance(settings):
        pass


#: What is killed → what it does to a home, and whether the home was there before.
WORK = {
    "records made": (open_fresh, False),
    "records opened": (open_fresh, True),
    "records backed up": (lambda settings: records.back_up(settings.dagster_home), True),
    "records repaired": (lambda settings: records.repair(settings.dagster_home), True),
}


def goes_on(what, settings):
    """Do the same again after a kill, and see that it ends as without the kill."""
    home = settings.dagster_home
    if what == "records backed up":
        assert all(all_whole(backup) for backup in records.backups(home)), "a backup is whole or not there"
    if what in ("records backed up", "records repaired"):
        WORK[what][0](settings)
        assert left_overs(home) == []
    assert partitions(settings) == ([] if what == "records made" else ["kept"])
    assert all_whole(home)
    assert left_overs(home) == []


def killed_once(what, settings, kept, step):
    """Make the home, kill at a step; returns whether there was such a step."""
    shutil.rmtree(settings.home, ignore_errors=True)
    if WORK[what][1]:
        shutil.copytree(kept, settings.dagster_home)
    if what == "records repaired":
        spoil(settings.dagster_home / INDEX)
    return killed_at(step, lambda: WORK[what][0](settings))


def sweep(what, settings, kept, tried, every):
    for step in range(1, MANY, every):
        if not killed_once(what, settings, kept, step):
            return step
        tried(f"kills at system calls: {what}")
        goes_on(what, settings)
    return pytest.fail("more steps than were tried")


@pytest.mark.sample
@pytest.mark.parametrize("what", WORK)
def test_after_a_kill_the_next_command_goes_on(what, settings, kept, tried):
    assert sweep(what, settings, kept, tried, 9) > 5


@pytest.mark.nightly
@pytest.mark.parametrize("what", WORK)
def test_after_a_kill_at_any_step_the_next_command_goes_on(what, settings, kept, tried):
    assert sweep(what, settings, kept, tried, 1) > 5


@pytest.mark.nightly
def test_a_kill_at_any_moment_while_records_are_made_leaves_them_whole_or_to_be_made(settings, tried):
    """Also within what SQLite does itself."""
    began = time.monotonic()
    open_fresh(settings)
    lasts = time.monotonic() - began
    for part in range(40):
        shutil.rmtree(settings.home)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            code = 1
            try:
                open_fresh(settings)
                code = 0
            finally:
                os._exit(code)
        time.sleep(lasts * part / 40)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL), "it failed by itself, before the kill"
        tried("kills at system calls: records made, at any moment")
        goes_on("records made", settings)


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """meso, loaded, on a root with one session; and how a run leaves it."""
    folder = tmp_path_factory.mktemp("warm")
    simulate_session(folder / "Subjects", preset("tiny"))
    own = {"ROOT": folder / "Subjects", "HOME": folder / "home", "CACHE": folder / "cache", "EXECUTOR": "in_process"}
    own |= {"ATLAS": "phantom", "ATLAS_RESOLUTION_UM": "50", "QUIET_MINUTES": "0"}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MESO_", "DAGSTER_", "COVERAGE_"))}
    started = Warm({**kept, **{f"MESO_{name}": str(value) for name, value in own.items()}})
    yield started, folder
    started.close()


ASSETS = ("imaging_metadata", "frame_qc")


def run(warm, log):
    """Run two assets; returns the exit code and what was printed."""
    started, _ = warm
    log.unlink(missing_ok=True)
    code = started.start(["run", KEY, "--assets", ",".join(ASSETS)], log).wait(200)
    return code, log.read_text()


def runs_without_room(warm, tmp_path, leave, *, fresh):
    """Run with so much room left in the home, then with room; returns whether there was enough."""
    _, folder = warm
    session = folder / "Subjects" / KEY
    with small_disk(folder / "home", "size=40m") as home:
        if not fresh:
            assert run(warm, tmp_path / "first")[0] == 0
            shutil.rmtree(session / ".meso")
        filler = fill(home, leave)
        code, told = run(warm, tmp_path / "log")
        if code:
            assert re.search(r"^StorageError: .*expected .* found ", told, re.M), told
            assert "Free space" in told, told
            assert "Traceback" not in told, told
        assert not list(session.rglob("*.part*")), "nothing half-written"
        filler.unlink()
        code_with_room, told = run(warm, tmp_path / "log")
        assert code_with_room == 0, told
        assert all_whole(home / "dagster_home")
        assert {path.stem for path in (session / ".meso" / "manifests").glob("[!.]*.json")} == set(ASSETS)
        assert not list((session / ".meso" / "claims").glob("*.json"))
    shutil.rmtree(session / ".meso")
    return code == 0


@pytest.mark.parametrize(("leave", "fresh"), [pytest.param(0, True, marks=pytest.mark.nightly), (0, False)])
def test_a_home_without_room_is_named_and_with_room_it_goes_on(warm, tmp_path, leave, fresh, tried):
    tried("full disks: home of the records")
    assert not runs_without_room(warm, tmp_path, leave, fresh=fresh)


@pytest.fixture(scope="module")
def needed(warm, tmp_path_factory):
    """Bytes that a run takes in a fresh home, and in one that was there."""
    _, folder = warm
    found, log = [], tmp_path_factory.mktemp("needed") / "log"
    with small_disk(folder / "home", "size=40m") as home:
        for _ in range(2):
            before = used(home)
            assert run(warm, log)[0] == 0
            shutil.rmtree(folder / "Subjects" / KEY / ".meso")
            found.append(used(home) - before)
    return {True: found[0], False: found[1]}


@pytest.mark.nightly
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("part", [0.02, 0.05, *(tenth / 10 for tenth in range(1, 13))])
def test_a_home_that_is_full_at_any_point_is_named_and_with_room_it_goes_on(warm, needed, tmp_path, part, fresh, tried):
    """With so much of the room that a run takes; a test for each, for each is two or three runs."""
    tried("full disks: home of the records")
    ended_well = runs_without_room(warm, tmp_path, int(part * needed[fresh]), fresh=fresh)
    assert not (ended_well and part <= 0.5), "then it takes less than was measured, and the parts show little"


@pytest.mark.nightly
@pytest.mark.parametrize("fresh", [True, False])
def test_a_home_with_room_for_two_such_runs_is_enough(warm, needed, tmp_path, fresh):
    """Else the parts of the sweep would not reach to where a run comes to its end."""
    assert runs_without_room(warm, tmp_path, 2 * needed[fresh], fresh=fresh)
