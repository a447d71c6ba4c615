"""A published result is the previous version or the new one, whatever happens in between."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meso_core.errors import StorageError
from meso_core.storage import (
    FileHash,
    PackedFile,
    RunProvenance,
    load_manifest,
    publish,
    stage_folder,
    verify_manifest,
)

BY = RunProvenance(run_id="run-1", code_version="1", settings={"batch": 500}, inputs={"raw_session": "abc"})


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "SP035" / "2023-03-03" / "001"
    folder.mkdir(parents=True)
    return folder


def stage(session: Path, files: dict[str, bytes]) -> Path:
    staged = stage_folder(session, "rois")
    for name, content in files.items():
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        (staged / name).write_bytes(content)
    return staged


def published_files(session: Path) -> dict[str, bytes]:
    return {p.relative_to(session).as_posix(): p.read_bytes() for p in (session / "alf").rglob("*") if p.is_file()}


def test_what_was_staged_is_what_is_published(session):
    files = {"alf/FOV_00/mpci.times.npy": b"0", "alf/FOV_01/mpci.times.npy": b"11"}
    manifest = publish(session, "rois", stage(session, files), BY)
    assert published_files(session) == files
    assert load_manifest(session, "rois") == manifest
    assert manifest.provenance == BY
    assert verify_manifest(session, manifest) == ()


def test_what_lies_in_an_archive_stands_in_the_manifest_and_changes_no_version(session):
    tifs = (PackedFile("a µ.tif", 10**12, "0" * 64, "1" * 32, 2000), PackedFile("\udce9.tif", 0, "2" * 64, "", 0))
    plain = publish(session, "rois", stage(session, {"raw/x.tar": b"1"}), BY)
    manifest = publish(session, "rois", stage(session, {"raw/x.tar": b"1"}), BY, contents={"raw/x.tar": tifs})
    assert load_manifest(session, "rois") == manifest
    assert manifest.contents == {"raw/x.tar": tifs}
    assert manifest.data_version == plain.data_version


@pytest.mark.parametrize("contents", ["[]", '{"raw/x.tar": [{"name": "a"}]}', '{"raw/x.tar": 5}', '"tifs"'])
def test_contents_that_are_none_are_a_named_error(session, contents):
    publish(session, "rois", stage(session, {"raw/x.tar": b"1"}), BY)
    file = session / ".meso" / "manifests" / "rois.json"
    file.write_text(file.read_text().replace('"contents": {}', f'"contents": {contents}'))
    with pytest.raises(StorageError, match=r"rois\.json: expected a manifest"):
        load_manifest(session, "rois")


def test_data_version_depends_on_content_and_paths_only(session):
    first = publish(session, "rois", stage(session, {"alf/a": b"1", "alf/b": b"2"}), BY)
    other = RunProvenance(run_id="run-2", code_version="2")
    again = publish(session, "rois", stage(session, {"alf/b": b"2", "alf/a": b"1"}), other)
    swapped = publish(session, "rois", stage(session, {"alf/a": b"2", "alf/b": b"1"}), other)
    assert first.data_version == again.data_version != swapped.data_version


def test_files_of_the_superseded_version_disappear_and_strangers_stay(session):
    publish(session, "rois", stage(session, {"alf/FOV_00/a": b"1", "alf/FOV_01/a": b"1"}), BY)
    (session / "alf" / "notes.txt").write_bytes(b"mine")
    publish(session, "rois", stage(session, {"alf/FOV_00/a": b"2"}), BY)
    assert published_files(session) == {"alf/FOV_00/a": b"2", "alf/notes.txt": b"mine"}


def test_folders_that_only_the_superseded_version_had_disappear(session):
    """An empty tree would pass for a result that is a folder."""
    old = {"alf/FOV_00/a": b"1", "raw/x.zarr/c/0/0": b"1", "raw/x.zarr/c/1/0": b"1", "raw/x.zarr/zarr.json": b"1"}
    publish(session, "rois", stage(session, old), BY)
    (session / "raw" / "tif").write_bytes(b"mine")
    publish(session, "rois", stage(session, {"alf/FOV_00/a": b"2"}), BY)
    assert sorted(p.name for p in session.rglob("*") if ".meso" not in p.parts) == ["FOV_00", "a", "alf", "raw", "tif"]


def test_each_changed_or_missing_file_is_named(session):
    manifest = publish(session, "rois", stage(session, {"alf/a": b"11", "alf/b": b"22", "alf/c": b"33"}), BY)
    (session / "alf/a").write_bytes(b"xx")
    (session / "alf/b").unlink()
    (session / "alf/c").write_bytes(b"333")
    findings = verify_manifest(session, manifest)
    assert [f.split(":")[0] for f in findings] == ["alf/a", "alf/b", "alf/c"]
    assert verify_manifest(session, manifest, content=False) == findings[1:]


def test_hashes_computed_while_writing_are_taken_over(session):
    content = FileHash(size=1, sha256="s" * 64, md5="m" * 32)
    manifest = publish(session, "rois", stage(session, {"alf/a": b"1"}), BY, known_hashes={"alf/a": content})
    assert manifest.files[0].sha256 == content.sha256


def test_nothing_staged_is_an_error_and_keeps_the_old(session):
    publish(session, "rois", stage(session, {"alf/a": b"1"}), BY)
    with pytest.raises(StorageError, match="files of asset rois"):
        publish(session, "rois", stage_folder(session, "rois"), BY)
    assert published_files(session) == {"alf/a": b"1"}


def test_a_staged_link_is_refused(session):
    staged = stage(session, {"alf/a": b"1"})
    (staged / "alf" / "b").symlink_to("/etc/passwd")
    with pytest.raises(StorageError, match="plain file"):
        publish(session, "rois", staged, BY)
    assert load_manifest(session, "rois") is None


def test_working_files_stay_out(session):
    manifest = publish(session, "rois", stage(session, {"alf/a": b"1", "alf/.log": b"x", ".tmp/b": b"x"}), BY)
    assert [f.path for f in manifest.files] == ["alf/a"]


def test_a_manifest_that_was_edited_is_refused(session):
    publish(session, "rois", stage(session, {"alf/a": b"1"}), BY)
    path = session / ".meso" / "manifests" / "rois.json"
    path.write_text(path.read_text().replace('"alf/a"', '"alf/b"'))
    with pytest.raises(StorageError, match="data_version"):
        load_manifest(session, "rois")


def test_a_manifest_that_points_outside_the_session_is_refused(session):
    publish(session, "rois", stage(session, {"alf/a": b"1"}), BY)
    path = session / ".meso" / "manifests" / "rois.json"
    path.write_text(path.read_text().replace('"alf/a"', '"../alf/a"'))
    with pytest.raises(StorageError, match="below the session"):
        load_manifest(session, "rois")


KILLED_PUBLISHER = """
import os, signal, sys
from pathlib import Path
from meso_core.storage import RunProvenance, publish, stage_folder
session, fatal_call = Path(sys.argv[1]), int(sys.argv[2])
staged = stage_folder(session, "rois")
for i in range(3):
    (staged / "alf").mkdir(exist_ok=True)
    (staged / "alf" / f"file{i}").write_bytes(b"new")
