"""A file on a server that is read here and there: the bytes of that file, and few others come over the network."""

from __future__ import annotations

import os
import random

import pytest

from meso_core.errors import StorageError
from meso_core.session import ListedFile
from meso_core.storage.remote import stat, upload, write_small
from meso_core.storage.remote.transfers import ranges
from meso_core.storage.remote.transfers.ranges import ranged
from tests.remote_roots import KINDS, hash_of, new_root

SIZE = 3_000_000


@pytest.fixture(params=KINDS)
def root(request, monkeypatch):
    return new_root(request.param, request, monkeypatch)


def put(root, tmp_path, content: bytes, path: str = "folder/a file") -> ListedFile:
    (tmp_path / "file").write_bytes(content)
    return upload(root, tmp_path / "file", path, content=hash_of(content))


def test_bytes_are_those_of_the_file_wherever_they_are_read(root, tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "_KEPT", 3)  # so that blocks go, and come again
    monkeypatch.setattr(ranges, "_PIECE", 200_000)
    content, draw = os.urandom(SIZE), random.Random(0)
    there = put(root, tmp_path, content)
    with ranged(root, there.path, there) as file:
        assert file.seek(0, os.SEEK_END) == SIZE
        assert file.read(5) == b""
        for _ in range(60):
            start, n = draw.randrange(SIZE + 10), draw.choice([0, 1, 8, 300, 70_000, 300_000])
            file.seek(start)
            assert file.read(n) == content[start : start + n]
            assert file.seek(0, os.SEEK_CUR) == max(start, min(start + n, SIZE)) if n else start
        file.seek(-7, os.SEEK_END)
        buffer = bytearray(b"." * 10)
        assert file.readinto(memoryview(buffer)) == 7
        assert buffer == content[-7:] + b"..."
        file.seek(0)
        assert file.read() == content


@pytest.mark.parametrize(("stride", "width"), [(1000, 300), (300, 300), (200_000, 300), (100_000, 90_000)])
def test_ranges_at_equal_distances_come_together(root, tmp_path, stride, width):
    content, start = os.urandom(SIZE), 12_345
    n = (SIZE - start - width) // stride + 1
    there = put(root, tmp_path, content)
    with ranged(root, there.path, there) as file:
        found = file.read_evenly(start, stride, n, width)
        between = stride - width
        assert file.n_fetched <= n * width + (n * between if between < ranges._BLOCK else 0)
    starts = range(start, start + n * stride, stride)
    assert found == b"".join(content[one : one + width] for one in starts)


def test_a_block_is_fetched_once(root, tmp_path):
    content = os.urandom(SIZE)
    there = put(root, tmp_path, content)
    with ranged(root, there.path, there) as file:
        for start in (100, 5000, 100, 60_000):
            file.seek(start)
            assert file.read(500) == content[start : start + 500]
        assert file.n_fetched == ranges._BLOCK


@pytest.mark.parametrize("n_zeros", [0, 1_000_000, SIZE])
def test_zeros_at_the_end_show_without_reading_them(root, tmp_path, n_zeros):
    there = put(root, tmp_path, os.urandom(SIZE - n_zeros) + bytes(n_zeros))
    with ranged(root, there.path, there) as file:
        found = file.zeros_from(0)
        assert n_zeros - SIZE / ranges._PLACES - ranges._LOOK <= found <= n_zeros
        assert file.n_fetched <= ranges._PLACES * ranges._LOOK + ranges._LOOK


@pytest.mark.parametrize("change", ["shorter", "other bytes", "gone"])
def test_a_file_that_is_another_one_meanwhile_is_refused(root, tmp_path, change):
    there = put(root, tmp_path, os.urandom(SIZE))
    listed = ListedFile(there.path, there.size, there.mtime_ns - 2_000_000_000)  # times are to the second
    if change == "gone":
        listed = there
        root.call("remove", there.path, lambda server: server.remove([root.place(there.path)]))
    elif change == "shorter":
        write_small(root, there.path, b"short")

    def read() -> None:
        with ranged(root, there.path, listed) as file:
            file.seek(SIZE - 100)
            file.read(100)

    told = "no such file" if change == "gone" else "has changed since"
    with pytest.raises(StorageError, match=told) as error:
        read()
    assert f"{root.url}/{there.path}" in str(error.value)
    assert (stat(root, there.path) is None) == (change == "gone")
