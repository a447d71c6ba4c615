"""Networks that cut and lose answers, and servers that are killed: a transfer goes on, or is told, never half."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module

import pytest

from meso_core.errors import StorageError
from meso_core.storage.files.hashing import hash_file
from meso_core.storage.remote import (
    download,
    list_below,
    open_root,
    put_in_place,
    read_small,
    remove,
    stat,
    upload,
    write_small,
)
from meso_core.storage.remote.servers.calls import Patience
from tests.remote_roots import QUICK, fetch, new_root, random_file, server_of

#: The module, whose name the package gives to a function.
download_module = import_module("meso_core.storage.remote.transfers.download")
LARGE = 17_654_321
#: Bytes of one request of a download, where it must show what comes again.
RANGE = 1 << 20
#: So many folders that listing them takes several requests.
FOLDERS = 15


#: A second server of SFTP; what is its own is seen in ``test_transfer`` too.
NIGHTLY = pytest.param("rclone", marks=pytest.mark.nightly)


@pytest.fixture(params=["s3", "openssh", NIGHTLY])
def kind(request):
    return request.param


@pytest.fixture
def proxy(kind, request, bad_network):
    return bad_network(server_of(kind, request))


@pytest.fixture
def root(kind, proxy, request, monkeypatch):
    return new_root(kind, request, monkeypatch, port=proxy.port)


@contextmanager
def killed_and_started_again(server):
    """Kill a server now, and start it again beside the block; it runs until the block ends."""
    ended = threading.Event()

    def start():
        time.sleep(0.5)
        try:
            server.start()
        except RuntimeError:  # on a busy machine it may miss its time
            server.kill()
            server.start()
        ended.wait()  # the server ends with the thread that has started it

    server.kill()
    starting = threading.Thread(target=start)
    starting.start()
    try:
        yield
    finally:
        ended.set()
        starting.join()


def quick(kind, request, monkeypatch, port):
    return new_root(kind, request, monkeypatch, port=port, patience=QUICK)


def test_a_download_that_is_cut_goes_on(root, proxy, tmp_path, tried, monkeypatch):
    monkeypatch.setattr(download_module, "_RANGE", RANGE)
    content = random_file(tmp_path / "file", LARGE)
    there = upload(root, tmp_path / "file", "file", content=content)
    for i, after in enumerate((1000, LARGE // 3, LARGE - 100_000)):
        cuts, before = proxy.cuts, proxy.received
        proxy.cut_after(received=after)
        target = tmp_path / f"back{i}"
        download(root, "file", target, size=LARGE, sha256=content.sha256, mtime_ns=there.mtime_ns)
        assert hash_file(target) == content
        assert proxy.cuts == cuts + 1
        # but ranges that were on their way, and what the protocols add
        most = 1.1 * LARGE + download_module._AHEAD * RANGE
        assert proxy.received - before < most, "what had arrived did not come again"
        tried("bad networks: downloads that are cut")


def test_a_download_arrives_over_a_network_that_cuts_each_few_megabytes(root, proxy, tmp_path, tried):
    content = random_file(tmp_path / "file", LARGE)
    there = upload(root, tmp_path / "file", "file", content=content)
    before = proxy.cuts
    proxy.cut_after(received=LARGE // 7, again=True)
    download(root, "file", tmp_path / "back", size=LARGE, sha256=content.sha256, mtime_ns=there.mtime_ns)
    proxy.cut_after()
    assert hash_file(tmp_path / "back") == content
    assert proxy.cuts - before >= 6
    tried("bad networks: downloads that are cut")


def test_an_upload_that_is_cut_goes_on(root, proxy, tmp_path, tried):
    content = random_file(tmp_path / "file", LARGE)
    for after in (1000, LARGE // 3, LARGE - 100_000):
        cuts = proxy.cuts
        proxy.cut_after(sent=after)
        there = upload(root, tmp_path / "file", f"file{after}", content=content)
        assert proxy.cuts == cuts + 1
        fetch(root, f"file{after}", tmp_path / f"{after}", size=LARGE, sha256=content.sha256)
        assert there.size == LARGE
        tried("bad networks: uploads that are cut")
    assert len(list_below(root)) == 3, "nothing is left beside"


def test_what_was_done_before_an_answer_was_lost_is_found_done(root, proxy, tried):
    """Each call has its connection cut after each of its first answers."""
    for n in range(0, 1200, 300):
        name = f"folder/{n}"
        works = [
            partial(write_small, root, name, b"content of mine"),
            partial(put_in_place, root, name, f"{name} in place"),
            partial(remove, root, [name]),
        ]
        for work in works:
            proxy.cut_after(received=n)
            work()
            tried("bad networks: answers that are lost")
        proxy.cut_after()
        assert read_small(root, f"{name} in place", 100) == b"content of mine"
        assert stat(root, name) is None


def test_a_server_that_starts_again_is_waited_for(kind, root, request, tmp_path):
    server = server_of(kind, request)
    content = random_file(tmp_path / "file", LARGE)
    upload(root, tmp_path / "file", "file", content=content)
    with killed_and_started_again(server):
        fetch(root, "file", tmp_path / "back", size=LARGE, sha256=content.sha256)
    assert hash_file(tmp_path / "back") == content


def test_a_server_killed_half_way_through_an_upload_gets_it_whole_or_not(kind, root, proxy, request, tmp_path):
    server = server_of(kind, request)
    content = random_file(tmp_path / "file", LARGE)
    with ExitStack() as until_started:
        kill = partial(until_started.enter_context, killed_and_started_again(server))
        kills = [kill]

        def listen(done, total, what):
            if kills:
                kills.pop()()

        upload(root, tmp_path / "file", "file", content=content, progress=listen)
        assert not kills
        fetch(root, "file", tmp_path / "back", size=LARGE, sha256=content.sha256)
        assert [file.path for file in list_below(root) if not file.path.endswith(".part")] == ["file"]


def test_a_server_that_stays_away_is_named_after_a_time(root, kind, proxy, tmp_path):
    content = random_file(tmp_path / "file", 1000)
    upload(root, tmp_path / "file", "file", content=content)
    known, root = root, open_root(root.url, patience=Patience(total_s=0.4, first_s=0.05, longest_s=0.2))
    proxy.refuses = True
    proxy.cut()
    works = {
        "read": lambda: read_small(root, "file", 2000),
        "list": lambda: list_below(root),
        "look at": lambda: stat(root, "file"),
        "write": lambda: write_small(root, "other", b"x"),
        "upload": lambda: upload(root, tmp_path / "file", "other", content=content),
        "remove": lambda: remove(root, ["file"]),
    }
    for doing, work in works.items():
        begin = time.monotonic()
        with pytest.raises(StorageError, match=f"a server that can {doing} this") as error:
            work()
        assert root.url in str(error.value)
        assert "Check the network" in str(error.value)
        assert time.monotonic() - begin < 40
    proxy.refuses = False
    assert read_small(known, "file", 2000) is not None, "it works again when the network does"


def test_a_listing_that_fails_is_not_an_empty_one(kind, proxy, request, monkeypatch):
    root = quick(kind, request, monkeypatch, proxy.port)
    for i in range(FOLDERS):
        write_small(root, f"folder {i}/file", b"x")
    stop = threading.Event()

    def cut():
        while not stop.is_set():
            proxy.cut()
            time.sleep(0.02)

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        for _ in range(2):
            try:
                found = list_below(root)
            except StorageError:
                continue
            assert len(found) == FOLDERS
    finally:
        stop.set()
        cutter.join()
    assert len(list_below(root)) == FOLDERS


def test_a_slow_server_is_waited_for(root, proxy, tmp_path):
    content = random_file(tmp_path / "file", 1_000_000)
    proxy.bytes_per_s, proxy.delay_s = 1_000_000, 0.02
    began = time.monotonic()
    upload(root, tmp_path / "file", "file", content=content)
    fetch(root, "file", tmp_path / "back", size=content.size, sha256=content.sha256)
    assert time.monotonic() - began > 1, "it was slow: a second for each way"
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
