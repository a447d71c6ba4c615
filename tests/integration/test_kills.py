"""Killed runs leave nothing behind: no byte, process, place, claim; two runs at once do not disturb each other."""

import random
import re

import killed_daemon
import pytest
from killed_on_s3 import ground_on_s3
from killed_runs import CHEAP, QUICK, SUITE2P, Tally, campaign, ground, one_kill, pairs


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
    assert re.search(r"waiting: \w+ is made by run \w+, process \d+ on \S+, since \d\d:\d\d", told), told
    assert quick.files() == quick.want


def test_a_run_on_a_server_that_is_killed_ends_whole_and_the_next_one_makes_the_same(s3_server, tried):
    tried("kills of whole runs: all processes of a run, in_process, on S3", 2)
    with ground_on_s3(s3_server, "in_process", QUICK) as made:
        for moment in (0.3, 0.5):
            assert one_kill(made, "group", moment * made.seconds) == []
        assert made.run_to_the_end() == []


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
