"""Claims on a root on a server: one holder at a time, and a dead one's claim ends."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from itertools import count

import pytest

from meso_core.errors import StorageError
from meso_core.processes import this_process
from meso_core.storage.remote.servers.filesystem import RemoteRoot, list_below, open_root
from meso_core.storage.remote.sessions import claims as claims_module
from meso_core.storage.remote.sessions.claims import RemoteClaims
from meso_core.storage.remote.transfers.transfer import remove, stat, write_small
from tests.other_machine import two_machines

FOLDER = "SP035/2023-03-03/001/.meso/claims"
_NUMBERS = count()


@pytest.fixture(params=["memory", "s3", "openssh"])
def root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RemoteRoot:
    if request.param == "memory":
        return open_root(f"memory://claims{next(_NUMBERS)}")
    server = request.getfixturevalue(f"{request.param}_server")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return open_root(server.new_root())


def test_one_holds_a_name_and_another_learns_who(root):
    one, other = RemoteClaims(root, FOLDER, "run-1"), RemoteClaims(root, FOLDER, "run-2")
    assert one.take(["rois", "frames"]) == ()
    (holder,) = other.take(["rois", "times"])
    assert (holder.run_id, holder.names, holder.process.pid) == (
        "run-1",
        frozenset({"rois", "frames"}),
        this_process().pid,
    )
    assert other.take(["times"]) == ()
    one.give_back("rois")
    assert other.take(["rois"]) == ()
    assert one.take(["rois"]) != ()
    one.give_all_back()
    other.give_all_back()
    assert list_below(root, FOLDER) == ()


def test_of_many_that_want_a_name_at_once_one_has_it(root):
    at_work, most, done = 0, 0, []
    lock = threading.Lock()

    def work(number: int) -> None:
        nonlocal at_work, most
        claims = RemoteClaims(root, FOLDER, f"run-{number}")
        while claims.take(["rois"]):
            time.sleep(0.01 * (1 + number))
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.05)
        with lock:
            at_work -= 1
        claims.give_all_back()
        done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (most, sorted(done)) == (1, [0, 1, 2, 3])


def test_the_claim_of_a_process_that_is_gone_ends_at_once(root):
    code = "from meso_core.processes import this_process; import json; print(json.dumps(this_process().as_record()))"
    gone = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
    record = {"names": ["rois"], "run_id": "run-1", "process": gone}
    write_small(root, f"{FOLDER}/dead.json", json.dumps(record).encode())
    assert RemoteClaims(root, FOLDER, "run-2").take(["rois"]) == ()


def test_a_holder_on_another_machine_counts_until_it_gives_no_sign_of_life(root, monkeypatch):
    elsewhere = replace(this_process(), host="rig2", machine="another")
    record = {"names": ["rois"], "run_id": "run-1", "process": elsewhere.as_record()}
    write_small(root, f"{FOLDER}/other.json", json.dumps(record).encode())
    claims = RemoteClaims(root, FOLDER, "run-2")
    (holder,) = claims.take(["rois"])
    assert holder.process.host == "rig2"
    monkeypatch.setattr(claims_module, "GONE_AFTER_S", 2.0)  # by the server's clock, which may count seconds
    time.sleep(3.2)
    assert claims.take(["rois"]) == ()
    assert [file.path for file in list_below(root, FOLDER)] == [f"{claims._token}.json"]
    claims.give_all_back()


HOLD = """
import sys, time
from meso_core.storage.remote.sessions import claims
from meso_core.storage.remote.servers.filesystem import open_root
claims.BEAT_S, claims.GONE_AFTER_S = 0.3, 3.0
held = claims.RemoteClaims(open_root(sys.argv[1]), sys.argv[2], sys.argv[3])
while held.take(["rois"]):
    time.sleep(0.1)
