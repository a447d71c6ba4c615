"""Bytes go to servers and come back as they were, whatever they are called and however many there are."""

from __future__ import annotations

import os
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from meso_core.errors import StorageError
from meso_core.storage.files.hashing import hash_file
from meso_core.storage.remote import (
    Wanted,
    children,
    download,
    download_all,
    list_below,
    put_in_place,
    read_range,
    read_small,
    remove,
    stat,
    upload,
    upload_all,
    write_small,
)
from tests.remote_roots import KINDS, REAL, fetch, hash_of, new_root, random_file, server_of

#: More than one request of a download (8 MB) and one part of an upload (16 MB), and no multiple of them.
LARGE = 17_654_321


@pytest.fixture(params=KINDS)
def root(request, monkeypatch):
    return new_root(request.param, request, monkeypatch)


@pytest.fixture(params=REAL)
def real_root(request, monkeypatch):
    return new_root(request.param, request, monkeypatch)


@pytest.mark.parametrize("size", [0, 1, 1 << 23, LARGE])
def test_bytes_are_the_same_both_ways(root, tmp_path, size):
    content = random_file(tmp_path / "here.bin", size)
    there = upload(root, tmp_path / "here.bin", "a/b/c.bin", content=content)
    assert (there.path, there.size) == ("a/b/c.bin", size)
    assert stat(root, "a/b/c.bin") == there

    target = fetch(root, "a/b/c.bin", tmp_path / "back" / "c.bin", size=size, sha256=content.sha256)
    assert hash_file(target) == content
    assert target.stat().st_mtime_ns == there.mtime_ns
    assert [path.name for path in target.parent.iterdir()] == ["c.bin"]

    unknown = download(root, "a/b/c.bin", tmp_path / "unknown.bin", size=size, mtime_ns=there.mtime_ns)
    assert hash_file(unknown) == content


NAMES = [
    "with space.bin",
    " leading and trailing ",
    "µ_ä_日本_🐭.bin",
    "e\u0301 is not \u00e9",
    "100%25.bin",
    "a+b&c=d;e,f'g\"h.bin",
    "[1]*{2}?.bin",
    "#hash",
    "~tilde",
    ".hidden",
    "x" * 200,
    "deep/" * 12 + "file",
]


def test_files_keep_their_names_whatever_these_are(root, tmp_path):
    for i, name in enumerate(NAMES):  # no backslash: SeaweedFS makes a slash of it
        (tmp_path / "file").write_bytes(b"%d" % i)
        upload(root, tmp_path / "file", f"all of them/{name}", content=hash_file(tmp_path / "file"))
    assert [file.path for file in list_below(root, "all of them")] == sorted(NAMES)
    assert [file.path for file in list_below(root)] == sorted(f"all of them/{name}" for name in NAMES)
    for i, name in enumerate(NAMES):
        assert read_small(root, f"all of them/{name}", 10) == b"%d" % i
    one_level = sorted({(name.split("/")[0], "/" in name) for name in NAMES})
    assert list(children(root, "all of them")) == one_level
    remove(root, [f"all of them/{name}" for name in NAMES])
    assert list_below(root, "all of them") == ()


def test_a_file_is_replaced_whole(root, tmp_path):
    for n in (LARGE, 5, 0, 7):
        content = random_file(tmp_path / "file", n)
        upload(root, tmp_path / "file", "one", content=content)
        assert stat(root, "one").size == n
        fetch(root, "one", tmp_path / f"back{n}", size=n, sha256=content.sha256)
    assert [file.path for file in list_below(root)] == ["one"]


def test_a_folder_that_is_not_there_lists_nothing_and_has_no_level(root):
    assert list_below(root, "nowhere") == ()
    with pytest.raises(FileNotFoundError):
        children(root, "nowhere/at all")


def test_ranges_end_where_the_file_does(root):
    write_small(root, "ten", b"0123456789")
    assert read_range(root, "ten", 3, 4) == b"3456"
    assert read_range(root, "ten", 8, 100) == b"89"
    assert read_range(root, "ten", 10, 5) == b""
    assert read_range(root, "ten", 3, 0) == b""
    with pytest.raises(FileNotFoundError):
        read_range(root, "none", 0, 5)


def test_small_files_are_read_within_a_limit(root):
    write_small(root, "ten", b"0123456789")
    assert read_small(root, "ten", 10) == b"0123456789"
    assert read_small(root, "none", 10) is None
    with pytest.raises(StorageError, match="at most 9 bytes"):
        read_small(root, "ten", 9)


def test_a_folder_is_no_file(root):
    write_small(root, "folder/file", b"x")
    assert stat(root, "folder") is None


def test_files_are_put_in_place_on_the_server(root, tmp_path):
    content = random_file(tmp_path / "file", LARGE)
    write_small(root, "old/three", b"what is replaced")
    for path in ("new folder/two", "old/three"):
        upload(root, tmp_path / "file", "one", content=content)
        assert put_in_place(root, "one", path) == stat(root, path)
        fetch(root, path, tmp_path / path, size=LARGE, sha256=content.sha256)
    remove(root, ["one"])
    assert [file.path for file in list_below(root)] == ["new folder/two", "old/three"]
    with pytest.raises(StorageError, match="no such file"):
        put_in_place(root, "one", "four")


