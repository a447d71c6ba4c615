"""Earlier versions on a server: kept whole when they are replaced, listed, brought back, removed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from meso_core.errors import MesoWarning, MissingInputError, StorageError
from meso_core.session import SessionKey
from meso_core.storage import Basis, MadeBy, Manifest, MissingFov, Session
from meso_core.storage.remote import RemoteRoot, list_below, read_small, remove, write_small
from meso_core.storage.remote.mirrors.scratch import Scratch
from meso_core.storage.remote.sessions.store import RemoteStore
from tests.killed_calls import killed_at_request, let_claims_end
from tests.remote_roots import new_root

KEY = SessionKey.parse("SP035/2023-03-03/001")
RIG = "raw_imaging_data_00/a_00001.tif"
#: Contents of three versions; some files stay the same, some go, some come.
FILES = {
    "a": {"alf/x": b"a", "alf/FOV_00/ý": b"same", "alf/only_a": b"a!"},
    "b": {"alf/x": b"b", "alf/FOV_00/ý": b"same", "suite2p/plane0/z": b"b!"},
    "c": {"alf/x": b"cc", "alf/FOV_00/ý": b"other"},
}
Machine = Callable[[str], RemoteStore]


@pytest.fixture(params=["memory", "s3", "openssh", pytest.param("rclone", marks=pytest.mark.nightly)])
def root(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RemoteRoot:
    return new_root(request.param, request, monkeypatch)


@pytest.fixture
def machine(root: RemoteRoot, tmp_path: Path) -> Machine:
    write_small(root, f"{KEY}/{RIG}", b"tif")
    return lambda name: RemoteStore(root, Scratch(tmp_path / name, 10**9))


def make(store: RemoteStore, name: str, *, keep: int = 9, code: str = "1") -> Manifest:
    staging = store.stage(KEY, "rois")
    for path, content in FILES[name].items():
        staging.write(path, content)
    missing = {"FOV_02": MissingFov("rois", "no cells")} if name == "a" else {}
    sealed = staging.seal(facts={"rois": 1}, missing=missing)
    made = store.publish(KEY, sealed, Basis(code), MadeBy(f"run-{name}"), keep=keep > 0)
    if keep:
        store.versions(KEY).clean("rois", keep)
    return made


def content(root: RemoteRoot, below: str = "") -> dict[str, bytes | None]:
    """Files of the session, or of a folder of it, without the platform's own."""
    folder = f"{KEY}/{below}".rstrip("/")
    files = [file for file in list_below(root, folder) if not file.path.startswith((".meso/", "raw_"))]
    return {file.path: read_small(root, f"{folder}/{file.path}", 1 << 20) for file in files}


def runs(store: RemoteStore) -> list[str]:
    return [one.manifest.made_by.run_id for one in store.versions(KEY).listed("rois") if one.manifest]


def test_replaced_files_are_kept_whole_and_nothing_is_kept_unasked(machine, root):
    store = machine("one")
    make(store, "a", keep=0)
    second = make(store, "b", keep=0)
    assert store.versions(KEY).assets() == ()
    make(store, "c")
    (version,) = machine("another").versions(KEY).listed("rois")
    assert (version.manifest.digest, version.lacking) == (second.digest, ())
    assert version.why_replaced == "made again from the same"
    assert content(root, f".meso/versions/rois/{second.data_version}") == FILES["b"]
    assert content(root) == FILES["c"]


def test_a_version_is_brought_back_from_another_machine_and_that_can_be_undone(machine, root):
    store = machine("one")
    first, second = make(store, "a"), make(store, "b", code="2")
    versions = machine("another").versions(KEY)
    restored = versions.restore("rois", first.data_version[:8], places=None)
    assert content(root) == FILES["a"]
    assert (restored.basis, restored.made_by, restored.chain.previous) == (first.basis, first.made_by, second.digest)
    assert restored.facts == {"rois": 1, "restored_record": first.digest[:12]}
    assert restored.failed_here == {"FOV_02": "no cells"}, "what it lacked, it lacks"
    assert Session(KEY, store.local(KEY), store).present().broken(restored) == ()
    assert runs(store) == ["run-b"]
    assert versions.restore("rois", first.data_version, places=None) == restored, "it is there"
    assert versions.restore("rois", second.data_version, places=None).data_version == second.data_version
    assert content(root) == FILES["b"]
    assert read_small(root, f"{KEY}/{RIG}", 9) == b"tif"


def test_only_so_many_are_kept_and_the_oldest_go(machine, root):
    store = machine("one")
    for name in ("a", "b", "c", "a", "b"):
        make(store, name, keep=1)
    assert runs(store) == ["run-a"]
    gone = store.versions(KEY).clean("rois", 0)
    assert [version.manifest.made_by.run_id for version in gone] == ["run-a"]
    assert (runs(store), content(root)) == ([], FILES["b"])
    assert not list_below(root, f"{KEY}/.meso/versions")