print(time.time(), flush=True)
sys.stdin.read()
held.insist("rois")
held.give_all_back()
print("held to the end", flush=True)
"""


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["s3", "openssh"])
def test_a_holder_that_lives_is_respected_by_a_machine_with_another_clock(kind, request, monkeypatch, tried):
    server, machines = request.getfixturevalue(f"{kind}_server"), two_machines()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    url = server.new_root()
    for leads, waits in (machines, machines[::-1]):
        with leads.run(HOLD, url, FOLDER, "run-1") as one:
            by_its_clock = float(one.stdout.readline())
            assert abs(by_its_clock - time.time() - leads.ahead_s) < 60
            with waits.run(HOLD, url, FOLDER, "run-2") as other:
                told = threading.Thread(target=other.stdout.readline)
                told.start()
                told.join(8)
                assert told.is_alive(), "it has waited for longer than silence lasts"
                assert one.communicate("")[0] == "held to the end\n"
                told.join(30)
                assert not told.is_alive()
                assert other.communicate("")[0] == "held to the end\n"
        tried(f"races: a claim on {kind} between clocks eight minutes apart")


def test_a_holder_at_work_gives_signs_of_life(root, monkeypatch):
    monkeypatch.setattr(claims_module, "BEAT_S", 0.3)
    claims = RemoteClaims(root, FOLDER, "run-1")
    assert claims.take(["rois"]) == ()
    (first,) = list_below(root, FOLDER)
    time.sleep(2.5)
    (later,) = [file for file in list_below(root, FOLDER) if file.path == first.path]
    assert later.mtime_ns > first.mtime_ns
    claims.give_all_back()
    time.sleep(0.5)
    assert list_below(root, FOLDER) == ()


def test_who_lost_a_claim_learns_it_before_anything_counts(root):
    claims = RemoteClaims(root, FOLDER, "run-1")
    claims.take(["rois"])
    claims.insist("rois")
    remove(root, [f"{FOLDER}/{claims._token}.json"])
    with pytest.raises(StorageError, match="no sign of life"):
        claims.insist("rois")
    claims.give_all_back()


def sleep_for_long(monkeypatch):
    """Let the clock of this machine tell that it has slept for ten minutes."""
    real = claims_module._now
    monkeypatch.setattr(claims_module, "_now", lambda: real() + 600)


def path_of(claims):
    return f"{FOLDER}/{claims._token}.json"


def test_a_claim_that_was_taken_over_while_its_machine_slept_does_not_come_back(root, monkeypatch):
    monkeypatch.setattr(claims_module, "BEAT_S", 0.5)
    one, other = RemoteClaims(root, FOLDER, "run-1"), RemoteClaims(root, FOLDER, "run-2")
    assert one.take(["rois", "times"]) == ()
    looked = stat(root, path_of(one))
    remove(root, [path_of(one)])  # as who sees no sign of life does
    assert other.take(["rois"]) == ()
    with monkeypatch.context() as asleep:
        asleep.setattr(claims_module, "stat", lambda root, path: looked)  # what a beat saw before it was removed
        one._renewed -= 600
        time.sleep(1.2)
        with pytest.raises(StorageError, match="no sign of life"):
            one.insist("rois")
    one.give_back("rois")
    with pytest.raises(StorageError, match="no sign of life"):
        one.take(["frames"])
    assert [file.path for file in list_below(root, FOLDER)] == [f"{other._token}.json"]
    other.insist("rois")
    one.give_all_back()
    assert one.take(["frames"]) == (), "it may begin anew"
    one.give_all_back()
    other.give_all_back()


def test_a_claim_that_a_person_removed_does_not_come_back(root, monkeypatch):
    monkeypatch.setattr(claims_module, "BEAT_S", 0.1)
    one = RemoteClaims(root, FOLDER, "run-1")
    one.take(["rois", "times"])
    remove(root, [path_of(one)])
    time.sleep(0.5)
    one.give_back("times")
    assert list_below(root, FOLDER) == ()
    with pytest.raises(StorageError, match="no sign of life"):
        one.insist("rois")
    one.give_all_back()


def test_a_sign_of_life_that_arrives_too_late_is_taken_back(root, monkeypatch):
    one = RemoteClaims(root, FOLDER, "run-1")
    one.take(["rois", "times"])
    real = claims_module.write_small

    def slow(*given):
        real(*given)
        sleep_for_long(monkeypatch)

    monkeypatch.setattr(claims_module, "write_small", slow)
    one.give_back("times")
    assert list_below(root, FOLDER) == ()
    with pytest.raises(StorageError, match="no sign of life"):
        one.insist("rois")
    one.give_all_back()


def test_a_server_that_fails_while_a_name_is_asked_for_keeps_no_claim(root, monkeypatch):
    claims = RemoteClaims(root, FOLDER, "run-1")
    real, calls = claims_module.list_below, count()

    def fail_later(*given):
        if next(calls):
            raise StorageError("away")
        return real(*given)

    with monkeypatch.context() as failing:
        failing.setattr(claims_module, "list_below", fail_later)
        with pytest.raises(StorageError, match="away"):
            claims.take(["rois"])
    assert list_below(root, FOLDER) == ()


def test_a_claim_that_is_being_written_is_left_alone(root):
    """Over SFTP it has a hidden name first: to remove that would fail its writer."""
    half = f"{FOLDER}/.0123.json.0123456789ab.part"
    write_small(root, half, b"")
    claims = RemoteClaims(root, FOLDER, "run-1")
    assert claims.take(["rois"]) == ()
    claims.give_all_back()
    assert [f"{FOLDER}/{file.path}" for file in list_below(root, FOLDER)] == [half]


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"names": 1}'])
def test_what_is_no_claim_is_in_nobodys_way(root, content):
    write_small(root, f"{FOLDER}/what.json", content)
    claims = RemoteClaims(root, FOLDER, "run-1")
    assert claims.take(["rois"]) == ()
    claims.give_all_back()
