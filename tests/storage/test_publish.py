"""A published result is the previous version or the new one, whatever happens in between."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from meso_core.errors import MesoWarning, StorageError
from meso_core.storage import (
    Basis,
    FileHash,
    MadeBy,
    Manifest,
    PackedFile,
    Staging,
    hash_file,
    load_manifest,
    verify_manifest,
)
from meso_core.storage import publish as publish_sealed
from meso_core.storage.files.hashing import sha256_of

BASIS = Basis("1", {"raw_daq": "abc"}, {"batch": 500}, {"numpy": "2.4"})
BY = MadeBy("run-1", {"numpy": "2.4"}, {"suite2p": {"tau": 1.0}})


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "SP035" / "2023-03-03" / "001"
    folder.mkdir(parents=True)
    return folder


def stage(session: Path, files: dict[str, bytes]) -> Staging:
    staging = Staging(session, "rois")
    for name, content in files.items():
        staging.write(name, content)
    return staging


def publish(
    session: Path, files: dict[str, bytes], made_by: MadeBy = BY, **contents: tuple[PackedFile, ...]
) -> Manifest:
    return publish_sealed(session, stage(session, files).seal(**contents), BASIS, made_by)


def published_files(session: Path) -> dict[str, bytes]:
    return {p.relative_to(session).as_posix(): p.read_bytes() for p in (session / "alf").rglob("*") if p.is_file()}


def test_what_was_staged_is_what_is_published(session):
    files = {"alf/FOV_00/mpci.times.npy": b"0", "alf/FOV_01/mpci.times.npy": b"11"}
    manifest = publish(session, files)
    assert published_files(session) == files
    assert load_manifest(session, "rois") == manifest
    assert (manifest.basis, manifest.made_by) == (BASIS, BY)
    assert verify_manifest(session, manifest) == ()


def test_what_lies_in_an_archive_stands_in_the_manifest_and_changes_no_version(session):
    tifs = (PackedFile("a µ.tif", 10**12, "0" * 64, "1" * 32, 2000), PackedFile("\udce9.tif", 0, "2" * 64, "", 0))
    plain = publish(session, {"raw/x.tar": b"1"})
    manifest = publish(session, {"raw/x.tar": b"1"}, contents={"raw/x.tar": tifs})
    assert load_manifest(session, "rois") == manifest
    assert manifest.contents == {"raw/x.tar": tifs}
    assert manifest.data_version == plain.data_version


@pytest.mark.parametrize(
    ("contents", "field"),
    [
        ("[]", "contents"),
        ('{"raw/x.tar": [{"name": "a"}]}', "contents.raw/x.tar.0.md5"),
        ('{"raw/x.tar": 5}', "contents.raw/x.tar"),
        ('"tifs"', "contents"),
    ],
)
def test_contents_that_are_none_are_a_named_error(session, contents, field):
    publish(session, {"raw/x.tar": b"1"})
    file = session / ".meso" / "manifests" / "rois.json"
    file.write_text(file.read_text().replace('"contents": {}', f'"contents": {contents}'))
    with pytest.raises(StorageError, match=rf"rois\.json, field '{field}': expected"):
        load_manifest(session, "rois")


def test_data_version_depends_on_content_and_paths_only(session):
    first = publish(session, {"alf/a": b"1", "alf/b": b"2"})
    other = MadeBy("run-2")
    again = publish(session, {"alf/b": b"2", "alf/a": b"1"}, other)
    swapped = publish(session, {"alf/a": b"2", "alf/b": b"1"}, other)
    assert first.data_version == again.data_version != swapped.data_version


def test_files_of_the_superseded_version_disappear_and_strangers_stay(session):
    publish(session, {"alf/FOV_00/a": b"1", "alf/FOV_01/a": b"1"})
    (session / "alf" / "notes.txt").write_bytes(b"mine")
    publish(session, {"alf/FOV_00/a": b"2"})
    assert published_files(session) == {"alf/FOV_00/a": b"2", "alf/notes.txt": b"mine"}


def test_folders_that_only_the_superseded_version_had_disappear(session):
    """An empty tree would pass for a result that is a folder."""
    old = {"alf/FOV_00/a": b"1", "raw/x.zarr/c/0/0": b"1", "raw/x.zarr/c/1/0": b"1", "raw/x.zarr/zarr.json": b"1"}
    publish(session, old)
    (session / "raw" / "tif").write_bytes(b"mine")
    publish(session, {"alf/FOV_00/a": b"2"})
    assert sorted(p.name for p in session.rglob("*") if ".meso" not in p.parts) == ["FOV_00", "a", "alf", "raw", "tif"]


def test_each_changed_or_missing_file_is_named(session):
    manifest = publish(session, {"alf/a": b"11", "alf/b": b"22", "alf/c": b"33", "alf/d": b"44"})
    (session / "alf/a").write_bytes(b"xx")
    (session / "alf/b").unlink()
    (session / "alf/c").write_bytes(b"333")
    for content in (True, False):
        findings = verify_manifest(session, manifest, content=content)
        assert [f.split(":")[0] for f in findings] == ["alf/a", "alf/b", "alf/c"]


def test_the_quick_look_trusts_a_file_of_the_same_time_and_the_deep_one_does_not(session):
    manifest = publish(session, {"alf/a": b"11"})
    stat = (session / "alf/a").stat()
    (session / "alf/a").write_bytes(b"xx")
    os.utime(session / "alf/a", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert verify_manifest(session, manifest, content=False) == ()
    assert verify_manifest(session, manifest) == ("alf/a: content changed since it was published",)


def test_the_quick_look_reads_no_file_that_was_not_touched(session, monkeypatch):
    manifest = publish(session, {"alf/a": b"11", "alf/b": b"22"})
    os.utime(session / "alf/b")
    read = []
    monkeypatch.setattr(
        "meso_core.storage.manifests.ownership.sha256_of", lambda file: read.append(file) or sha256_of(file)
    )
    assert verify_manifest(session, manifest, content=False) == (), "touched, and the same"
    assert read == [session / "alf/b"]


def test_hashes_computed_while_writing_are_taken_over_and_nothing_is_read_again(session, monkeypatch):
    staging = stage(session, {"alf/a": b"1"})
    (staging.folder / "alf" / "b").write_bytes(b"22")
    staging.know({"alf/b": FileHash(size=2, sha256="s" * 64, md5="m" * 32)})
    monkeypatch.setattr("meso_core.storage.publication.staging.hash_file", lambda *_, **__: pytest.fail("read again"))
    sealed = staging.seal()
    assert [(f.path, f.sha256) for f in sealed.files] == [("alf/a", sha256(b"1").hexdigest()), ("alf/b", "s" * 64)]


def test_a_file_that_is_not_as_large_as_it_was_written_is_refused(session):
    staging = stage(session, {"alf/a": b"1"})
    (staging.folder / "alf" / "a").write_bytes(b"longer")
    with pytest.raises(StorageError, match="the 1 bytes that were written, found 6 bytes"):
        staging.seal()


def test_the_version_of_what_is_sealed_is_that_of_what_is_published(session):
    sealed = stage(session, {"alf/a": b"1", "alf/b": b"2"}).seal()
    version = sealed.data_version
    assert publish_sealed(session, sealed, BASIS, BY).data_version == version


def test_nothing_staged_is_an_error_and_keeps_the_old(session):
    publish(session, {"alf/a": b"1"})
    with pytest.raises(StorageError, match="files of rois"):
        stage(session, {}).seal()
    assert published_files(session) == {"alf/a": b"1"}


def test_a_staged_link_is_refused(session):
    staging = stage(session, {"alf/a": b"1"})
    (staging.folder / "alf" / "b").symlink_to("/etc/passwd")
    with pytest.raises(StorageError, match="plain file"):
        staging.seal()


def test_working_files_stay_out(session):
    manifest = publish(session, {"alf/a": b"1", "alf/.log": b"x", ".tmp/b": b"x"})
    assert [f.path for f in manifest.files] == ["alf/a"]


def test_a_damaged_record_is_replaced_by_the_next_publication_and_kept_beside(session):
    publish(session, {"alf/a": b"1"})
    record = session / ".meso" / "manifests" / "rois.json"
    record.write_text("{")
    with pytest.raises(StorageError, match=r"rois\.json: expected a manifest"):
        load_manifest(session, "rois")
    with pytest.warns(MesoWarning, match="damaged record is kept"):
        again = publish(session, {"alf/b": b"2"})
    assert load_manifest(session, "rois") == again
    assert record.with_name(".rois.json.damaged").read_text() == "{"
    assert published_files(session) == {"alf/a": b"1", "alf/b": b"2"}, "what the damaged record named is not known"


def test_an_edited_basis_is_refused(session):
    publish(session, {"alf/a": b"1"})
    path = session / ".meso" / "manifests" / "rois.json"
    path.write_text(path.read_text().replace('"raw_daq": "abc"', '"raw_daq": "xyz"'))
    with pytest.raises(StorageError, match="basis_digest"):
        load_manifest(session, "rois")


def test_a_manifest_that_was_edited_is_refused(session):
    publish(session, {"alf/a": b"1"})
    path = session / ".meso" / "manifests" / "rois.json"
    path.write_text(path.read_text().replace('"alf/a"', '"alf/b"'))
    with pytest.raises(StorageError, match="data_version"):
        load_manifest(session, "rois")


def test_a_manifest_that_points_outside_the_session_is_refused(session):
    publish(session, {"alf/a": b"1"})
    path = session / ".meso" / "manifests" / "rois.json"
    path.write_text(path.read_text().replace('"alf/a"', '"../alf/a"'))
    with pytest.raises(StorageError, match="below the session"):
        load_manifest(session, "rois")


KILLED_PUBLISHER = """
import os, signal, sys
from pathlib import Path
from meso_core.storage import Basis, MadeBy, Staging, load_manifest, publish
session, fatal_call = Path(sys.argv[1]), int(sys.argv[2])
load_manifest(session, "rois")
staging = Staging(session, "rois")
for i in range(3):
    staging.write(f"alf/file{i}", b"new")
