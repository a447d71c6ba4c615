"""Publishing touches no file that the asset did not write itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from meso_core.errors import StorageError
from meso_core.storage import (
    Basis,
    FileRecord,
    MadeBy,
    Manifest,
    Staging,
    foreign_results,
    hash_file,
    load_manifest,
    publish,
)

PLACES = r"alf/[^/]+|raw_imaging_data_00/_ibl_rawImagingData\.meta\.json"


@pytest.fixture
def session(tmp_path: Path) -> Path:
    folder = tmp_path / "SP035" / "2023-03-03" / "001"
    folder.mkdir(parents=True)
    return folder


def published(session: Path, files: dict[str, bytes], places: str | None = PLACES) -> Manifest:
    staging = Staging(session, "metadata")
    for path, content in files.items():
        staging.write(path, content)
    return publish(session, staging.seal(), Basis("1"), MadeBy("run"), places=places)


def claim(session: Path, manifest: Manifest, path: str) -> None:
    """Forge the record of an asset, hashes included, so that it claims a file."""
    content = hash_file(session / path)
    forged = replace(manifest, files=(*manifest.files, FileRecord(path, content.size, content.sha256, content.md5)))
    (session / ".meso" / "manifests" / "metadata.json").write_text(forged.to_json())


META = "raw_imaging_data_00/_ibl_rawImagingData.meta.json"


def test_a_file_of_the_rig_that_arrived_at_a_published_place_is_not_replaced(session: Path) -> None:
    published(session, {META: b"ours"})
    (session / META).write_bytes(b"the rig's")
    with pytest.raises(StorageError, match=f"{META}, which somebody else has put there"):
        published(session, {META: b"ours again"})
    assert (session / META).read_bytes() == b"the rig's"


def test_a_file_of_the_rig_that_arrived_at_a_published_place_is_not_removed_when_the_place_is_given_up(
    session: Path,
) -> None:
    published(session, {META: b"ours", "alf/a": b"1"})
    (session / META).write_bytes(b"the rig's")
    manifest = published(session, {"alf/a": b"2"})
    assert [file.path for file in manifest.files] == ["alf/a"]
    assert (session / META).read_bytes() == b"the rig's"


def test_a_file_that_was_there_before_anything_was_published_is_not_replaced(session: Path) -> None:
    (session / "alf").mkdir()
    (session / "alf" / "a").write_bytes(b"somebody's")
    with pytest.raises(StorageError, match=r"alf/a, which somebody else has put there.*move it away"):
        published(session, {"alf/a": b"1"})
    assert (session / "alf" / "a").read_bytes() == b"somebody's"
    assert load_manifest(session, "metadata") is None
    (session / "alf" / "a").unlink()  # the remedy
    assert published(session, {"alf/a": b"1"}).files


def test_a_file_with_the_same_content_is_taken_over(session: Path) -> None:
    (session / "alf").mkdir()
    (session / "alf" / "a").write_bytes(b"1")
    assert published(session, {"alf/a": b"1"}).files


def test_a_link_in_the_way_is_neither_followed_nor_replaced(session: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"1")
    (session / "alf").mkdir()
    (session / "alf" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="alf/a"):
        published(session, {"alf/a": b"1"})
    assert (session / "alf" / "a").is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b"1"


@pytest.mark.parametrize("path", ["raw_imaging_data_00/x.tif", "raw_sync_data/daq.npy", ".meso/removals.jsonl"])
def test_a_forged_record_that_claims_raw_files_is_refused_by_name_and_removes_nothing(session: Path, path: str) -> None:
    manifest = published(session, {"alf/a": b"1"})
    (session / path).parent.mkdir(parents=True, exist_ok=True)
    (session / path).write_bytes(b"precious")
    claim(session, manifest, path)
    with pytest.raises(StorageError, match=f"found {path}. Move this record away"):
        published(session, {"alf/a": b"2"})
    assert (session / path).read_bytes() == b"precious"
    record = session / ".meso" / "manifests" / "metadata.json"
    record.unlink()  # the remedy; what was published then has no record, and counts as somebody else's
    (session / "alf" / "a").unlink()
    assert published(session, {"alf/a": b"2"}).files
    assert (session / path).read_bytes() == b"precious"


def test_an_asset_that_stages_a_file_at_a_place_of_others_publishes_nothing(session: Path) -> None:
    with pytest.raises(StorageError, match=r"raw_imaging_data_00/x\.tif"):
        published(session, {"raw_imaging_data_00/x.tif": b"1"})
    assert not (session / "raw_imaging_data_00").exists()


def test_an_absolute_path_or_one_that_leaves_the_session_is_refused(session: Path) -> None:
    published(session, {"alf/a": b"1"})
    record = session / ".meso" / "manifests" / "metadata.json"
    content = json.loads(record.read_text())
    for path in ("/etc/passwd", "../other/alf/a", "alf/../../a"):
        record.write_text(json.dumps({**content, "files": [{**content["files"][0], "path": path}]}))
        with pytest.raises(StorageError, match="below the session"):
            load_manifest(session, "metadata")


def test_folders_of_results_that_no_asset_published_are_named_and_no_other(session: Path) -> None:
    manifest = published(session, {"alf/FOV_00/x.npy": b"1", "suite2p/plane0/ops.npy": b"2"}, places=None)
    for folder in ("alf/FOV_09", "suite2p/plane0/more", "suite2p/plane10", "suite2p/combined", "alf/other"):
        (session / folder).mkdir(parents=True)
    assert foreign_results(session, {"rois": manifest}) == ("alf/FOV_09", "suite2p/plane10")
    assert foreign_results(session, {}) == ("alf/FOV_00", "alf/FOV_09", "suite2p/plane0", "suite2p/plane10")
