"""Two runs of one session do not make one asset at once, and what a dead run claimed is free."""

import json
import multiprocessing
import os
import re
import signal
import stat
import threading
from dataclasses import replace

import dagster as dg
import pytest

from meso_assets.defs.catalogue import MADE_OF_TIFS
from meso_assets.defs.running.claims import Claims, command_id, held
from meso_assets.runs.executors.lead import Lead, interruptible
from meso_assets.runs.settings.settings import MesoSettings
from meso_core.errors import InputFileError, StorageError
from meso_core.processes import this_process


@pytest.fixture
def session(tmp_path):
    (tmp_path / "001").mkdir()
    return tmp_path / "001"


def tifs_claimed(session, command, tell):
    return held(Claims(session, command_id(command), command), str(session), MADE_OF_TIFS, tell)


def spoil(session, asset, **change):
    path = session / ".meso" / "claims" / f"{asset}.json"
    record = json.loads(path.read_text())
    record["process"].update(change)
    path.write_text(json.dumps(record))


def test_a_second_run_is_told_who_works_and_gets_nothing_of_what_it_asked_for(session):
    one, two = Claims(session, "aaaa-1"), Claims(session, "bbbb-2")
    assert one.take(["rois", "frame_times"]) == ()
    (other,) = two.take(["frame_qc", "rois"])
    me = this_process()
    assert f"rois is made by run aaaa, process {me.pid} on {me.host}, since {other.process.since[11:16]}" == str(other)
    assert Claims(session, "cccc-3").take(["frame_qc"]) == (), "two took all or nothing"


def test_a_run_has_its_own_claims_and_gives_back_what_is_made(session):
    one, two = Claims(session, "one"), Claims(session, "two")
    one.take(["rois", "frame_qc"])
    assert one.take(["rois"]) == ()
    one.give_back("rois")
    assert two.take(["rois"]) == ()
    one.give_all_back()
    assert two.take(["frame_qc"]) == ()
    one.give_all_back()
    assert [c.run_id for c in Claims(session, "three").take(["rois", "frame_qc"])] == ["two", "two"]


@pytest.mark.parametrize(("change", "free"), [({"start": 1}, True), ({"boot": "x"}, True), ({"host": "x"}, False)])
def test_the_claim_of_a_process_that_is_gone_is_free_but_not_that_of_another_machine(session, change, free):
    Claims(session, "dead").take(["rois"])
    spoil(session, "rois", **change)
    assert (Claims(session, "next").take(["rois"]) == ()) is free


def test_a_run_waits_for_the_command_that_has_the_tifs_and_others_that_read_none_do_not(session):
    with tifs_claimed(session, "meso remove-raw", lambda _: None):
        (kept,) = Claims(session, "run").take(["motion_registered_frames", "frame_times"])
        assert str(kept).startswith(f"motion_registered_frames is kept by `meso remove-raw`, {this_process()}, since ")
        assert Claims(session, "another").take(["frame_times"]) == ()
        told = []
        with pytest.raises(RuntimeError), tifs_claimed(session, "meso restore", tell_once_into(told)):
            pytest.fail("two commands have the tifs")
        assert "are kept by `meso remove-raw`" in told[0]
    assert Claims(session, "run").take(["motion_registered_frames"]) == ()


def tell_once_into(told):
    def tell(text):
        told.append(text)
        raise RuntimeError("a person who does not want to wait")

    return tell


def test_a_session_in_which_nobody_may_write_is_named(others_folder, another_user):
    session = others_folder / "001"
    (session / ".meso").mkdir(parents=True)
    (session / ".meso").chmod(0o555)
    with (
        another_user(),
        pytest.raises(StorageError, match="Check the permissions"),
        tifs_claimed(session, "x", lambda _: None),
    ):
        pass


