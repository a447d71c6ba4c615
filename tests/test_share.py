"""The share that other tests mount has the limits that these tests believe it has, for every program."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess

import pytest


def error_of(work) -> int | None:
    try:
        work()
    except OSError as error:
        return error.errno
    return None


def test_the_worst_share_refuses_what_shares_refuse(make_share):
    mount = make_share().mount
    file = mount / "A file.bin"
    file.write_bytes(b"content")
    with file.open("r+b") as opened:
        assert error_of(lambda: fcntl.flock(opened, fcntl.LOCK_EX)) == errno.ENOLCK
        assert error_of(lambda: fcntl.lockf(opened, fcntl.LOCK_EX)) == errno.ENOLCK
        assert error_of(file.unlink) == errno.EBUSY
        (mount / "other").write_bytes(b"")
        assert error_of(lambda: (mount / "other").replace(file)) == errno.EBUSY
    assert error_of(lambda: os.link(file, mount / "link")) == errno.EOPNOTSUPP
    assert error_of(lambda: (mount / "link").symlink_to(file)) == errno.EOPNOTSUPP
    assert error_of(lambda: file.chmod(0o600)) == errno.EPERM
    assert error_of(lambda: (mount / "a:b").write_bytes(b"")) == errno.EINVAL
    assert file.stat().st_mode & 0o777 == 0o660
    os.utime(file, ns=(0, 5_999_999_999))
    assert file.stat().st_mtime_ns == 5_000_000_000
    descriptor = os.open(mount, os.O_RDONLY)
    assert error_of(lambda: os.fsync(descriptor)) == errno.EINVAL
    os.close(descriptor)


def test_names_that_differ_in_case_are_one_name_and_keep_the_case_of_the_first(make_share):
    mount = make_share(one_case=True).mount
    (mount / "FOV_00").mkdir()
    (mount / "fov_00" / "X.npy").write_bytes(b"1")
    (mount / "Fov_00" / "x.NPY").write_bytes(b"22")
    assert [p.name for p in mount.iterdir()] == ["FOV_00"]
    assert [p.name for p in (mount / "FOV_00").iterdir()] == ["X.npy"]
    assert (mount / "FOV_00" / "X.npy").read_bytes() == b"22"
    assert error_of(lambda: (mount / "fov_00").mkdir()) == errno.EEXIST


def test_a_share_that_is_full_says_so_and_one_whose_server_is_gone_too(make_share):
    share = make_share(room=100_000)
    (share.mount / "a").write_bytes(bytes(90_000))
    assert error_of(lambda: (share.mount / "b").write_bytes(bytes(90_000))) == errno.ENOSPC
    share.hang_up()
    assert error_of(lambda: (share.mount / "a").read_bytes()) == errno.ENOTCONN
    share.kill()
    share.start()
    assert (share.mount / "a").read_bytes() == bytes(90_000)


@pytest.mark.parametrize("limits", [{}, {"no_locks": None}])
def test_other_programs_meet_the_same_limits(make_share, limits):
    mount = make_share(**limits).mount
    (mount / "a").write_bytes(b"1")
    refused = subprocess.run(["ln", mount / "a", mount / "b"], capture_output=True).returncode != 0
    assert refused == (not limits)
