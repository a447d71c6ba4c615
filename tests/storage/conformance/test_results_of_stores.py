"""What is published is there as it was made, and nothing else is touched, on each kind of root."""

from __future__ import annotations

import hashlib
import os

import pytest

from meso_core.errors import MissingInputError, StorageError
from meso_core.session import SessionKey
from meso_core.storage import FileRecord, MadeBy, Staging, standing
from tests.storage.conformance.backends import RIG, Backend
from tests.storage.conformance.publications import ASSET, BASIS, KEY, publish

FIRST = {"alf/FOV_00/mpci.times.npy": b"one", "alf/FOV_01/mpci.times.npy": b"two", "reports/a.json": b"{}"}
SECOND = {"alf/FOV_00/mpci.times.npy": b"another", "alf/FOV_02/x.npy": b"three"}
#: Names that labs have; a share may allow fewer.
NAMES = (
    "a name with spaces.npy",
    "µ – ümläut 中文.npy",
    "per%20cent #1 & +.npy",
    "[brackets] {and} (such).npy",
    "-a.npy",
)


def test_what_was_staged_is_what_the_root_holds(backend: Backend) -> None:
    store = backend.open()
    manifest = publish(store, FIRST)
    assert backend.results() == {**FIRST, RIG[0]: RIG[1]}
    assert {file.path: file.sha256 for file in manifest.files} == {
        path: hashlib.sha256(content).hexdigest() for path, content in FIRST.items()
    }
    assert (store.manifest(KEY, ASSET), store.published(KEY)) == (manifest, (ASSET,))


def test_another_machine_finds_the_same(backend: Backend) -> None:
    manifest = publish(backend.open("one"), FIRST)
    other = backend.open("other")
    assert other.manifest(KEY, ASSET) == manifest
    folder = other.local(KEY, FIRST)
    assert {path: (folder / path).read_bytes() for path in FIRST} == FIRST
    assert standing_of(other).is_current


def standing_of(store):
    """Whether the published result is current, from one listing."""
    from meso_core.storage import PresentFiles

    present = PresentFiles.of(store.listing(KEY), lambda path: store.sha256(KEY, path))
    return standing(present, store.manifest(KEY, ASSET), BASIS)


def test_the_listing_has_the_files_and_their_sizes_but_not_the_records(backend: Backend) -> None:
    store = backend.open()
    publish(store, FIRST)
    listed = {file.path: file.size for file in store.listing(KEY)}
    assert listed == {path: len(content) for path, content in (*FIRST.items(), RIG)}
    assert list(listed) == sorted(listed)


def test_a_session_is_found_and_one_that_is_not_there_is_an_error_that_names_it(backend: Backend) -> None:
    store = backend.open()
    assert store.sessions() == (KEY,)
    other = SessionKey.parse("SP035/2023-03-04/001")
    with pytest.raises(MissingInputError, match="SP035/2023-03-04/001"):
        store.local(other, ["alf/x.npy"])
    with pytest.raises(MissingInputError, match="2023-03-03"):
        store.local(KEY, ["alf/not made.npy"])


def test_what_was_never_published_has_no_record(backend: Backend) -> None:
    store = backend.open()
    assert (store.manifest(KEY, ASSET), store.published(KEY), dict(store.manifests(KEY))) == (None, (), {})


def test_a_new_version_replaces_the_old_one_and_removes_what_only_that_had(backend: Backend) -> None:
    store = backend.open()
    first = publish(store, FIRST)
    backend.put("alf/notes.txt", b"of a person")
    second = publish(store, SECOND, "run-2")
    assert backend.results() == {**SECOND, RIG[0]: RIG[1], "alf/notes.txt": b"of a person"}
    assert second.chain.previous == first.digest
    assert set(store.history(KEY)[ASSET]) == {first.digest}
    assert standing_of(backend.open("other")).is_current


def test_the_same_content_again_is_the_same_version(backend: Backend) -> None:
    store = backend.open()
    first, again = publish(store, FIRST), publish(store, FIRST, "run-2")
    assert first.data_version == again.data_version
    assert backend.results() == {**FIRST, RIG[0]: RIG[1]}


@pytest.mark.parametrize("when", ["before the first version", "in place of the old one"])
def test_a_file_of_somebody_else_is_never_replaced(backend: Backend, when: str) -> None:
    store, path = backend.open(), "alf/FOV_00/mpci.times.npy"
    if when != "before the first version":
        publish(store, FIRST)
        backend.remove(path)
    backend.put(path, b"of somebody else")
    before = backend.results()
    with pytest.raises(StorageError, match=r"somebody else"):
        publish(store, SECOND, "run-2")
    assert backend.results() == before
    backend.remove(path)
    publish(backend.open(), SECOND, "run-3")
    assert backend.results() == {**SECOND, RIG[0]: RIG[1]}