def test_a_claim_has_the_rights_of_its_folder_whatever_the_umask(session):
    """Else the run of somebody else of the group cannot see who works."""
    session.chmod(0o2770)
    before = os.umask(0o077)
    try:
        Claims(session, "one").take(["rois"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((session / ".meso" / "claims" / "rois.json").stat().st_mode) & 0o660 == 0o660


def test_a_claim_that_may_not_be_read_is_named_and_not_taken_for_none(others_folder, another_user):
    session = others_folder / "001"
    session.mkdir()
    session.chmod(0o777)
    Claims(session, "one").take(["rois"])
    claim = session / ".meso" / "claims" / "rois.json"
    claim.chmod(0o600)
    told = r"rois\.json.*Permission denied.*the right to read it"
    with another_user(), pytest.raises(InputFileError, match=told):
        Claims(session, "two").take(["rois"])
    assert json.loads(claim.read_text())["run_id"] == "one"
    claim.chmod(0o666)  # the remedy
    with another_user():
        assert [found.run_id for found in Claims(session, "two").take(["rois"])] == ["one"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 100_000, b'{"run_id": 1}', b"\xff", b'{"process": {}}', b"0" * 10**6]
)
def test_a_file_that_is_no_claim_stops_nobody(session, content):
    Claims(session, "x").take(["rois"])
    (session / ".meso" / "claims" / "rois.json").write_bytes(content)
    assert Claims(session, "next").take(["rois"]) == ()


def test_what_a_killed_run_left_of_a_claim_is_cleared_by_the_next(session):
    folder = session / ".meso" / "claims"
    folder.mkdir(parents=True)
    for name in (".rois.json.12345.part", ".roistas.json.12345.part"):
        (folder / name).write_bytes(b"{")
    Claims(session, "one").take(["rois"])
    assert [path.name for path in folder.glob(".*.part")] == [".roistas.json.12345.part"], "that of another asset stays"


def test_a_session_that_was_moved_away_is_not_made_anew(session):
    claims = Claims(session, "one")
    claims.take(["rois"])
    session.rename(session.with_name("002"))
    claims.give_all_back()
    with pytest.raises(StorageError, match="the session is not there any more"):
        Claims(session, "two").take(["rois"])
    assert not session.exists()


def test_a_run_waits_until_the_other_has_made_it_and_tells_once_for_whom(session, monkeypatch):
    monkeypatch.setattr("meso_assets.defs.running.claims._LOOK_EVERY_S", 0.01)
    one, told = Claims(session, "one"), []
    one.take(["rois"])
    timer = threading.Timer(0.2, one.give_all_back)
    timer.start()
    two = Claims(session, "two")
    two.wait_for(["rois"], told.append)
    timer.join()
    assert len(told) == 1
    assert told[0].startswith("waiting: rois is made by run one, process ")
    assert two.take(["rois"]) == ()


def test_who_waits_for_much_that_one_run_makes_is_told_of_that_run_once(session, monkeypatch):
    monkeypatch.setattr("meso_assets.defs.running.claims._LOOK_EVERY_S", 0.01)
    one, told = Claims(session, "one"), []
    one.take(["rois", "session_qc"])
    timers = [threading.Timer(after, one.give_back, [asset]) for after, asset in ((0.1, "rois"), (0.3, "session_qc"))]
    for timer in timers:
        timer.start()
    Claims(session, "two").wait_for(["rois", "session_qc"], told.append)
    for timer in timers:
        timer.join()
    assert len(told) == 1, "that there is less to wait for is no news"
    assert told[0].startswith("waiting: rois, session_qc are made by run one, process ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_wait_ends_when_somebody_ends_it_though_dagster_keeps_signals_back(number):
    kept = []
    before = {each: signal.signal(each, lambda *_: kept.append(1)) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(KeyboardInterrupt), interruptible():
            signal.raise_signal(number)
        signal.raise_signal(number)
        assert kept == [1], "outside the wait Dagster has them again"
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _race(session, number, results):
    won = not Claims(session, f"run-{number}").take(["rois", "frame_qc"])
    results.put(won)
    multiprocessing.parent_process().join()  # stays until all have asked


def test_of_many_that_ask_at_once_one_gets_it_from_a_dead_one(session, tried):
    tried("races: runs that claim at once", 6)
    Claims(session, "dead").take(["rois"])
    spoil(session, "rois", start=1)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    racing = [context.Process(target=_race, args=(session, i, results), daemon=True) for i in range(6)]
    for process in racing:
        process.start()
    won = [results.get(timeout=20) for _ in racing]
    for process in racing:
        process.kill()
        process.join()
    assert sum(won) == 1


def test_a_claim_is_told_by_the_process_that_made_it(session):
    Claims(session, "one").take(["rois"])
    (found,) = Claims(session, "two").take(["rois"])
    assert replace(found.process, since="") == replace(this_process(), since="")


class Log:
    """What a run logs."""

    def __init__(self):
        self.warnings = []

    def warning(self, text):
        self.warnings.append(text)

    def info(self, text):
        pytest.fail(f"waits: {text}")


@pytest.mark.parametrize(
    ("number", "told"), [("002", "no such session"), ("001", "nobody keeps a second run away.*Check the permissions")]
)
def test_a_run_that_can_claim_nothing_says_why_and_goes_on(others_folder, another_user, number, told):
    (others_folder / "Subjects" / "SP035" / "2023-03-03" / "001" / ".meso").mkdir(parents=True)
    settings, log = MesoSettings(root=others_folder / "Subjects", home=others_folder), Log()
    run = dg.DagsterRun("a job", "a run", tags={"dagster/partition": f"SP035/2023-03-03/{number}"})
    with another_user():
        assert Lead(None, settings)._claims(None, run, {"rois"}, log) is None
    (text,) = log.warnings
    assert re.search(told, text), text