def test_what_cannot_be_restored_is_named_and_nothing_changes(machine, root):
    store = machine("one")
    first = make(store, "a")
    make(store, "b")
    versions = store.versions(KEY)
    with pytest.raises(MissingInputError, match=f"kept are: {first.data_version[:12]}"):
        versions.restore("rois", "0000", places=None)
    kept = f"{KEY}/.meso/versions/rois/{first.data_version}"
    write_small(root, f"{kept}/alf/x", b"z")
    with pytest.raises(StorageError, match=r"alf/x.*expected 1 bytes with the hash"):
        versions.restore("rois", first.data_version, places=None)
    remove(root, [f"{kept}/alf/only_a"])
    with pytest.raises(StorageError, match="alf/only_a: missing"):
        versions.restore("rois", first.data_version, places=None)
    assert content(root) == FILES["b"]
    assert versions.listed("rois")[0].lacking == ("alf/only_a",)


def test_a_file_that_somebody_changed_is_none_of_the_version(machine, root):
    store = machine("one")
    make(store, "a")
    write_small(root, f"{KEY}/alf/only_a", b"mine")
    make(store, "b")
    (version,) = store.versions(KEY).listed("rois")
    assert version.lacking == ("alf/only_a",)
    assert content(root)["alf/only_a"] == b"mine"


@pytest.mark.parametrize("root", ["openssh"], indirect=True)
def test_a_server_that_knows_no_links_moves_what_goes_and_leaves_what_stays(machine, root, monkeypatch):
    monkeypatch.setattr(type(root.backend), "second_name", lambda *_: False)
    store = machine("one")
    first = make(store, "a")
    make(store, "b")
    (version,) = store.versions(KEY).listed("rois")
    assert version.lacking == ()
    assert set(content(root, f".meso/versions/rois/{first.data_version}")) == {"alf/x", "alf/only_a"}
    store.versions(KEY).restore("rois", first.data_version, places=None)
    assert content(root) == FILES["a"]


def publishing(store: RemoteStore) -> None:
    make(store, "b")


def restoring(store: RemoteStore) -> None:
    (chosen,) = [v.data_version for v in store.versions(KEY).listed("rois") if v.manifest.made_by.run_id == "run-b"]
    store.versions(KEY).restore("rois", chosen, places=None)


@pytest.fixture
def steps(root: RemoteRoot, machine: Machine) -> Iterator[Callable[[int], RemoteStore]]:
    """A new beginning for each step."""

    def begin(step: int) -> RemoteStore:
        for file in list_below(root, str(KEY)):
            if file.path != RIG:
                remove(root, [f"{KEY}/{file.path}"])
        return machine(f"at {step}")

    return begin


@pytest.mark.sample
@pytest.mark.parametrize("root", ["memory"], indirect=True)
@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("work", [publishing, restoring])
def test_a_kill_leaves_one_result_whole_and_loses_no_version(steps, machine, root, work, answered, tried):
    sweep(steps, machine, root, work, answered, tried, 2 + answered, 11)


@pytest.mark.nightly
@pytest.mark.parametrize("root", ["memory", "s3"], indirect=True)
@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("work", [publishing, restoring])
def test_a_kill_at_any_request_leaves_one_result_whole_and_loses_no_version(
    steps, machine, root, work, answered, tried
):
    sweep(steps, machine, root, work, answered, tried, 1, 1)


def sweep(steps, machine, root, work, answered, tried, *requests):
    """Kill at some requests (first, step)."""
    before = ("a",) if work is publishing else ("b", "a")
    for n in count(*requests):
        store = steps(n)
        made = {name: make(store, name) for name in before}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MesoWarning)
            killed = killed_at_request(n, lambda store=store: work(store), answered=answered)
            let_claims_end(root, str(KEY))
            other = machine(f"other {n}")
            present = other.manifest(KEY, "rois")
            assert content(root) == FILES[present.made_by.run_id.removeprefix("run-")]
            assert Session(KEY, other.local(KEY), other).present().broken(present) == ()
            kept = {one.data_version for one in other.versions(KEY).listed("rois") if not one.lacking}
            assert {one.data_version for one in made.values()} <= kept | {present.data_version}
            work(other) if present.made_by.run_id == "run-a" else None
        assert content(root) == FILES["b"]
        assert made["a"].data_version in {one.data_version for one in other.versions(KEY).listed("rois")}
        tried("kills on shared roots: versions, at each request")
        if not killed:
            assert n > 20
            return
