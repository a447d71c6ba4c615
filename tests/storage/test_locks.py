"""A lock is held by one process at a time, and ends with it, on a local disk and on a share that keeps no locks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from meso_core.processes import this_process
from meso_core.storage.files import locks
from meso_core.storage.files.locks import locked
from tests.other_machine import two_machines

COUNT = """
import sys, time
from pathlib import Path
from meso_core.storage.files.locks import locked
folder = Path(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with locked(folder / "x.lock"):
        value = int((folder / "value").read_text())
        time.sleep(0.002)
        (folder / "value").write_text(str(value + 1))
"""
HOLD = """
import sys, time
from pathlib import Path
from meso_core.storage.files.locks import locked
with locked(Path(sys.argv[1]) / "x.lock"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["local disk", "share"])
def folder(request, tmp_path, make_share) -> Path:
    return tmp_path if request.param == "local disk" else make_share().mount


def process(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def test_what_processes_do_under_the_lock_is_done_one_after_the_other(folder):
    (folder / "value").write_text("0")
    counting = [process(COUNT, folder, 25) for _ in range(4)]
    assert [one.wait() for one in counting] == [0] * 4
    for one in counting:
        one.stdout.close()
    assert (folder / "value").read_text() == "100"
    assert not list(folder.glob("*.held")) + list(folder.glob(".*.held"))


def test_a_killed_process_holds_no_lock_and_a_live_one_is_named(folder):
    holder = process(HOLD, folder)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError) as raised, locked(folder / "x.lock", wait=False):
        pass
    if not locks.keeps_locks(folder):
        assert f"process {holder.pid} on " in str(raised.value)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    started = time.monotonic()
    with locked(folder / "x.lock", wait=False):
        assert time.monotonic() - started < 1


@pytest.mark.parametrize("touches_with", ["the clock of the server", "its own clock"])
def test_machines_whose_clocks_differ_take_turns(make_share, touches_with, tried):
    """Who holds the lock is alive for the other one, though it touches its file by another clock, as on CIFS."""
    folder, machines = make_share().mount, two_machines()
    (folder / "value").write_text("0")
    beats = "import os, time\nfrom meso_core.storage.files import locks\nlocks._BEAT_S, touch = 0.01, os.utime\n"
    if touches_with == "its own clock":
        beats += "locks.os.utime = lambda file: touch(file, (time.time(),) * 2)\n"
    counting = [one.run(beats + COUNT, folder, 25) for one in (*machines, *machines)]
    assert [one.wait(60) for one in counting] == [0] * 4
    for one in counting:
        one.stdout.close()
        one.stdin.close()
    assert (folder / "value").read_text() == "100"
    tried("races: locks of a share between clocks eight minutes apart", 100)


def held_elsewhere(folder: Path) -> Path:
    """File of a process of another machine that holds the lock."""
    file = folder / ".x.lock.0123456789abcdef.held"
    file.write_text(json.dumps(this_process().as_record() | {"host": "another", "machine": "0"}))
    return file


def test_the_lock_of_another_machine_ends_when_nobody_touches_it(make_share, monkeypatch):
    folder = make_share().mount
    monkeypatch.setattr(locks, "_GONE_AFTER_S", 1.0)
    file, ended = held_elsewhere(folder), threading.Event()

    def touch() -> None:
        second = 1_000_000_000
        while not ended.wait(0.1):
            second += 1
            os.utime(file, (second, second))

    # its clock is years behind; only that it goes on counts
    monkeypatch.setattr(locks, "_OLD_S", 1e12)
    alive = threading.Thread(target=touch)
    alive.start()
    got = threading.Event()

    def wait() -> None:
        with locked(folder / "x.lock"):
            got.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not got.wait(2.5)
    ended.set()
    alive.join()
    assert got.wait(5)
    waiting.join()
    assert not file.exists()


def test_a_lock_that_a_machine_left_long_ago_is_in_nobodys_way(make_share):
    folder = make_share().mount
    file = held_elsewhere(folder)
    with pytest.raises(BlockingIOError, match="on another, since"), locked(folder / "x.lock", wait=False):
        pass
    an_hour_ago = time.time() - 3600
    os.utime(file, (an_hour_ago, an_hour_ago))
    with locked(folder / "x.lock", wait=False):
        assert not file.exists()


def test_two_who_ask_at_once_do_not_both_find_the_lock_taken(make_share):
    folder, got = make_share().mount, []
    together = threading.Barrier(2)

    def ask() -> None:
        together.wait()
        try:
            with locked(folder / "x.lock", wait=False):
                got.append(True)
                time.sleep(0.5)
        except BlockingIOError:
            got.append(False)

    for _ in range(5):
        asking = [threading.Thread(target=ask) for _ in range(2)]
        for one in asking:
            one.start()
        for one in asking:
            one.join()
    assert got.count(True) >= 5


class LeftError(Exception):
    """Leads a fork out of the block of its parent's lock."""


def fork_that_leaves() -> int:
    if child := os.fork():
        return child
    raise LeftError


def test_a_fork_holds_no_lock_of_its_parent_and_ends_none(folder):
    path = folder / "x.lock"
    until, let_end = os.pipe()
    heard, told = os.pipe()
    try:
        with locked(path):
            child = fork_that_leaves()
            assert os.read(heard, 9) == b"free"
            with pytest.raises(BlockingIOError), locked(path, wait=False):
                pass
        with locked(path, wait=False):  # though the fork lives
            pass
    except LeftError:
        try:
            os.close(let_end)
            os.write(told, b"held" if locks._BEATS._held else b"free")
            os.read(until, 1)
        finally:
            os._exit(0)
    os.close(let_end)
    os.waitpid(child, 0)
    for descriptor in (until, heard, told):
        os.close(descriptor)


def test_a_long_held_lock_is_touched(make_share, monkeypatch):
    folder = make_share().mount
    monkeypatch.setattr(locks, "_BEAT_S", 0.2)
    monkeypatch.setattr(locks, "_BEATS", locks._Beats())
    with locked(folder / "x.lock"):
        (file,) = folder.glob(".x.lock.*.held")
        os.utime(file, (1000, 1000))
        until = time.monotonic() + 5
        while file.stat().st_mtime == 1000 and time.monotonic() < until:
            time.sleep(0.05)
        assert file.stat().st_mtime > 1000


def test_a_lock_that_another_user_made_can_be_taken(others_folder, another_user):
    others_folder.chmod(0o777)
    before = os.umask(0o077)
    try:
        with locked(others_folder / "x.lock"):
            pass
    finally:
        os.umask(before)
    # nothing is taken from what is there: an old lock of another user may be read only
    (others_folder / "old.lock").write_bytes(b"")
    (others_folder / "old.lock").chmod(0o644)
    with another_user():
        for name in ("x.lock", "old.lock"):
            with locked(others_folder / name, wait=False):
                pass


def test_a_lock_that_was_given_back_while_its_share_was_away_is_free_when_it_is_there_again(make_share):
    share = make_share()
    lock = share.mount / "x.lock"

    def lose() -> None:
        with locked(lock):
            share.hang_up()

    with pytest.raises(OSError, match="not connected"):
        lose()
    share.kill()
    share.start()
    assert list(share.mount.glob(".*.held")), "its file is still there"
    with locked(lock, wait=False):
        pass
    assert not list(share.mount.glob(".*.held"))
