"""The archive as an asset: what is published, recorded, superseded, and never lost."""

import hashlib
import json
import shutil

import dagster as dg
import pytest
import tifffile

from meso_assets.defs.dagster_internals import failure_message
from meso_assets.io.resources import Platform
from meso_core.archive import ARCHIVE_NAME, ZARR_NAME, compress_to_zarr, load_report, removal_plan, restore
from meso_core.session import imaging_bouts, raw_tifs
from meso_core.simulate import simulate_session
from meso_core.storage import hash_file
from meso_core.storage.manifests.manifest import MANIFEST_VERSION
from tests.short_session import short

ASSET = ("imaging_frames_archive",)
KEY = "SP035/2023-03-03/001"


@pytest.fixture(scope="module")
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Root with the session, which tests copy."""
    root = tmp_path_factory.mktemp("simulated") / "sessions"
    simulate_session(root, short())
    return root


@pytest.fixture
def archive(simulated, tmp_path, make_settings, materialise, instance):
    """Function that archives the session in a format: ``archive("zarr")`` gives the result of the run."""
    shutil.copytree(simulated, make_settings(tmp_path).root)

    def run(archive_format="tar.bz2"):
        return materialise(instance, make_settings(tmp_path, archive_format=archive_format), KEY, ASSET)

    return run


@pytest.fixture
def session(tmp_path, make_settings, archive):
    return Platform.open(make_settings(tmp_path)).session(KEY)


def tifs_of(session):
    return {tif: hash_file(tif).sha256 for bout in imaging_bouts(session.path) for tif in raw_tifs(bout)}


def archives_of(session):
    return sorted({p.relative_to(session.path).parts[1] for p in session.path.glob("raw_imaging_data_*/imaging.*")})


def why(result):
    return [failure_message(event) for event in result.all_events if event.event_type_value == "STEP_FAILURE"]


def manifest_file(session):
    return session.path / ".meso" / "manifests" / f"{ASSET[0]}.json"


def metadata_of(result):
    (made,) = result.asset_materializations_for_node(ASSET[0])
    return made.metadata


@pytest.mark.parametrize(("archive_format", "name"), [("tar.bz2", ARCHIVE_NAME), ("zarr", ZARR_NAME)])
def test_each_tif_stands_with_size_hashes_and_pages_in_the_manifest_and_in_the_metadata(
    session, archive, archive_format, name
):
    result = archive(archive_format)
    expected = {}
    for bout in imaging_bouts(session.path):
        for tif in raw_tifs(bout):
            data = tif.read_bytes()
            with tifffile.TiffFile(tif) as file:
                pages = len(file.pages)
            sha256, md5 = hashlib.sha256(data).hexdigest(), hashlib.md5(data).hexdigest()
            record = {"name": tif.name, "size": len(data), "sha256": sha256, "md5": md5, "n_pages": pages}
            expected.setdefault(f"{bout.name}/{name}", []).append(record)
    assert len(expected) == 2
    assert json.loads(manifest_file(session).read_text())["contents"] == expected
    assert all((session.path / path).exists() for path in expected)
    columns = {"tif": "name", "bytes": "size", "pages": "n_pages", "sha256": "sha256", "md5": "md5"}
    rows = [
        {"bout": path.split("/")[0], **{column: record[field] for column, field in columns.items()}}
        for path, records in expected.items()
        for record in records
    ]
    shown = metadata_of(result)["by_tif"]
    assert [dict(row.data) for row in shown.records] == rows
    assert {column.name for column in shown.schema.columns} == set(rows[0])
    again = archive(archive_format)
    assert metadata_of(again)["unchanged_since"].value == session.manifest(ASSET[0]).published_at
    assert [dict(row.data) for row in metadata_of(again)["by_tif"].records] == rows


def test_record_of_the_first_form_is_read_and_made_anew_at_the_same_data_version(session, archive):
    """The archive is verified again; nothing downstream becomes stale."""
    archive()
    made = session.manifest(ASSET[0])
    now = json.loads(manifest_file(session).read_text())
    files = [{k: v for k, v in file.items() if k != "mtime_ns"} for file in now["files"]]
    provenance = {"run_id": "old", "code_version": "1", "packages": {}, "settings": {}, "inputs": {"raw_session": "v"}}
    first_form = {
        "manifest_version": 1,
        "asset": ASSET[0],
        "data_version": now["data_version"],
        "published_at": now["published_at"],
        "files": files,
        "provenance": provenance,
    }
    manifest_file(session).write_text(json.dumps(first_form))
    early = session.manifest(ASSET[0])
    assert (early.version, early.contents, early.data_version) == (1, {}, made.data_version)
    archive()
    listed = session.manifest(ASSET[0])
    assert (listed.version, listed.contents) == (MANIFEST_VERSION, made.contents)
    assert listed.data_version == made.data_version
    archive()
    assert session.manifest(ASSET[0]) == listed, "an unchanged archive is not published again"


def test_second_archive_never_takes_the_place_of_the_one_on_record_once_the_tifs_are_gone(session, archive):
    """It was made by hand when only the first tif was there; then the session asks for its format."""
    before, bout = tifs_of(session), imaging_bouts(session.path)[0]
    assert archive().success
    later = raw_tifs(bout)[1].rename(session.path / "later")
    compress_to_zarr(bout)
    later.rename(next(tif for tif in before if not tif.exists()))
    for tif in before:
        tif.unlink()
    for archive_format in ("zarr", "tar.bz2"):
        (message,) = why(archive(archive_format))
        assert ARCHIVE_NAME in message
        assert ZARR_NAME in message
        assert (bout / ARCHIVE_NAME).is_file()
    shutil.rmtree(bout / ZARR_NAME)
    assert archive("zarr").success
    restore(session.path)
    assert tifs_of(session) == before


def test_archive_made_of_an_incomplete_bout_is_refused_before_anything_can_be_removed(session, archive):
    bout = imaging_bouts(session.path)[0]
    second = raw_tifs(bout)[1]
    later = second.rename(session.path / "later")
    compress_to_zarr(bout)
    later.rename(second)
    (message,) = why(archive())
    assert ARCHIVE_NAME in message
    assert ZARR_NAME in message
    assert not removal_plan(session.path, "motion_registered_frames", [], archive_asset=ASSET[0]).removals


def test_another_format_leaves_nothing_of_the_first(session, archive):
    before = tifs_of(session)
    for archive_format, name in (("zarr", ZARR_NAME), ("tar.bz2", ARCHIVE_NAME), ("zarr", ZARR_NAME)):
        assert archive(archive_format).success
        assert archives_of(session) == [name]
        assert {load_report(session.path, bout.name).name for bout in imaging_bouts(session.path)} == {name}
        assert "unchanged_since" in metadata_of(archive(archive_format))
    for tif in before:
        tif.unlink()
    assert archive("tar.bz2").success
    assert archives_of(session) == [ZARR_NAME], "the only copy of the tifs is kept as it is"
    restore(session.path)
    assert tifs_of(session) == before


@pytest.mark.parametrize(
    ("harm", "archive_format"),
    [
        ("missing", "tar.bz2"),
        pytest.param("missing", "zarr", marks=pytest.mark.nightly),
        pytest.param("of the version before", "tar.bz2", marks=pytest.mark.nightly),
        ("of the version before", "zarr"),
        ("damaged", "tar.bz2"),
        pytest.param("damaged", "zarr", marks=pytest.mark.nightly),
    ],
)
def test_kill_between_archive_and_record_is_made_good_by_the_next_run(session, archive, archive_format, harm):
    bout = imaging_bouts(session.path)[1]
    record = session.path / ".meso" / "archive" / f"{bout.name}.json"
    assert archive("zarr" if archive_format == "tar.bz2" else "tar.bz2").success
    old = record.read_bytes()
    assert archive(archive_format).success
    if harm == "missing":
        record.unlink()
    else:
        record.write_bytes(old if harm == "of the version before" else b"")
    again = archive(archive_format)
    assert again.success
    assert "unchanged_since" not in metadata_of(again)
    report = load_report(session.path, bout.name)
    assert report.compared_with_tifs
    assert not [
        o
        for o in removal_plan(session.path, "motion_registered_frames", [], archive_asset=ASSET[0]).obstacles
        if o.where == bout.name
    ]
    assert "unchanged_since" in metadata_of(archive(archive_format))