def test_many_files_go_and_come_side_by_side_with_one_progress(root, tmp_path):
    files = [(tmp_path / f"f{i}", f"many/f{i}", random_file(tmp_path / f"f{i}", 10_000 * i)) for i in range(60)]
    total = sum(content.size for _, _, content in files)
    told: list[tuple[int, int]] = []
    seen = upload_all(root, files, progress=lambda done, of, what: told.append((done, of)))
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    wanted = [
        Wanted(file.path, tmp_path / "back" / file.path, file.size, file.mtime_ns, content.sha256)
        for file, (_, _, content) in zip(seen, files, strict=True)
    ]
    told.clear()
    got = download_all(root, wanted, progress=lambda done, of, what: told.append((done, of)))
    assert told[-1] == (total, total)
    assert [hash_file(path) for path in got] == [content for _, _, content in files]


def test_the_first_failure_ends_all(root, tmp_path):
    write_small(root, "there", b"x")
    mtime_ns = stat(root, "there").mtime_ns
    wanted = [Wanted(f"{'not ' * (i == 3)}there", tmp_path / f"{i}", 1, mtime_ns) for i in range(100)]
    with pytest.raises(StorageError, match="not there: expected a file"):
        download_all(root, wanted, workers=2)


def test_what_is_here_already_is_not_fetched_again(root, tmp_path):
    content = hash_of(b"content")
    write_small(root, "file", b"content")
    there = stat(root, "file")
    how = {"size": 7, "sha256": content.sha256, "mtime_ns": there.mtime_ns}
    download(root, "file", tmp_path / "file", **how)
    inode = (tmp_path / "file").stat().st_ino
    remove(root, ["file"])
    download(root, "file", tmp_path / "file", **how)
    assert (tmp_path / "file").stat().st_ino == inode


def test_a_file_here_of_another_size_or_time_is_fetched_again(root, tmp_path):
    write_small(root, "file", b"content")
    for spoil in (lambda path: path.write_bytes(b"c"), lambda path: os.utime(path, ns=(0, 0))):
        path = fetch(root, "file", tmp_path / "file", size=7)
        spoil(path)
        assert fetch(root, "file", path, size=7).read_bytes() == b"content"