@pytest.mark.parametrize("edited_again", [False, True])
@pytest.mark.parametrize("path", ["alf/FOV_00/mpci.times.npy", "reports/a.json"])
def test_a_file_that_a_person_gives_up_goes_and_no_other(backend: Backend, path: str, edited_again: bool) -> None:
    store = backend.open()
    first = publish(store, FIRST)
    backend.put(path, b"edited")
    given_up = FileRecord(path, 6, hashlib.sha256(b"edited").hexdigest(), hashlib.md5(b"edited").hexdigest())
    if edited_again:
        backend.put(path, b"better")
    before, staging = backend.results(), store.stage(KEY, ASSET)
    for name, content in SECOND.items():
        staging.write(name, content)
    staging.give_up([given_up])
    if edited_again and path in SECOND:
        with pytest.raises(StorageError, match=r"somebody else"):
            store.publish(KEY, staging.seal(), BASIS, MadeBy("run-2"))
        assert backend.results() == before
        return
    second = store.publish(KEY, staging.seal(), BASIS, MadeBy("run-2"))
    left = {path: b"better"} if edited_again else {}
    assert backend.results() == {**SECOND, RIG[0]: RIG[1], **left}
    assert second.chain.previous == first.digest
    assert standing_of(backend.open("other")).is_current


@pytest.mark.parametrize("what", ["missing", "shorter", "another content of the same length"])
def test_a_file_that_was_changed_since_is_named(backend: Backend, what: str) -> None:
    publish(backend.open(), FIRST)
    path = "alf/FOV_01/mpci.times.npy"
    if what == "missing":
        backend.remove(path)
    else:
        backend.put(path, b"t" if what == "shorter" else b"TWO")
        _make_older(backend, path)
    (broken,) = standing_of(backend.open("other")).broken
    assert path in broken


def _make_older(backend: Backend, path: str) -> None:
    """Give a file another time: a change within the second does not show at a look where times are to the second."""
    if hasattr(backend, "_session"):
        time = (backend._session / path).stat().st_mtime - 3600
        os.utime(backend._session / path, (time, time))
    elif backend.url.startswith("s3:"):  # times are to the second there, and nobody can set them
        import time as clock

        clock.sleep(1.1)
        content = backend.get(path)
        assert content is not None
        backend.put(path, content)


def test_names_with_spaces_and_of_any_letters(backend: Backend) -> None:
    files = {f"alf/FOV_00/{name}": b"1" for name in NAMES} | {f"alf/{name}/{name}": b"22" for name in NAMES}
    publish(backend.open(), files)
    other = backend.open("other")
    assert backend.results() == {**files, RIG[0]: RIG[1]}
    assert {file.path for file in other.listing(KEY)} == {*files, RIG[0]}
    folder = other.local(KEY, files)
    assert {path: (folder / path).read_bytes() for path in files} == files
    assert standing_of(other).is_current


def test_an_empty_file_is_a_file(backend: Backend) -> None:
    publish(backend.open(), {"alf/empty": b"", "alf/more": b"1"})
    other = backend.open("other")
    assert (other.local(KEY, ["alf/empty"]) / "alf/empty").read_bytes() == b""
    assert standing_of(other).is_current
    backend.remove("alf/empty")
    assert standing_of(backend.open("third")).broken == ("alf/empty: missing",)


def test_several_assets_of_a_session_do_not_touch_each_other(backend: Backend) -> None:
    store = backend.open()
    publish(store, FIRST)
    publish(store, {"suite2p/plane0/F.npy": b"1"}, asset="motion_registered_frames")
    publish(store, SECOND, "run-2")
    assert backend.results() == {**SECOND, "suite2p/plane0/F.npy": b"1", RIG[0]: RIG[1]}
    assert store.published(KEY) == ("motion_registered_frames", ASSET)


def test_what_is_staged_and_not_published_is_nowhere_to_be_seen(backend: Backend) -> None:
    store = backend.open()
    staging: Staging = store.stage(KEY, ASSET)
    staging.write("alf/x.npy", b"1")
    staging.seal()
    assert {file.path for file in backend.open("other").listing(KEY)} == {RIG[0]}
    assert backend.open("other").manifest(KEY, ASSET) is None
