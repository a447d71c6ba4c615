"""A file that is moved on a server is never in neither place; nothing is overwritten, and nothing else is removed."""

from __future__ import annotations

import os

import pytest

from meso_core.errors import StorageError
from meso_core.storage.remote import RemoteRoot, list_below, read_range, stat, write_small
from meso_core.storage.remote.servers import s3_moves as moves
from meso_core.storage.remote.servers.reading import must_have
from meso_core.storage.remote.transfers.moving import move_to_new, remove_as_seen
from tests.remote_roots import KINDS, hash_of, new_root

COPYING = ("memory", "s3")


@pytest.fixture(params=KINDS)
def root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RemoteRoot:
    return new_root(request.param, request, monkeypatch)


copying = pytest.mark.parametrize("root", COPYING, indirect=True)


def content(root: RemoteRoot) -> dict[str, bytes]:
    return {file.path: read_range(root, file.path, 0, file.size) for file in list_below(root)}


@pytest.mark.parametrize("data", [b"pages of a tif", b""])
def test_a_file_is_moved_to_where_nothing_is_and_keeps_its_time_where_the_server_can(root, data):
    write_small(root, "bout/ä 1.tif", data)
    keeps = root.call("", "", lambda server: server.set_time(root.place("bout/ä 1.tif"), 1_700_000_000 * 10**9))
    copies = []
    told = lambda there, found: copies.append((there.size, found))  # noqa: E731
    assert move_to_new(root, "bout/ä 1.tif", "kept/bout/ä 1.tif", copied=told)
    assert content(root) == {"kept/bout/ä 1.tif": data}
    assert copies == ([] if keeps else [(len(data), hash_of(data).sha256)])
    assert (stat(root, "kept/bout/ä 1.tif").mtime_ns == 1_700_000_000 * 10**9) is keeps


@pytest.mark.parametrize("other", [b"another", b"as long"])
def test_nothing_is_overwritten(root, other):
    write_small(root, "one", b"my tif!")
    write_small(root, "two", other)
    assert not move_to_new(root, "one", "two")
    assert content(root) == {"one": b"my tif!", "two": other}


@copying
def test_what_a_kill_left_in_both_places_is_finished(root):
    write_small(root, "one", b"same")
    write_small(root, "two", b"same")
    assert move_to_new(root, "one", "two")
    assert content(root) == {"two": b"same"}


def test_what_is_not_there_is_told(root):
    with pytest.raises(StorageError, match="one: expected a file, found no such file"):
        move_to_new(root, "one", "two")


@copying
def test_a_copy_that_is_not_the_same_stays_beside_and_the_file_is_not_removed(root, monkeypatch):
    write_small(root, "one", b"pages")
    monkeypatch.setattr(type(root.backend), "copy_new", lambda self, source, target: self.write(target, b"pagez"))
    with pytest.raises(StorageError, match=r"expected a copy with the same content, found other content, in .*two"):
        move_to_new(root, "one", "two", sha256=hash_of(b"pages").sha256)
    assert content(root) == {"one": b"pages", "two": b"pagez"}


@copying
@pytest.mark.parametrize("when", ["read", "copied"])
def test_what_is_written_there_meanwhile_is_not_removed(root, when):
    write_small(root, "one", b"pages")
    rewrite = lambda *_: write_small(root, "one", b"NEW!!")  # noqa: E731
    with pytest.raises(StorageError, match="one: expected a file that nobody changes meanwhile"):
        move_to_new(root, "one", "two", sha256=hash_of(b"pages").sha256, **{when: rewrite})
    assert content(root) == {"one": b"NEW!!", "two": b"pages"}


@pytest.mark.parametrize("root", ["s3"], indirect=True)
@pytest.mark.parametrize("request_of", ["copy", "removal"])
def test_what_is_written_between_the_last_look_and_the_request_is_not_lost(root, monkeypatch, request_of):
    """Only the condition of the request itself can tell."""
    write_small(root, "one", b"pages")
    seen, real = must_have(root, "one"), moves._version

    def version_and_then_somebody_writes(call, place):
        found = real(call, place)
        monkeypatch.setattr(moves, "_version", real)
        write_small(root, "one", b"NEW!!")
        return found

    if request_of == "removal":
        monkeypatch.setattr(moves, "_version", version_and_then_somebody_writes)
        with pytest.raises(StorageError, match="nobody changes meanwhile"):
            remove_as_seen(root, "one", seen)
        assert content(root) == {"one": b"NEW!!"}
    else:
        write_small(root, "two", b"of the rig")
        with pytest.raises(FileExistsError):
            root.backend.copy_new(seen, root.place("two"))
        write_small(root, "one", b"NEW!!")
        with pytest.raises(FileNotFoundError):
            root.backend.copy_new(seen, root.place("three"))
        assert content(root) == {"one": b"NEW!!", "two": b"of the rig"}


@pytest.mark.parametrize("root", ["s3"], indirect=True)
def test_an_object_too_large_for_one_request_is_copied_in_parts_under_the_same_conditions(root, monkeypatch):
    monkeypatch.setattr(moves, "COPIED_AT_ONCE", 6 << 20)
    monkeypatch.setattr(moves, "COPIED_PART", 5 << 20)
    data = os.urandom((12 << 20) + 7)
    write_small(root, "large", data)
    seen = must_have(root, "large")
    assert move_to_new(root, "large", "there", sha256=hash_of(data).sha256)
    assert content(root) == {"there": data}
    write_small(root, "large", data)
    with pytest.raises(FileExistsError):
        root.backend.copy_new(must_have(root, "large"), root.place("there"))
    write_small(root, "large", data[:-1])
    with pytest.raises(FileNotFoundError):
        root.backend.copy_new(seen, root.place("elsewhere"))
    assert not list(root.backend._uploads(root.base)), "nothing is left of the uploads"


def test_a_server_that_can_move_without_a_loss_is_known(root):
    assert root.call("", "", lambda server: server.may_lose(root.place("locks"))) == ""
    assert content(root) == {}
