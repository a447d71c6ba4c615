"""A process is told from every other, and ends with the one that started it."""

import bz2
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from meso_core.processes import ProcessId, tell_children, this_process, told_parent
from tests.conftest import unavailable

CHILD = "import sys, time; from meso_core.processes import end_with_parent; end_with_parent(); print(1, flush=True); "


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def ends(pid, within_s=5.0):
    until = time.monotonic() + within_s
    while lives(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not lives(pid)


def test_a_process_that_runs_is_not_gone_and_one_that_ended_is():
    assert not this_process().is_gone
    child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    then = replace(this_process(), pid=child.pid, start=0)
    assert not then.is_gone
    child.kill()
    child.wait()
    child.stdin.close()
    assert then.is_gone


def test_a_process_that_waits_for_its_parent_to_ask_has_ended():
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert replace(this_process(), pid=child.pid, start=0).is_gone
    child.wait()


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"start": 1}, True),  # its number was given to another one
        ({"boot": "before"}, True),  # the machine was restarted
        ({"host": "elsewhere", "start": 1}, False),
        ({"machine": "another of this name", "boot": "before"}, False),
        ({"namespace": "pid:[1]", "start": 1}, False),  # in another container
    ],
)
def test_only_the_machine_of_a_process_says_that_it_is_gone(change, gone):
    assert replace(this_process(), **change).is_gone is gone


def test_a_record_gives_the_process_back_and_nothing_else_does():
    me = this_process()
    assert ProcessId.from_record(me.as_record()) == me
    for wrong in (None, [], "1", {}, {**me.as_record(), "pid": "1"}, {**me.as_record(), "host": 1}):
        assert ProcessId.from_record(wrong) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the Linux kernel")
@pytest.mark.parametrize("parent_lives", [True, False])
def test_the_server_of_the_steps_ends_at_once_where_its_run_was_killed_before_it_could_ask_the_kernel(parent_lives):
    gone = subprocess.run([sys.executable, "-S", "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE)
    parent = os.getpid() if parent_lives else int(gone.stdout)
    code = "import meso_assets.runs.step_processes; print('goes on')"
    started = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "_MESO_STARTED_BY": str(parent)},
        capture_output=True,
        text=True,
    )
    assert (started.stdout == "goes on\n") is parent_lives, started.stderr
    assert started.stderr == ""


def test_a_process_tells_those_that_it_starts_which_one_it_is(monkeypatch):
    monkeypatch.delenv("_MESO_STARTED_BY", raising=False)
    assert told_parent() is None
    tell_children()
    child = subprocess.run(
        [sys.executable, "-c", "from meso_core.processes import told_parent; print(told_parent())"],
        stdout=subprocess.PIPE,
    )
    assert int(child.stdout) == os.getpid()
    monkeypatch.delenv("_MESO_STARTED_BY")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the Linux kernel")
def test_a_process_in_a_computation_that_never_returns_ends_with_its_killed_parent():
    # "9**9**9" holds the interpreter: no thread of the child could look whether its parent is there
    code = f"{CHILD} 9**9**9"
    parent = (
        "import subprocess, sys; "
        f"child = subprocess.Popen([sys.executable, '-c', {code!r}], stdout=subprocess.PIPE); "
        "child.stdout.readline(); print(child.pid, flush=True); input()"
    )
    running = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child = int(running.stdout.readline())
    assert lives(child)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert ends(child)


def test_a_decompressor_ends_with_the_killed_process_that_reads_from_it(tmp_path):
    if shutil.which("lbzip2") is None:
        unavailable("lbzip2", "apt install lbzip2")
    path = tmp_path / "x.bz2"
    path.write_bytes(bz2.compress(os.urandom(1 << 22)) * 2)
    code = "import sys; from pathlib import Path; from meso_core.archive.codec.lbzip2 import Lbzip2Reader\n"
    code += "reader = Lbzip2Reader(Path(sys.argv[1])); reader.read(1 << 20)\n"
    code += "print(reader._process.pid, flush=True); input()"
    command = [sys.executable, "-c", code, str(path)]
    reading = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    program = int(reading.stdout.readline())
    assert lives(program)
    reading.kill()
    reading.communicate()
    assert ends(program)
