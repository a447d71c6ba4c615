"""A server that dies, a network that cuts, no room, no rights: a named error, and one whole version."""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from meso_core.errors import MesoError, StorageError
from meso_core.storage.remote.servers import filesystem
from tests.real_servers import OpenSshServer, S3Server
from tests.remote_roots import QUICK
from tests.share import Share, mounted
from tests.share_server import Limits
from tests.small_disk import fill, small_disk
from tests.storage.conformance.backends import (
    RIG,
    SERVERS,
    Backend,
    FolderBackend,
    S3Backend,
    nightly_if_remote,
    open_root,
)
from tests.storage.conformance.publications import ASSET, KEY, publish

OLD = {"alf/FOV_00/a.npy": b"old a", "alf/FOV_01/only old.npy": b"old"}
NEW = {"alf/FOV_00/a.npy": b"new a", "alf/FOV_02/new.bin": os.urandom(6_000_000)}


@pytest.fixture(params=nightly_if_remote(SERVERS))
def remote(request: pytest.FixtureRequest, make_backend: Callable[..., Backend]) -> Backend:
    """A root on a server, with a bad network before it."""
    backend = make_backend(request.param, bad=True)
    publish(backend.open(), OLD)
    return backend


def is_whole(backend: Backend) -> dict[str, bytes]:
    """Which version the root holds, once somebody has opened it."""
    store = backend.open("another")
    store.stage(KEY, ASSET)
    manifest, found = store.manifest(KEY, ASSET), backend.results()
    assert found.pop(RIG[0]) == RIG[1]
    assert manifest is not None
    assert found in (OLD, NEW)
    assert {file.path: file.size for file in manifest.files} == {path: len(text) for path, text in found.items()}
    return found


def test_a_connection_that_is_cut_now_and_then_delays_and_changes_nothing(remote: Backend) -> None:
    network, ended = remote.network, threading.Event()
    assert network is not None

    def cut() -> None:
        while not ended.wait(0.05):
            network.cut_after(sent=2_500_000)
            while network._limits and not ended.wait(0.01):
                pass

    cutting = threading.Thread(target=cut)
    cutting.start()
    try:
        publish(remote.open(), NEW, "run-2")
    finally:
        ended.set()
        cutting.join()
        network.cut_after()
    assert network.cuts
    assert is_whole(remote) == NEW


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        pytest.param(kind, share, marks=[] if (kind, share) == ("s3", 0.5) else [pytest.mark.nightly])
        for kind in SERVERS
        for share in (0.05, 0.5, 0.95)
    ],
)
def test_a_server_that_is_killed_half_way_leaves_one_whole_version(
    kind: str, share: float, make_backend: Callable[..., Backend]
) -> None:
    remote = make_backend(kind, bad=True)
    publish(remote.open(), OLD)
    network, server = remote.network, remote.server
    assert network is not None
    assert server is not None
    start, total = network.sent, sum(map(len, NEW.values()))
    network.bytes_per_s = 20e6

    def work() -> None:
        with suppress(MesoError):  # or the client outlives it
            publish(remote.open(), NEW, "run-2")

    publishing, until = threading.Thread(target=work), time.monotonic() + 30
    publishing.start()
    while network.sent - start < share * total and time.monotonic() < until:
        time.sleep(0.001)
    server.kill()
    time.sleep(1)
    server.start()  # by this thread: a server ends with the thread that started it
    publishing.join()
    network.bytes_per_s = None
    is_whole(remote)
    publish(remote.open(), NEW, "run-3")
    assert is_whole(remote) == NEW


