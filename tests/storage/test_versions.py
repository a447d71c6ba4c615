"""Replaced files are kept under their data version, listed with the reason, brought back, and removed in time."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kills import killed_at
from power_loss import watched, write_tree

from meso_core.errors import MissingInputError, SettingsError, StorageError
from meso_core.storage import Basis, MadeBy, Manifest, Staging, load_manifest, publish, verify_manifest
from meso_core.storage.files.hashing import hash_file
from meso_core.storage.publication.versions import KeptVersion, LocalVersions, keep_present

pytestmark = pytest.mark.usefixtures("no_flushing")

PLACES = r"alf/.+|suite2p/.+"
#: Contents of three versions; some files stay the same, some go, some come.
FILES = {
    "a": {"alf/x": b"a", "alf/FOV_00/y": b"same", "alf/only_a": b"a!"},
    "b": {"alf/x": b"b", "alf/FOV_00/y": b"same", "suite2p/plane0/z": b"b!"},
    "c": {"alf/x": b"c", "alf/FOV_00/y": b"other"},
}


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "001"
    folder.mkdir()
    return folder


def make(session: Path, name: str, *, keep: int = 9, code: str = "1") -> Manifest:
    load_manifest(session, "rois")
    if keep:
        keep_present(session, "rois")
    staging = Staging(session, "rois")
    for path, content in FILES[name].items():
        staging.write(path, content)
    made = publish(session, staging.seal(facts={"rois": 1}), Basis(code), MadeBy(f"run-{name}"), places=PLACES)
    if keep:
        of(session).clean("rois", keep)
    return made


def of(session: Path) -> LocalVersions:
    return LocalVersions(session, "SP035/2023-03-03/001")


def kept(session: Path) -> list[KeptVersion]:
    return list(of(session).listed("rois"))


def runs(session: Path) -> list[str]:
    return [version.manifest.made_by.run_id for version in kept(session) if version.manifest]


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and ".meso" not in file.relative_to(folder).parts)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def restore(session: Path, version: str) -> Manifest:
    return of(session).restore("rois", version, places=PLACES)


def test_replaced_files_are_kept_whole_and_nothing_is_kept_unasked(session):
    first = make(session, "a", keep=0)
    make(session, "b", keep=0)
    assert kept(session) == []
    assert not (session / ".meso/versions").exists()
    second = load_manifest(session, "rois")
    make(session, "c")
    (version,) = kept(session)
    assert (version.manifest, version.lacking) == (second, ())
    assert contents(session / ".meso/versions/rois" / second.data_version) == FILES["b"]
    assert contents(session) == FILES["c"]
    assert not (session / ".meso/versions/rois" / first.data_version).exists()


def test_a_version_takes_no_room_but_its_own(session):
    make(session, "a")
    before = {path: (session / path).stat().st_ino for path in FILES["a"]}
    old = make(session, "b")
    folder = session / ".meso/versions/rois" / kept(session)[0].data_version
    assert {path: (folder / path).stat().st_ino for path in FILES["a"]} == before, "moved, not copied"
    assert all((folder / path).stat().st_nlink == 1 for path in FILES["a"])
    assert verify_manifest(session, old) == ()


def test_each_version_is_listed_with_what_replaced_it_and_why(session):
    make(session, "a")
    make(session, "b", code="2")
    make(session, "c", code="2")
    newest, oldest = kept(session)
    assert (newest.manifest.made_by.run_id, newest.why_replaced) == ("run-b", "made again from the same")
    assert (oldest.manifest.made_by.run_id, oldest.why_replaced) == ("run-a", "code version 1 → 2")
    assert oldest.total_bytes == sum(map(len, FILES["a"].values()))
    assert (newest.replaced_by, oldest.replaced_by) == (load_manifest(session, "rois"), newest.manifest)
    assert of(session).assets() == ("rois",)


def test_options_of_one_run_are_told_as_the_reason(session: Path) -> None:
    make(session, "a")
    make(session, "b")
    (version,) = kept(session)
    assert version.replaced_by is not None
    chosen = replace(version.replaced_by.made_by, options={"suite2p": {"threshold_scaling": 0.7}})
    replaced = replace(version, replaced_by=replace(version.replaced_by, made_by=chosen))
    assert replaced.why_replaced == "options of the run: none → {'suite2p': {'threshold_scaling': 0.7}}"


def test_the_same_content_again_replaces_nothing(session):
    make(session, "a")
    make(session, "a", code="2")
    assert kept(session) == []
    make(session, "b")
    assert [version.manifest.basis.code_version for version in kept(session)] == ["2"], "its last record"


def test_only_so_many_are_kept_and_the_oldest_go(session):
    for name in ("a", "b", "c", "a", "b"):
        make(session, name, keep=1)
    assert runs(session) == ["run-a"]
    make(session, "c", keep=2)
    assert runs(session) == ["run-b", "run-a"]
    assert [version.manifest.made_by.run_id for version in of(session).clean("rois", 0)] == ["run-b", "run-a"]
    assert kept(session) == []
    assert contents(session) == FILES["c"]
    assert of(session).clean("frame_qc", 0) == ()


def test_restoring_is_a_publication_of_its_own_that_the_chain_shows_and_can_be_undone(session):
    first = make(session, "a")
    second = make(session, "b", code="2")
    restored = restore(session, first.data_version[:8])
    assert contents(session) == FILES["a"]
    assert restored == load_manifest(session, "rois")
    assert verify_manifest(session, restored) == ()
    assert restored.data_version == first.data_version
    assert (restored.basis, restored.made_by) == (first.basis, first.made_by), "by whom, and from what, it was made"
    assert restored.chain.previous == second.digest
    assert restored.facts == {"rois": 1, "restored_record": first.digest[:12]}
    (other,) = kept(session)
    assert other.manifest == second
    assert other.why_replaced == f"version {first.data_version[:12]} was restored"
    assert restore(session, second.data_version).chain.previous == restored.digest
    assert contents(session) == FILES["b"]
    assert runs(session) == ["run-a"]


def test_restoring_what_is_there_changes_nothing(session):
    present = make(session, "a")
    assert restore(session, present.data_version[:12]) == present


def test_what_cannot_be_restored_is_named_and_nothing_changes(session):
    first = make(session, "a")
    make(session, "b")
    for text, error, match in (
        ("0000", MissingInputError, f"kept are: {first.data_version[:12]}"),
        ("", MissingInputError, "meso versions"),
    ):
        with pytest.raises(error, match=match):
            restore(session, text)
    folder = session / ".meso/versions/rois" / first.data_version
    stat = (folder / "alf/x").stat()
    (folder / "alf/x").write_bytes(b"z")
    os.utime(folder / "alf/x", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (folder / "alf/only_a").unlink()
    with pytest.raises(StorageError, match=r"alf/only_a: missing.*alf/x: content changed|alf/x: content.*only_a: miss"):
        restore(session, first.data_version)
    assert contents(session) == FILES["b"]
    assert kept(session)[0].lacking == ("alf/only_a",)


def test_the_start_of_two_versions_is_refused(session, monkeypatch):
    make(session, "a")
    make(session, "b")
    make(session, "c")
    versions = kept(session)
    for name in versions:
        new = "ab" + name.data_version[2:]
        monkeypatch.setattr(LocalVersions, "listed", lambda *_: versions)
        object.__setattr__(name, "data_version", new)
    with pytest.raises(SettingsError, match="expected one version"):
        restore(session, "ab")


def test_a_file_that_somebody_changed_is_none_of_the_version(session):
    make(session, "a")
    keep_present(session, "rois")
    (session / "alf/only_a").write_bytes(b"mine")  # it is not among the files that come
    make(session, "b")
    (version,) = kept(session)
    assert version.lacking == ("alf/only_a",)
    assert (session / "alf/only_a").read_bytes() == b"mine"


def test_a_version_without_a_record_is_told_and_cannot_be_restored(session):
    first = make(session, "a")
    make(session, "b")
    shutil.rmtree(session / ".meso/manifests/history")
    (version,) = kept(session)
    assert (version.manifest, version.total_bytes) == (None, 0)
    assert version.why_replaced == "not known: its record is not there"
    with pytest.raises(StorageError, match="expected its record"):
        restore(session, first.data_version)


def test_without_hard_links_files_are_moved(session, monkeypatch):
    make(session, "a")

    def link(*_, **__):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", link)
    before = {path: (session / path).stat().st_ino for path in FILES["a"]}
    make(session, "b")
    (version,) = kept(session)
    folder = session / ".meso/versions/rois" / version.data_version
    assert {path: (folder / path).stat().st_ino for path in FILES["a"]} == before
    assert contents(session) == FILES["b"]
    assert contents(folder) == FILES["a"]
    restored = restore(session, version.data_version)
    assert contents(session) == FILES["a"]
    assert verify_manifest(session, restored, content=False) == ()


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_stays_at_its_place_is_neither_moved_nor_doubled(session, monkeypatch, links):
    if not links:
        refuse_links(monkeypatch)
    archive = session / "alf/archive"
    archive.parent.mkdir()
    archive.write_bytes(b"the same")

    def published(text: bytes) -> Manifest:
        keep_present(session, "rois")
        staging = Staging(session, "rois")
        staging.write("alf/x", text)
        staging.leave({"alf/archive": hash_file(archive)})
        return publish(session, staging.seal(), Basis("1"), MadeBy("run"), places=PLACES)

    before = archive.stat().st_ino
    first, second = published(b"1"), published(b"2")
    assert verify_manifest(session, second) == ()
    for version in (first, second):
        assert {file.stat().st_ino for file in session.rglob("archive")} == {before}
        (other,) = kept(session)
        assert other.lacking == ()
        assert verify_manifest(session, restore(session, other.data_version)) == ()
        assert contents(session) == {"alf/x": b"1" if version is first else b"2", "alf/archive": b"the same"}


def test_a_folder_on_another_file_system_is_kept_by_copies(session, tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    (session / "alf").symlink_to(tmp_path / "disk")
    link, rename, other = os.link, os.replace, tmp_path / "disk"

    def differ(source, target):
        return Path(source).resolve().is_relative_to(other) != Path(target).resolve().is_relative_to(other)

    def linked(source, target, **more):
        if differ(source, target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        link(source, target, **more)

    def renamed(source, target):
        if differ(source, target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(os, "replace", renamed)
    make(session, "a")
    make(session, "b")
    (version,) = kept(session)
    assert contents(session / ".meso/versions/rois" / version.data_version) == FILES["a"]
    assert restore(session, version.data_version).data_version == version.data_version
    assert (session / "alf/x").read_bytes() == b"a"


def state(session: Path) -> tuple[str, tuple[str, ...]]:
    """Run whose files are there, all of them, and the versions that are whole."""
    try:
        manifest = load_manifest(session, "rois")
    except StorageError:  # what cannot be finished says so, and then the previous one counts
        manifest = load_manifest(session, "rois")
    assert manifest is not None
    assert verify_manifest(session, manifest) == ()
    whole = []
    for version in kept(session):
        assert version.manifest is not None
        folder = session / ".meso/versions/rois" / version.data_version
        if not version.lacking:
            assert contents(folder) == FILES[version.manifest.made_by.run_id[-1]]
            whole.append(version.manifest.made_by.run_id[-1])
    assert contents(session) == FILES[manifest.made_by.run_id[-1]]
    return manifest.made_by.run_id[-1], tuple(whole)


def prepare(session: Path) -> tuple[Manifest, Manifest]:
    session.mkdir(exist_ok=True)
    return make(session, "a"), make(session, "b")


#: Every step that changes the disk comes in the night, and some of them in each run of the tests.
STEPS = pytest.mark.parametrize(
    "every", [pytest.param(5, marks=pytest.mark.sample), pytest.param(1, marks=pytest.mark.nightly)]
)


@STEPS
@pytest.mark.parametrize("links", [True, False])
def test_a_kill_at_any_step_of_a_publication_leaves_the_old_or_the_new_and_loses_no_version(
    tmp_path, monkeypatch, tried, links, every
):
    if not links:
        refuse_links(monkeypatch)
    found = set()
    for step in itertools.count(1, every):
        session = tmp_path / str(step)
        prepare(session)
        killed = killed_at(step, lambda at=session: make(at, "c", keep=2))
        found.add(state(session))
        make(session, "c", keep=2)  # goes on
        assert state(session) == ("c", ("b", "a")), f"step {step}"
        assert not list((session / ".meso/versions").rglob(".going-*"))
        shutil.rmtree(session)
        if not killed:
            break
        tried("kills at system calls: keeping a version")
    assert found == {("b", ("a",)), ("c", ("b", "a"))}


def refuse_links(monkeypatch):
    def link(*_, **__):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", link)


@STEPS
@pytest.mark.parametrize("links", [True, False])
def test_a_kill_at_any_step_of_restoring_leaves_the_present_or_the_restored_version(
    tmp_path, monkeypatch, tried, links, every
):
    if not links:
        refuse_links(monkeypatch)
    found = set()
    for step in itertools.count(1, every):
        session = tmp_path / str(step)
        first, second = prepare(session)
        killed = killed_at(step, lambda at=session, version=first.data_version: restore(at, version))
        found.add(state(session))
        restore(session, first.data_version)
        assert state(session) == ("a", ("b",)), f"step {step}"
        restore(session, second.data_version)
        assert state(session)[0] == "b"
        shutil.rmtree(session)
        if not killed:
            break
        tried("kills at system calls: restoring a version")
    assert found == {("b", ("a",)), ("a", ("b",))}


@STEPS
def test_a_kill_while_old_versions_are_removed_leaves_each_whole_or_gone(tmp_path, tried, every):
    for step in itertools.count(1, every):
        session = tmp_path / str(step)
        prepare(session)
        make(session, "c")
        killed = killed_at(step, lambda at=session: of(at).clean("rois", 0))
        assert state(session)[0] == "c"
        assert not any(version.lacking for version in kept(session))
        of(session).clean("rois", 0)
        assert list((session / ".meso/versions/rois").iterdir()) == []
        shutil.rmtree(session)
        if not killed:
            break
        tried("kills at system calls: removing versions")


def test_a_loss_of_power_leaves_the_old_or_the_new_and_loses_no_version(tmp_path: Path, tried: Any) -> None:
    session = tmp_path / "001"
    prepare(session)
    with watched(session) as disk:
        make(session, "c", keep=2)
    tried("losses of power: keeping a version", len(disk.states))
    found = set()
    for number, tree in enumerate(disk.states):
        left = write_tree(tree, tmp_path / str(number))
        found.add(state(left))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            make(left, "c", keep=2)
        assert state(left) == ("c", ("b", "a")), f"state {number}"
        shutil.rmtree(left)
    assert found == {("b", ("a",)), ("c", ("b", "a"))}
