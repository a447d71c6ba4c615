"""The scratch folder keeps its limit, and nothing that somebody uses goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from meso_core.errors import StorageError
from meso_core.storage.remote import Scratch

MB = 1 << 20


def fetched(scratch: Scratch, name: str, megabytes: int = 1, *, used: float | None = None) -> Path:
    """A mirror with one fetched file, a record, and what an unfinished run has left."""
    folder = scratch.folder / "digest" / name / "2023-03-03" / "001"
    with scratch.use(folder):
        (folder / "raw").mkdir()
        (folder / "raw" / "data.tif").write_bytes(os.urandom(megabytes * MB))
        (folder / ".meso" / "staging" / "rois").mkdir(parents=True)
        (folder / ".meso" / "staging" / "rois" / "half.npy").write_bytes(os.urandom(1000))
    if used is not None:
        os.utime(folder / ".meso" / "mirror.lock", (used, used))
    return folder


def make_room(scratch: Scratch, needed: int) -> None:
    """Look for room for another session."""
    with scratch.room(scratch.folder / "digest" / "another", needed):
        pass


def kept(folder: Path) -> bool:
    return (folder / "raw" / "data.tif").exists()


@pytest.fixture
def scratch(tmp_path):
    return Scratch(tmp_path / "scratch", limit_bytes=10 * MB)


def test_what_was_not_used_for_longest_goes_first_and_no_more_than_must(scratch):
    now = time.time()
    folders = [fetched(scratch, f"S{i}", 3, used=now - age) for i, age in enumerate((10, 30, 20))]
    make_room(scratch, MB // 2)
    assert [kept(folder) for folder in folders] == [True, True, True]
    make_room(scratch, 3 * MB)
    assert [kept(folder) for folder in folders] == [True, False, True]
    make_room(scratch, 9 * MB)
    assert [kept(folder) for folder in folders] == [False, False, False]
    assert all((folder / ".meso" / "staging" / "rois" / "half.npy").exists() for folder in folders)


def test_a_mirror_that_is_used_stays_and_the_error_says_who_uses_it(scratch):
    folder = fetched(scratch, "S0", 6)
    with scratch.use(folder), pytest.raises(StorageError, match="MESO_SCRATCH_GB") as error:
        make_room(scratch, 6 * MB)
    assert kept(folder)
    assert f"process {os.getpid()}" in str(error.value)
    assert str(folder.relative_to(scratch.folder)) in str(error.value)
    make_room(scratch, 6 * MB)
    assert not kept(folder)


HOLD = """
import sys, time
from pathlib import Path
from meso_core.storage.remote import Scratch
with Scratch(Path(sys.argv[1]), 0).use(Path(sys.argv[2])):
    print("holds", flush=True)
    time.sleep(600)
"""


def test_what_another_process_uses_stays_and_goes_when_that_is_killed(scratch):
    folder = fetched(scratch, "S0", 6)
    command = [sys.executable, "-c", HOLD, str(scratch.folder), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "holds\n"
        with pytest.raises(StorageError, match=f"process {holder.pid}"):
            make_room(scratch, 6 * MB)
        assert kept(folder)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    make_room(scratch, 6 * MB)
    assert not kept(folder)


def test_unfinished_work_goes_only_when_abandoned(scratch):
    now = time.time()
    old = fetched(scratch, "old", 1, used=now - 2 * scratch.abandoned_s)
    new = fetched(scratch, "new", 1, used=now - 0.5 * scratch.abandoned_s)
    for folder in (old, new):
        (folder / ".meso" / "staging" / "rois" / "half.npy").write_bytes(os.urandom(4 * MB))
    make_room(scratch, 5 * MB)
    assert not old.exists()
    assert (new / ".meso" / "staging" / "rois" / "half.npy").exists()
    with pytest.raises(StorageError, match="within"):
        make_room(scratch, 8 * MB)
    assert (new / ".meso" / "staging" / "rois" / "half.npy").exists()
    with scratch.use(old):  # somebody begins anew
        assert old.is_dir()


def test_more_than_the_limit_is_refused(scratch):
    with pytest.raises(StorageError, match=r"room for 0.0115 GB within 0.0105 GB.*MESO_SCRATCH_GB"):
        make_room(scratch, 11 * MB)


def test_more_than_the_disk_has_is_refused_with_another_remedy(tmp_path):
    scratch = Scratch(tmp_path / "scratch", limit_bytes=1 << 60)
    with pytest.raises(StorageError, match=r"free on this disk.*MESO_SCRATCH to a folder on a larger one"):
        make_room(scratch, 1 << 59)


def test_room_that_was_promised_is_not_given_twice(scratch):
    mine, other = scratch.folder / "a", scratch.folder / "b"
    with scratch.room(mine, 6 * MB):
        with pytest.raises(StorageError, match="about to be"), scratch.room(other, 6 * MB):
            pass
        with scratch.use(mine):
            (mine / "file").write_bytes(os.urandom(5 * MB))
        with scratch.use(mine), scratch.room(other, 3 * MB):  # what has arrived is not counted twice
            pass
    with scratch.room(other, 6 * MB):
        assert not (mine / "file").exists()


def test_promises_of_a_dead_process_do_not_count(scratch):
    child = os.fork()
    if not child:
        with scratch.room(scratch.folder / "a", 9 * MB):
            os._exit(0)
    os.waitpid(child, 0)
    make_room(scratch, 9 * MB)


def test_users_and_cleaners_at_once_never_lose_a_file_that_is_used(scratch, tried):
    stop, lost = threading.Event(), []

    def use(name):
        folder = scratch.folder / name
        while not stop.is_set():
            with scratch.use(folder):
                (folder / "file").write_bytes(b"x" * MB)
                lost.extend(name for _ in range(20) if not (folder / "file").exists())
                tried("races: a mirror used beside its cleaner")

    def clean():
        while not stop.is_set():
            try:
                make_room(Scratch(scratch.folder, limit_bytes=10 * MB, abandoned_s=-1), 10 * MB)
            except StorageError:
                continue

    threads = [threading.Thread(target=use, args=(f"S{i}",)) for i in range(3)]
    threads += [threading.Thread(target=clean) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    stop.set()
    for thread in threads:
        thread.join()
    assert lost == []
