"""What a disk can do is found by trying, and said in words that tell what follows."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from meso_core.errors import StorageError
from meso_core.storage import file_system_of, try_file_system
from meso_core.storage.files import file_system, mounts
from meso_core.storage.files.mounts import is_network, kind_of
from meso_core.storage.files.times import same_time

S = 1_000_000_000


def test_a_local_disk_has_no_limits(tmp_path):
    found = try_file_system(tmp_path)
    assert (found.hard_links, found.locks, found.cases, found.is_network) == (True, True, True, False)
    assert found.limits == ()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("limits", "field", "value", "said"),
    [
        ({"no_links": errno.EPERM}, "hard_links", False, "no hard links"),
        ({"no_locks": errno.ENOLCK}, "locks", False, "no locks"),
        ({"one_case": True}, "cases", False, "one name for all cases"),
        ({"time_ns": S}, "time_ns", S, "times in steps of 1 s"),
        ({"time_ns": 100}, "time_ns", 100, ""),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_each_limit_of_a_share_is_found_and_said(make_share, limits, field, value, said):
    mount = make_share(**limits).mount
    found = try_file_system(mount)
    assert getattr(found, field) == value
    assert said in str(found)
    assert found.is_network
    assert not list(mount.iterdir())
    others = {"hard_links": True, "cases": True, "time_ns": 1} | {field: value}
    assert {name: getattr(found, name) for name in others} == others


def test_a_clock_that_is_off_is_said(tmp_path, monkeypatch):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    assert "a clock 3600 s ahead of this machine's" in str(try_file_system(tmp_path))


def test_a_disk_is_tried_once_by_a_process(tmp_path, monkeypatch):
    monkeypatch.setattr(file_system, "_TRIED", {})
    file_system_of(tmp_path)
    monkeypatch.setattr(file_system, "try_file_system", lambda folder: pytest.fail("tried again"))
    (tmp_path / "below").mkdir()
    file_system_of(tmp_path / "below")


def test_where_nothing_can_be_written_the_error_says_so(others_folder, another_user):
    with another_user(), pytest.raises(StorageError, match="Permission denied"):
        try_file_system(others_folder)


def test_status_says_what_the_disk_can_do(make_share, monkeypatch, tmp_path):
    from meso_assets.cli import group

    root = make_share().mount / "Subjects"
    root.mkdir()
    monkeypatch.setenv("MESO_ROOT", str(root))
    monkeypatch.setenv("MESO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(file_system, "_TRIED", {})
    said = CliRunner().invoke(group, ["status"], catch_exceptions=False).output.splitlines()[-1]
    assert said.startswith(f"disk of {root}: fuse, a network share; no hard links")
    assert "times in steps of 1 s" in said
    assert said.endswith("GB free")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("nfs4", True),
        ("cifs", True),
        ("fuse.sshfs", True),
        ("ext4", False),
        ("xfs", False),
        ("fuseblk", False),
        ("", False),
    ],
)
def test_kinds_that_several_machines_can_have_mounted(kind, expected):
    assert is_network(kind) == expected


def test_the_kind_is_that_of_the_kernel(tmp_path):
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounts = {line.split()[4]: line.partition(" - ")[2].split()[0] for line in lines}
    at = next(str(folder) for folder in (tmp_path, *tmp_path.parents) if str(folder) in mounts)
    assert kind_of(tmp_path) == mounts[at]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (5 * S + 123_456_789, 5 * S + 123_456_789, True),
        (5 * S + 123_456_789, 5 * S, True),  # rounded down
        (5 * S + 923_456_789, 6 * S, True),  # rounded up
        (5 * S + 123_456_789, 5 * S + 123_456_700, True),  # NTFS
        (5 * S + 123_456_789, 5 * S + 123_456_788, False),
        (5 * S, 6 * S, False),
        (5 * S, 7 * S + 5, False),
        (5 * S + 123_456_789, 5 * S + 124_000_001, False),
    ],
)
def test_times_are_one_where_a_file_system_has_rounded_one_of_them(one, other, expected):
    assert same_time(one, other) is same_time(other, one) is expected


def test_a_copy_on_a_disk_with_coarse_times_is_not_hashed_again(tmp_path, make_share, monkeypatch):
    """What was published on a fine clock, and is now on a coarse one, has not been touched."""
    from meso_core.session import ListedFile
    from meso_core.storage.manifests.manifest import FileRecord
    from meso_core.storage.manifests.present import difference

    record = FileRecord("alf/x", 1, "0" * 64, "", 5 * S + 123_456_789)
    coarse = make_share(time_ns=S).mount / "x"
    coarse.write_bytes(b"1")
    os.utime(coarse, ns=(record.mtime_ns, record.mtime_ns))
    there = ListedFile("alf/x", 1, coarse.stat().st_mtime_ns)
    assert there.mtime_ns == 5 * S
    assert difference(record, there, lambda: pytest.fail("hashed"), content=False) == ""
    later = ListedFile("alf/x", 1, 7 * S)
    assert "content changed" in difference(record, later, lambda: "1" * 64, content=False)


def test_a_share_at_the_number_of_a_disk_that_was_taken_out_is_known_as_a_share(tmp_path, monkeypatch):
    """Linux gives the number of a file system that is unmounted to the next one."""
    device = tmp_path.stat().st_dev
    table = tmp_path / "mountinfo"
    monkeypatch.setattr(mounts, "_MOUNTS", table)
    for kind in ("tmpfs", "nfs4", "tmpfs"):
        number = f"{os.major(device)}:{os.minor(device)}"
        table.write_text(f"36 35 {number} / {tmp_path} rw,noatime shared:1 - {kind} source rw\n")
        assert kind_of(tmp_path) == kind