calls = 0
def audit(event, args):
    global calls
    if event in ("os.rename", "os.remove", "open", "os.rmdir"):
        calls += 1
        if calls == fatal_call:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(audit)
publish(session, "rois", staged, RunProvenance("new", "1"))
"""


def test_a_kill_at_any_system_call_leaves_the_old_or_the_new_version(session):
    old = {"alf/file0": b"old", "alf/file1": b"old", "alf/file9": b"old"}
    new = {"alf/file0": b"new", "alf/file1": b"new", "alf/file2": b"new"}
    outcomes = set()
    for fatal_call in range(1, 60):
        publish(session, "rois", stage(session, old), BY)
        run = subprocess.run([sys.executable, "-c", KILLED_PUBLISHER, str(session), str(fatal_call)], check=False)
        manifest = load_manifest(session, "rois")
        assert manifest is not None
        assert verify_manifest(session, manifest) == ()
        assert published_files(session) in (old, new)
        assert (published_files(session) == new) == (manifest.provenance.run_id == "new")
        outcomes.add(manifest.provenance.run_id)
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL
    else:
        pytest.fail("the publisher made more calls than the test tried")
    assert outcomes == {"run-1", "new"}
    assert fatal_call > 10


def test_a_folder_without_the_right_to_write_is_named(others_folder, another_user):
    session = others_folder / "SP035" / "2023-03-03" / "001"
    session.mkdir(parents=True)
    session.chmod(0o555)
    with another_user(), pytest.raises(StorageError, match="right to write"):
        stage_folder(session, "rois")