sealed = staging.seal()
calls = 0
def audit(event, args):
    global calls
    if event in ("os.rename", "os.remove", "open", "os.rmdir"):
        calls += 1
        if calls == fatal_call:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(audit)
publish(session, sealed, Basis("1"), MadeBy("new"))
"""


@pytest.mark.parametrize(
    "every", [pytest.param(5, marks=pytest.mark.sample), pytest.param(1, marks=pytest.mark.nightly)]
)
def test_a_kill_at_any_system_call_leaves_the_old_or_the_new_version(session, tried, every):
    old = {"alf/file0": b"old", "alf/file1": b"old", "alf/file9": b"old"}
    new = {"alf/file0": b"new", "alf/file1": b"new", "alf/file2": b"new"}
    outcomes = set()
    for fatal_call in range(1, 60, every):
        publish(session, old)
        run = subprocess.run([sys.executable, "-c", KILLED_PUBLISHER, str(session), str(fatal_call)], check=False)
        manifest = load_manifest(session, "rois")
        assert manifest is not None
        assert verify_manifest(session, manifest) == ()
        assert published_files(session) in (old, new)
        assert (published_files(session) == new) == (manifest.made_by.run_id == "new")
        outcomes.add(manifest.made_by.run_id)
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL
    else:
        pytest.fail("the publisher made more calls than the test tried")
    tried("kills at system calls: publication", (fatal_call - 1) // every)
    assert outcomes == {"run-1", "new"}
    assert fatal_call > 10


def test_a_folder_without_the_right_to_write_is_named(others_folder, another_user):
    session = others_folder / "SP035" / "2023-03-03" / "001"
    session.mkdir(parents=True)
    session.chmod(0o555)
    with another_user(), pytest.raises(StorageError, match="Check the permissions"):
        Staging(session, "rois")


def test_rolling_forward_compares_the_content_and_not_the_size(session):
    publish(session, {"alf/a": b"old"})
    sealed = stage(session, {"alf/a": b"new"}).seal()
    manifest = Manifest("rois", sealed.files, BASIS, BY, "2026-01-01T00:00:00+00:00")
    manifests = session / ".meso" / "manifests"
    (manifests / ".rois.pending.json").write_text(manifest.to_json())  # a kill came here, and the staged file is lost
    (sealed.folder / "alf" / "a").unlink()
    with pytest.raises(StorageError, match=r"alf/a: expected what run run-1 staged: 3 bytes, found no staged file"):
        load_manifest(session, "rois")
    assert (session / "alf" / "a").read_bytes() == b"old"
    assert load_manifest(session, "rois").made_by == BY, "the previous version stays"


def test_each_new_folder_reaches_the_disk_before_the_manifest_counts(session, monkeypatch):
    synced = []
    for module in ("files.atomic", "publication.publishing", "publication.staging"):
        monkeypatch.setattr(f"meso_core.storage.{module}.sync_folder", lambda folder: synced.append(folder))
    publish(session, {"alf/FOV_00/a": b"1", "suite2p/plane0/b": b"2"})
    new = [folder for folder in session.rglob("*") if folder.is_dir() and "staging" not in folder.parts]
    missing = {folder.parent for folder in new if folder.name != "locks"} - set(synced)
    assert missing == set()


def test_a_result_is_published_into_a_folder_that_is_a_link_to_another_file_system(session, tmp_path, monkeypatch):
    elsewhere = tmp_path / "another_disk"
    elsewhere.mkdir()
    (session / "alf").symlink_to(elsewhere)
    rename = Path.replace

    def as_between_disks(source: Path, target: Path) -> Path:
        if Path(target).resolve().is_relative_to(elsewhere) != source.resolve().is_relative_to(elsewhere):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(source, target)

    monkeypatch.setattr(Path, "replace", as_between_disks)
    for content in (b"1", b"22"):
        manifest = publish(session, {"alf/a.npy": content})
        assert (elsewhere / "a.npy").read_bytes() == content
        assert [p.name for p in elsewhere.iterdir()] == ["a.npy"]
        assert verify_manifest(session, manifest, content=False) == ()
        assert (elsewhere / "a.npy").stat().st_mtime_ns == manifest.files[0].mtime_ns


def left_in_place(session: Path) -> Staging:
    """Stage one file, and count another that has its place already and cannot be linked."""
    place = session / "raw_imaging_data_00" / "imaging.frames.tar.bz2"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"archive")
    staging = stage(session, {"reports/a.json": b"{}"})
    staging.leave({"raw_imaging_data_00/imaging.frames.tar.bz2": hash_file(place)})
    return staging


def test_a_file_that_has_its_place_already_is_published_where_it_is(session):
    manifest = publish_sealed(session, left_in_place(session).seal(), BASIS, BY)
    assert [file.path for file in manifest.files] == ["raw_imaging_data_00/imaging.frames.tar.bz2", "reports/a.json"]
    assert verify_manifest(session, manifest) == ()
    assert (session / "raw_imaging_data_00" / "imaging.frames.tar.bz2").read_bytes() == b"archive"


@pytest.mark.parametrize("what", ["changed", "gone"])
def test_a_file_in_its_place_that_changes_after_it_was_sealed_is_not_published(session, what):
    sealed, place = left_in_place(session).seal(), session / "raw_imaging_data_00" / "imaging.frames.tar.bz2"
    if what == "gone":
        place.unlink()
    else:
        place.write_bytes(b"ARCHIVE")
        os.utime(place, ns=(0, 0))
    with pytest.raises(StorageError, match=r"frames\.tar\.bz2"):
        publish_sealed(session, sealed, BASIS, BY)
    assert load_manifest(session, "rois") is None


def test_a_file_in_its_place_is_compared_when_a_killed_publication_is_finished(session, monkeypatch):
    sealed, place = left_in_place(session).seal(), session / "raw_imaging_data_00" / "imaging.frames.tar.bz2"
    with monkeypatch.context() as patch:
        patch.setattr(
            "meso_core.storage.publication.publishing._roll_forward",
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            publish_sealed(session, sealed, BASIS, BY)
    place.write_bytes(b"ARCHIVE")
    with pytest.raises(StorageError, match=r"frames\.tar\.bz2.*Run the asset rois again"):
        load_manifest(session, "rois")


def test_what_is_sealed_tells_where_each_file_is(session):
    sealed = left_in_place(session).seal()
    assert {record.path: hash_file(sealed.source(record.path)).sha256 for record in sealed.files} == {
        record.path: record.sha256 for record in sealed.files
    }
