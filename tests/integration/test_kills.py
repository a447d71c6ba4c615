"""Killed runs leave nothing behind: no byte, process, place, claim; two runs at once do not disturb each other."""

import random
import re

import killed_daemon
import pytest
from killed_on_s3 import ground_on_s3
from killed_runs import CHEAP, QUICK, SUITE2P, Ground, Tally, campaign, ground, one_kill, pairs


@pytest.fixture(scope="module")
def quick():
    with ground("multiprocess", QUICK) as made:
        yield made


def test_a_run_whose_process_is_killed_ends_whole_and_the_next_one_makes_the_same(quick, tried):
    tried("kills of whole runs: step and head, multiprocess", 2)
    quick.renew()
    assert one_kill(quick, "step", 0.0) == []
    assert "the process of this step was killed (out of memory, most often)" in quick.log()
    assert one_kill(quick, "head", quick.seconds / 2) == []
    assert quick.run_to_the_end() == []


def test_of_two_runs_of_a_session_one_works_and_the_other_says_for_whom_it_waits(quick, tried):
    tried("races: two runs of a session at once, multiprocess")
    quick.renew()
    (quick.folder / "log.txt").write_text("")
    both = [quick.start(), quick.start()]
    assert [running.wait(200) for running in both] == [0, 0]
    told = quick.whole_log()
    assert re.search(r"waiting: [\w, ]+ (is|are) made by run \w+, process \d+ on \S+, since \d\d:\d\d", told), told
    assert quick.files() == quick.want


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (".meso/claims/frame_qc.json", "claims"),
        (".meso/staging/frame_qc/alf/half.npy", "staged files"),
        ("alf/FOV_00/.mpci.times.npy.123.part", "half-written files"),
    ],
)
def test_what_a_killed_run_has_left_is_seen(tmp_path, path, kind):
    made = Ground(tmp_path, "in_process", QUICK)
    whole = made.session / ".meso/manifests/frame_qc.json"
    for file in (whole, made.session / path):
        assert made.left() == []
        file.parent.mkdir(parents=True)
        file.write_bytes(b"{}")
    (told,) = made.left()
    assert told.startswith(f"{kind} stay: ")


def test_a_run_on_a_server_that_is_killed_ends_whole_and_the_next_one_makes_the_same(s3_server, tried):
    tried("kills of whole runs: all processes of a run, in_process, on S3")
    with ground_on_s3(s3_server, "in_process", QUICK) as made:
        assert one_kill(made, "group", 0.4 * made.seconds) == []
        assert made.run_to_the_end() == []
        # and what must not be there would be seen
        published = next(path for path in made.files() if path.startswith("alf/"))
        for path in (".meso/uploading/frame_qc/0123.4567", "alf/FOV_00/stray.npy", published):
            made.put(path, b"stray")
        assert [told.split(": ")[0] for told in made.left()] == [
            "uploads or claims stay",
            f".meso/manifests/frame_qc.json does not match {published}",
            "files of no record",
        ]


@pytest.mark.nightly
def test_hundreds_of_kills_on_a_server_lose_nothing(s3_server, capsys, tried):
    random.seed("on S3")
    tally = Tally()
    with ground_on_s3(s3_server, "multiprocess", CHEAP) as made:
        campaign(made, ("group", "head", "step"), tally, seconds=7000.0, kills=200)
    told(tally, capsys, tried)
    assert tally.tried == 200


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("executor", "assets", "kinds", "kills"),
    [
        ("multiprocess", CHEAP, ("group", "head", "step"), 300),
        ("in_process", CHEAP, ("group", "head"), 100),
        ("multiprocess", SUITE2P, ("group", "head", "step", "worker"), 100),
        ("in_process", SUITE2P, ("group", "head", "worker"), 50),
    ],
)
def test_hundreds_of_kills_lose_nothing(executor, assets, kinds, kills, capsys, tried):
    random.seed(f"{executor} {kinds}")
    tally = Tally()
    with ground(executor, assets) as made:
        campaign(made, kinds, tally, seconds=7000.0, kills=kills)
    told(tally, capsys, tried)
    assert tally.tried == kills


@pytest.mark.nightly
@pytest.mark.parametrize(("assets", "races"), [(QUICK, 30), (SUITE2P, 4)])
def test_two_runs_at_once_both_end_well_and_leave_the_bytes_of_one(assets, races, capsys, tried):
    tally = Tally()
    with ground("multiprocess", assets) as made:
        pairs(made, tally, seconds=7000.0, races=races)
    told(tally, capsys, tried)
    assert tally.tried == races


@pytest.mark.nightly
def test_what_runs_under_meso_dev_comes_to_its_end_by_itself_whatever_is_killed(capsys, tried):
    tally = killed_daemon.campaign(Tally(), kills=24, port=34567)
    told(tally, capsys, tried)
    assert tally.tried == 24


def told(tally, capsys, tried):
    """Print and count the figures, and insist that nothing was lost."""
    for record in tally.records:
        tried(record.row, record.tried, record.failures)
    with capsys.disabled():
        print(f"\n{tally.table()}")
    assert tally.failures == [], tally.table()