@pytest.mark.parametrize("kind", ["s3", pytest.param("openssh", marks=pytest.mark.nightly)])
def test_a_server_that_is_gone_is_an_error_that_names_it_and_not_an_empty_root(
    kind: str, make_backend: Callable[..., Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = make_backend(kind, bad=True)
    server = remote.server
    assert server is not None
    monkeypatch.setattr(filesystem, "Patience", lambda: QUICK)
    store = remote.open()
    publish(store, OLD)
    server.kill()
    try:
        for look in (store.sessions, lambda: store.listing(KEY), lambda: store.manifests(KEY)):
            with pytest.raises(MesoError, match=r"127\.0\.0\.1|s3://"):
                look()
    finally:
        server.start()
    assert remote.open("later").sessions() == (KEY,)


def test_a_slow_server_is_waited_for(remote: Backend) -> None:
    assert remote.network is not None
    remote.network.delay_s = 0.02
    publish(remote.open(), NEW, "run-2")
    assert is_whole(remote) == NEW


def test_who_may_not_write_to_a_bucket_is_told_so(
    make_backend: Callable[..., Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make_backend("s3")
    publish(backend.open(), OLD)
    assert isinstance(backend, S3Backend)
    assert isinstance(backend.server, S3Server)
    for name, value in backend.server.environment(reader=True).items():
        monkeypatch.setenv(name, value)
    reader = backend.open("reader")
    assert (reader.local(KEY, ["alf/FOV_00/a.npy"]) / "alf/FOV_00/a.npy").read_bytes() == b"old a"
    with pytest.raises(StorageError, match=r"(?i)denied|right|permission") as raised:
        publish(reader, NEW, "run-2")
    assert backend.server.secret not in str(raised.value)
    assert backend.results() == {**OLD, RIG[0]: RIG[1]}


@contextmanager
def without_room(
    kind: str, folder: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Backend, Callable[[], object]]]:
    """A root on a disk of its own, and a function that fills the disk but for some kilobytes."""
    if kind == "s3":
        server = S3Server(folder / "server")
        with small_disk(server.folder / "data", "size=40m") as disk:
            server.start()
            try:
                yield S3Backend(server, folder / "scratch"), lambda: fill(disk, leave=500_000)
            finally:
                server.kill()
        return
    server = None if kind == "local disk" else request.getfixturevalue(f"{kind}_server")
    url = str(folder / "root") if server is None else server.new_root()
    root = Path(urlsplit(url).path if server else url)
    with small_disk(root, "size=8m") as disk:
        yield (
            FolderBackend(url, root, folder / "scratch", server.environment() if server else {}),
            lambda: fill(disk, leave=500_000),
        )


@pytest.mark.parametrize("kind", ["local disk", "openssh", pytest.param("s3", marks=pytest.mark.nightly)])
def test_a_root_without_room_is_named_and_the_old_version_stays(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "server").mkdir()
    monkeypatch.setattr(filesystem, "Patience", lambda: QUICK)
    with without_room(kind, tmp_path, request) as (backend, no_room):
        for name, value in backend.environment.items():
            monkeypatch.setenv(name, value)
        publish(backend.open(), OLD)
        no_room()
        # this S3 server tells an error of its own
        told = "internal error.*room on its disks" if kind == "s3" else r"room on (the disk|its disks).*Free space"
        with pytest.raises(StorageError, match=told):
            publish(backend.open(), NEW, "run-2")
        assert is_whole(backend) == OLD
        small = {"alf/FOV_00/a.npy": b"new a"}
        publish(backend.open(), small, "run-3")
        assert backend.results() == {**small, RIG[0]: RIG[1]}


class ReadOnlyOpenSsh(OpenSshServer):
    """OpenSSH that lets nobody write."""

    def command(self) -> list[str]:
        return [f"{part} -R" if part.endswith("internal-sftp") else part for part in super().command()]


def test_who_may_not_write_over_sftp_is_told_so(
    make_backend: Callable[..., Backend], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make_backend("openssh")
    publish(backend.open(), OLD)
    server = ReadOnlyOpenSsh(tmp_path)
    server.start()
    try:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        url = re.sub(r":\d+/", f":{server.port}/", backend.url)
        reader = open_root(url, tmp_path / "reader")
        assert (reader.local(KEY, ["alf/FOV_00/a.npy"]) / "alf/FOV_00/a.npy").read_bytes() == b"old a"
        with pytest.raises(StorageError, match="the right to do so"):
            publish(reader, NEW, "run-2")
    finally:
        server.kill()
    assert backend.results() == {**OLD, RIG[0]: RIG[1]}


@contextmanager
def full_share(folder) -> Iterator[Share]:
    with mounted(folder, Limits(room=200_000)) as share:
        yield share


def test_a_share_that_is_full_is_named_and_the_old_version_stays(tmp_path) -> None:
    with full_share(tmp_path) as share:
        backend = FolderBackend(str(share.mount), share.mount, tmp_path / "scratch", {})
        publish(backend.open(), OLD)
        with pytest.raises(StorageError, match=r"room on the disk.*Free space"):
            publish(backend.open(), NEW, "run-2")
        assert is_whole(backend) == OLD
        small = {"alf/FOV_00/a.npy": b"new a"}
        publish(backend.open(), small, "run-3")
        assert backend.results() == {**small, RIG[0]: RIG[1]}


def test_a_share_whose_server_is_gone_is_named_and_comes_back_whole(tmp_path) -> None:
    with full_share(tmp_path) as share:
        backend = FolderBackend(str(share.mount), share.mount, tmp_path / "scratch", {})
        publish(backend.open(), OLD)
        share.hang_up()
        store = backend.open()
        for look in (store.sessions, lambda: store.listing(KEY), lambda: publish(store, NEW, "run-2")):
            with pytest.raises(MesoError, match="not connected"):
                look()
        with pytest.raises(StorageError, match="Mount the share again"):
            store.stage(KEY, ASSET)
        share.kill()
        share.start()
        assert is_whole(backend) == OLD


def test_a_folder_in_which_nobody_may_write_is_named(others_folder, another_user, tmp_path) -> None:
    backend = FolderBackend(str(others_folder), others_folder, tmp_path / "scratch", {})
    store = backend.open()
    publish(store, OLD)
    with another_user(), pytest.raises(StorageError, match=r"Permission denied.*permissions"):
        publish(store, NEW, "run-2")
    assert is_whole(backend) == OLD


def test_a_share_on_which_nobody_may_write_is_named(make_backend: Callable[..., Backend]) -> None:
    backend = make_backend("share")
    share = backend.server
    assert isinstance(share, Share)
    publish(backend.open(), OLD)
    share.kill()
    share.limits = replace(share.limits, no_changes=errno.EACCES)
    share.start()
    with pytest.raises(StorageError, match=r"Permission denied.*permissions"):
        publish(backend.open(), NEW, "run-2")
    assert backend.results() == {**OLD, RIG[0]: RIG[1]}


def test_a_slow_share_is_waited_for(make_backend: Callable[..., Backend]) -> None:
    backend = make_backend("share")
    share = backend.server
    assert isinstance(share, Share)
    publish(backend.open(), OLD)
    share.kill()
    share.limits = replace(share.limits, delay_s=0.001)
    share.start()
    began = time.monotonic()
    publish(backend.open(), NEW, "run-2")
    assert time.monotonic() - began > 0.5, "it was slow"
    assert is_whole(backend) == NEW


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param((0.2, 0.7), id="two moments"),
        pytest.param([n / 20 for n in range(1, 20)], marks=pytest.mark.nightly, id="all moments"),
    ],
)
def test_a_share_whose_server_is_killed_half_way_holds_one_whole_version(
    tmp_path: Path, moments: Sequence[float]
) -> None:
    """The connection to it is cut, and restored: files that were being written are there in part, or not."""
    with mounted(tmp_path, Limits()) as share:
        backend = FolderBackend(str(share.mount), share.mount, tmp_path / "scratch", {})
        publish(backend.open(), OLD)
        began = time.monotonic()
        publish(backend.open(), NEW, "run-2")
        whole_s, told = time.monotonic() - began, list[str]()
        for moment in moments:
            publish(backend.open(), OLD)
            killing = threading.Timer(moment * whole_s, share.hang_up)
            killing.start()
            try:
                publish(backend.open(), NEW, "run-3")
            except MesoError as error:
                told.append(str(error))
            killing.join()
            share.kill()
            share.start()
            is_whole(backend)
            publish(backend.open(), NEW, "run-4")
            assert is_whole(backend) == NEW
        assert told or len(moments) < 3
        assert [text for text in told if "Mount the share again" not in text] == []
