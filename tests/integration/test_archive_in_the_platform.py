"""The archive as an asset: what is published, recorded, superseded, and never lost."""

import shutil

import dagster as dg
import pytest

from meso_assets.console import failure_message
from meso_assets.resources import Platform
from meso_core.archive import ARCHIVE_NAME, ZARR_NAME, compress_to_zarr, load_report, removal_plan, restore
from meso_core.session import imaging_bouts, raw_tifs
from meso_core.simulate import preset, simulate_session
from meso_core.storage import hash_file

ASSET = ("imaging_frames_archive",)
KEY = "SP035/2023-03-03/001"


@pytest.fixture(scope="module")
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def archive(tmp_path, make_settings, materialise, instance):
    """Function that archives a simulated session in a format: ``archive("zarr")`` gives the result of the run."""
    simulate_session(make_settings(tmp_path).root, preset("tiny"))

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


def metadata_of(result):
    (made,) = result.asset_materializations_for_node(ASSET[0])
    return made.metadata


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
    assert not removal_plan(session.path, []).removals


def test_another_format_leaves_nothing_of_the_first(session, archive):
    before = tifs_of(session)
    for archive_format, name in (("zarr", ZARR_NAME), ("tar.bz2", ARCHIVE_NAME), ("zarr", ZARR_NAME)):
        assert archive(archive_format).success
        assert archives_of(session) == [name]
        assert {load_report(session.path, bout.name).name for bout in imaging_bouts(session.path)} == {name}
        assert "unchanged" in metadata_of(archive(archive_format))
    for tif in before:
        tif.unlink()
    assert archive("tar.bz2").success
    assert archives_of(session) == [ZARR_NAME], "the only copy of the tifs is kept as it is"
    restore(session.path)
    assert tifs_of(session) == before


@pytest.mark.parametrize("archive_format", ["tar.bz2", "zarr"])
@pytest.mark.parametrize("harm", ["missing", "of the version before", "damaged"])
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
    assert "unchanged" not in metadata_of(again)
    report = load_report(session.path, bout.name)
    assert report.compared_with_tifs
    assert not [o for o in removal_plan(session.path, []).obstacles if o.where == bout.name]
    assert "unchanged" in metadata_of(archive(archive_format))