@pytest.mark.parametrize("large", [False, True])
def test_a_damaged_file_on_the_server_is_refused_and_named(root, tmp_path, large):
    content = random_file(tmp_path / "file", LARGE if large else 1000)
    damaged = bytearray((tmp_path / "file").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    upload(root, tmp_path / "damaged", "sub/file", content=hash_file(tmp_path / "damaged"))
    with pytest.raises(StorageError, match="damaged or was replaced") as error:
        fetch(root, "sub/file", tmp_path / "back", size=content.size, sha256=content.sha256)
    assert f"{root.url}/sub/file" in str(error.value)
    assert content.sha256 in str(error.value)
    assert not (tmp_path / "back").exists()
    assert not list(tmp_path.glob(".back*"))


@pytest.mark.parametrize("size", [6, 8])
def test_a_file_of_another_size_than_listed_is_refused(root, tmp_path, size):
    write_small(root, "file", b"content")
    with pytest.raises(StorageError, match=f"with {size} bytes, found it has changed since: 7 bytes"):
        fetch(root, "file", tmp_path / "back", size=size)
    with pytest.raises(StorageError):
        download(root, "file", tmp_path / "back", size=size, sha256=hash_of(b"content").sha256, mtime_ns=1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changes_while_it_is_fetched_is_refused(root, tmp_path, monkeypatch):
    content = random_file(tmp_path / "file", LARGE)
    upload(root, tmp_path / "file", "file", content=content)
    there = stat(root, "file")
    read, changed = root.backend.read, []

    def read_and_change(place, start, length):
        if start and not changed:
            changed.append(start)
            time.sleep(1.1)  # these servers count whole seconds
            (tmp_path / "other").write_bytes(bytes(LARGE))
            upload(root, tmp_path / "other", "file", content=hash_file(tmp_path / "other"))
        return read(place, start, length)

    monkeypatch.setattr(root.backend, "read", read_and_change, raising=False)
    with pytest.raises(StorageError, match="it has changed since"):
        download(root, "file", tmp_path / "back", size=LARGE, mtime_ns=there.mtime_ns)
    assert changed
    assert not list(tmp_path.glob("*back*"))


def test_a_file_that_changed_after_it_was_hashed_never_takes_its_name(root, tmp_path):
    for size in (1000, LARGE):
        content = random_file(tmp_path / "file", size)
        with (tmp_path / "file").open("r+b") as file:
            file.seek(size // 2)
            byte = file.read(1)
            file.seek(size // 2)
            file.write(bytes([byte[0] ^ 1]))
        with pytest.raises(StorageError, match="changed after it was hashed"):
            upload(root, tmp_path / "file", "file", content=content)
    assert list_below(root) == ()


def test_a_download_that_a_dead_process_began_goes_on(real_root, tmp_path, monkeypatch):
    content = random_file(tmp_path / "file", LARGE)
    there = upload(real_root, tmp_path / "file", "file", content=content)
    wanted = {"size": LARGE, "sha256": content.sha256, "mtime_ns": there.mtime_ns}
    child = os.fork()
    if not child:
        try:
            download(real_root, "file", tmp_path / "back", **wanted, progress=_die_half_way)
        finally:
            traceback.print_exc()
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    (part,) = tmp_path.glob(".back*.part")
    here = part.stat().st_size
    assert 0 < here < LARGE

    asked = []
    read = real_root.backend.read
    monkeypatch.setattr(
        real_root.backend, "read", lambda place, start, n: asked.append(start) or read(place, start, n), raising=False
    )
    download(real_root, "file", tmp_path / "back", **wanted)
    assert hash_file(tmp_path / "back") == content
    assert min(asked) == here


def _die_half_way(done, total, what):
    if done > total / 2:
        os._exit(7)


def test_a_part_that_was_damaged_here_is_fetched_again(real_root, tmp_path):
    content = random_file(tmp_path / "file", LARGE)
    there = upload(real_root, tmp_path / "file", "file", content=content)
    wanted = {"size": LARGE, "sha256": content.sha256, "mtime_ns": there.mtime_ns}

    def stop(done, total, what):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(real_root, "file", tmp_path / "back", **wanted, progress=stop)
    (part,) = tmp_path.glob(".back*.part")
    with part.open("r+b") as file:
        file.write(b"damaged")
    download(real_root, "file", tmp_path / "back", **wanted)
    assert hash_file(tmp_path / "back") == content


def test_two_processes_that_fetch_the_same_file_fetch_it_once(real_root, tmp_path):
    content = random_file(tmp_path / "file", LARGE)
    there = upload(real_root, tmp_path / "file", "file", content=content)
    wanted = {"size": LARGE, "sha256": content.sha256, "mtime_ns": there.mtime_ns}
    with ThreadPoolExecutor(4) as pool:
        moved: list[int] = []

        def one(_):
            def listen(done, total, what):
                moved.append(done)

            return download(real_root, "file", tmp_path / "back", **wanted, progress=listen)

        assert {hash_file(path) for path in pool.map(one, range(4))} == {content}
    assert len(moved) == len(set(moved)), "no byte came twice"
    assert [path.name for path in tmp_path.iterdir() if "back" in path.name] == ["back"]


def test_zeros_take_no_room_here(real_root, tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(3 * LARGE)
        file.write(b"end")
    content = hash_file(tmp_path / "sparse")
    upload(real_root, tmp_path / "sparse", "sparse", content=content)
    path = fetch(real_root, "sparse", tmp_path / "back", size=content.size, sha256=content.sha256)
    assert hash_file(path) == content
    assert path.stat().st_blocks * 512 < content.size / 4


@pytest.mark.nightly
@pytest.mark.timeout(3000)
def test_six_gigabytes(real_root, tmp_path):
    size = 6_000_000_123
    with (tmp_path / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(size - 3)
        file.write(b"end")
    content = hash_file(tmp_path / "sparse")
    upload(real_root, tmp_path / "sparse", "sparse", content=content)
    path = fetch(real_root, "sparse", tmp_path / "back", size=size, sha256=content.sha256)
    assert path.stat().st_size == size
    remove(real_root, ["sparse"])


@pytest.mark.nightly
@pytest.mark.timeout(3000)
def test_ten_thousand_small_files(real_root, tmp_path):
    files = []
    for i in range(10_000):
        (tmp_path / f"f{i}").write_bytes(b"%d" % i)
        files.append((tmp_path / f"f{i}", f"many/{i // 100}/f {i}", hash_of(b"%d" % i)))
    upload_all(real_root, files, workers=16)
    there = list_below(real_root, "many")
    assert len(there) == len(files)
    wanted = [Wanted(f"many/{file.path}", tmp_path / "back" / file.path, file.size, file.mtime_ns) for file in there]
    download_all(real_root, wanted, workers=16)
    assert sorted(path.read_bytes() for path in (tmp_path / "back").rglob("f *")) == sorted(
        b"%d" % i for i in range(10_000)
    )
    remove(real_root, [path for _, path, _ in files])
    assert list_below(real_root, "many") == ()


def test_a_link_on_an_sftp_server_is_followed_but_not_in_a_circle(request, monkeypatch):
    root = new_root("openssh", request, monkeypatch)
    server = server_of("openssh", request)
    folder = server.served / root.base.rpartition("/")[2]
    (folder / "a").mkdir()
    (folder / "a" / "file").write_bytes(b"12345")
    (folder / "link").symlink_to("a/file")
    (folder / "folder").symlink_to("a")
    (folder / "a" / "circle").symlink_to("..")
    (folder / "gone").symlink_to("nowhere")
    found = {file.path: file.size for file in list_below(root)}
    assert found == {"a/file": 5, "link": 5, "folder/file": 5, "gone": -1}
    assert dict(children(root)) == {"a": True, "folder": True, "link": False, "gone": False}
