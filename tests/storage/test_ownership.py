"""Publishing touches no file that the asset did not write itself."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from meso_core.errors import MesoWarning, StorageError
from meso_core.storage import (
    Basis,
    FileHash,
    FileRecord,
    MadeBy,
    Manifest,
    Staging,
    foreign_results,
    hash_file,
    load_manifest,
    publish,
    verify_manifest,
    write_file,
)
from meso_core.storage.files.hashing import sha256_of
from tests.present_files import files_in

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
        (session / folder / "x.npy").touch()
    paths = files_in(session).files
    assert foreign_results(paths, {"rois": manifest}) == ("alf/FOV_09", "suite2p/plane10")
    assert foreign_results(paths, {}) == ("alf/FOV_00", "alf/FOV_09", "suite2p/plane0", "suite2p/plane10")


def test_a_file_of_the_same_size_and_time_and_other_content_is_neither_replaced_nor_removed(session: Path) -> None:
    published(session, {META: b"ours"})
    before = (session / META).stat()
    (session / META).write_bytes(b"rig!")
    os.utime(session / META, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(StorageError, match="somebody else"):
        published(session, {META: b"ours again"})
    published(session, {"alf/a": b"1"})
    assert (session / META).read_bytes() == b"rig!"


@pytest.mark.parametrize("new", [b"2" * 9, b"1" * 9, b"another size"])
def test_a_file_replaced_by_one_of_its_size_is_read_once(
    session: Path, new: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(session, {"alf/a": b"1" * 9})
    read: list[str] = []

    def counted(path: Path) -> str:
        read.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr("meso_core.storage.manifests.ownership.sha256_of", counted)
    published(session, {"alf/a": new})
    assert read == ["a"]
    assert (session / "alf" / "a").read_bytes() == new


def test_a_file_of_the_rig_that_arrives_between_a_kill_and_the_next_look_is_not_replaced(session: Path) -> None:
    staging = Staging(session, "metadata")
    staging.write(META, b"ours")
    sealed = staging.seal()
    pending = Manifest("metadata", sealed.files, Basis("1"), MadeBy("run"), "2026-01-01T00:00:00+00:00")
    (session / ".meso" / "manifests").mkdir()
    (session / ".meso" / "manifests" / ".metadata.pending.json").write_text(pending.to_json())
    (session / META).parent.mkdir()
    (session / META).write_bytes(b"the rig's")
    with pytest.warns(MesoWarning, match=r"meta\.json: somebody else has put this file there"):
        manifest = load_manifest(session, "metadata")
    assert (session / META).read_bytes() == b"the rig's"
    assert manifest is not None
    assert verify_manifest(session, manifest), "what is not there does not count"
    published(session, {"alf/a": b"1"})  # with the rig's file there is none to make
    assert (session / META).read_bytes() == b"the rig's"


def test_a_file_of_the_rig_that_arrives_while_files_are_put_in_place_is_not_replaced(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def arrive(path: Path, content: bytes) -> FileHash:
        (session / META).parent.mkdir()
        (session / META).write_bytes(b"the rig's")
        return write_file(path, content)

    staging = Staging(session, "metadata")
    staging.write(META, b"ours")
    sealed = staging.seal()
    monkeypatch.setattr("meso_core.storage.publication.publishing.write_file", arrive)
    with pytest.warns(MesoWarning, match="somebody else"):
        publish(session, sealed, Basis("1"), MadeBy("run"), places=PLACES)
    assert (session / META).read_bytes() == b"the rig's"


@pytest.mark.parametrize("path", ["raw_imaging_data_00/x.tif", "raw_sync_data/daq.npy", ".meso/removed/b/x.tif"])
@pytest.mark.parametrize("claimed_by", ["record", "pending record"])
def test_forged_records_claim_no_raw_file_when_a_publication_is_finished_either(
    session: Path, path: str, claimed_by: str
) -> None:
    """Nobody publishes: it is enough that somebody reads the record."""
    manifest = published(session, {"alf/a": b"1"})
    for place, content in ((session / path, b"precious"), (session / ".meso/staging/metadata" / path, b"forged!!")):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    claim(session, manifest, path)
    records = session / ".meso" / "manifests"
    forged = (
        manifest if claimed_by == "record" else replace(manifest, files=(*manifest.files, record_of(session, path)))
    )
    (records / ".metadata.pending.json").write_text(forged.to_json())
    with pytest.raises(StorageError, match=f"found {path}"):
        load_manifest(session, "metadata")
    assert (session / path).read_bytes() == b"precious"


def record_of(session: Path, path: str) -> FileRecord:
    content = hash_file(session / ".meso/staging/metadata" / path)
    return FileRecord(path, content.size, content.sha256, content.md5)


def test_a_forged_record_reaches_no_raw_file_through_a_link(session: Path) -> None:
    manifest = published(session, {"alf/a": b"1"}, places=r"alf/.*")
    raw = session / "raw_imaging_data_00"
    raw.mkdir()
    (raw / "x.tif").write_bytes(b"precious")
    (session / "alf" / "FOV_00").symlink_to(raw)
    claim(session, manifest, "alf/FOV_00/x.tif")
    with pytest.raises(StorageError, match=r"alf/FOV_00/x\.tif"):
        published(session, {"alf/a": b"1", "alf/FOV_00/x.tif": b"forged"}, places=r"alf/.*")
    published(session, {"alf/a": b"1"}, places=r"alf/.*")
    assert (raw / "x.tif").read_bytes() == b"precious"


def test_each_asset_says_where_it_publishes() -> None:
    """Else a forged record of it could claim anything."""
    from meso_assets.defs.catalogue import CATALOGUE

    assert [name for name, declared in CATALOGUE.items() if not declared.places] == []
