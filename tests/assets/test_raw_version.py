"""What counts as the raw session, and for which asset: content that is read, however it is kept at the moment."""

import json
import os
import shutil

import pytest

from meso_assets.io.raw_inputs import RAW_INPUTS
from meso_assets.io.resources import CONSOLIDATED_METADATA, Platform
from meso_assets.runs.settings import load_settings
from meso_assets.suite2p_work import Suite2pWork
from meso_core.archive import archive_bout, load_report, restore, save_report
from meso_core.scanimage import load_meta_files
from meso_core.session import SessionKey, imaging_bouts, raw_tifs
from meso_core.storage import RunProvenance

FRAMES = "motion_registered_frames"


@pytest.fixture
def opened(fresh_session, tmp_path):
    """A simulated session of the rig, as assets see it."""
    made = fresh_session()
    platform = Platform.open(load_settings({"root": tmp_path / "Subjects", "home": tmp_path / "home"}))
    return platform.session(str(made.key))


def later(file):
    """Let a file look as if it was written a moment later."""
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def changed_by(session, change):
    """Assets for which the raw files are others after a change; whether they are others on the whole."""
    before, whole = session.raw_versions(), session.raw_version()
    change()
    after = session.raw_versions()
    return {
        asset for asset in {*before, *after} if before.get(asset) != after.get(asset)
    }, session.raw_version() != whole


def test_locations_added_to_the_rigs_metadata_do_not_change_the_raw_version(tmp_path):
    key = SessionKey.parse("SP035/2023-03-03/001")
    bout = key.folder(tmp_path) / "raw_imaging_data_00"
    bout.mkdir(parents=True)
    meta = bout / "_ibl_rawImagingData.meta.json"
    meta.write_text('{"FOV": []}')
    platform = Platform.open(load_settings({"root": tmp_path, "home": tmp_path / "home"}))
    before = platform.session(str(key)).raw_version()
    shutil.copy2(meta, meta.with_name(meta.name + ".rig"))
    meta.write_text('{"FOV": [], "MLAPDV": 1}')
    assert platform.session(str(key)).raw_version() == before
    meta.with_name(meta.name + ".rig").unlink()
    assert platform.session(str(key)).raw_version() != before


def test_every_asset_that_reads_raw_files_finds_some_in_a_session_of_the_rig(opened):
    assert set(opened.raw_versions()) == set(RAW_INPUTS)


def test_the_flag_and_a_late_note_are_nobodys_input(opened):
    def change():
        (opened.path / "raw_session.flag").unlink()
        (opened.path / "snapshots").mkdir(exist_ok=True)
        (opened.path / "snapshots" / "late_note.txt").write_text("the window was cleaned")

    assert changed_by(opened, change) == (set(), False)


@pytest.mark.parametrize(
    ("pattern", "readers"),
    [
        ("raw_imaging_data_00/*.tif", {"imaging_metadata", "imaging_frames_archive", FRAMES}),
        ("raw_imaging_data_01/*.mat", {"frame_qc", FRAMES}),
        ("raw_sync_data/*.raw.npy", {"frame_times"}),
        ("raw_imaging_data_00/reference/*", {"reference_images", "mean_image_mlapdv"}),
    ],
)
def test_a_changed_raw_file_concerns_those_that_read_it(opened, pattern, readers):
    file = next(iter(sorted(opened.path.glob(pattern))))
    assert changed_by(opened, lambda: later(file)) == (readers, True)


@pytest.mark.parametrize("archive_format", ["tar.bz2", "zarr"])
def test_archiving_removing_and_restoring_leave_the_version_of_the_frames(opened, archive_format):
    before = opened.frames_version()
    for bout in imaging_bouts(opened.path):
        save_report(opened.path, archive_bout(bout, archive_format=archive_format))
    assert opened.frames_version() == before, "archived"
    tifs = [tif for bout in imaging_bouts(opened.path) for tif in raw_tifs(bout)]
    tifs[0].unlink()
    assert opened.frames_version() == before, "half of them gone"
    for tif in tifs[1:]:
        tif.unlink()
    assert opened.frames_version() == before, "all of them gone"
    restore(opened.path)
    assert opened.frames_version() == before, "restored"
    later(tifs[0])
    assert opened.frames_version() != before, "one of them changed"


def test_a_bout_that_came_as_an_archive_keeps_its_version_when_it_is_adopted_and_restored(opened):
    bouts = imaging_bouts(opened.path)
    for bout in bouts:
        archive_bout(bout)
        for tif in raw_tifs(bout):
            tif.unlink()
    assert load_report(opened.path, bouts[0].name) is None, "nobody recorded what the archive holds"
    before = opened.frames_version()
    staged = opened.stage("imaging_frames_archive")
    reports = [archive_bout(bout, staged / bout.name) for bout in bouts]
    opened.store.publish(opened.key, "imaging_frames_archive", staged, RunProvenance("run", "1"))
    for report in reports:
        save_report(opened.path, report)
    assert opened.frames_version() == before, "adopted"
    restore(opened.path)
    assert all(raw_tifs(bout) for bout in bouts)
    assert opened.frames_version() == before, "restored"
    later(raw_tifs(bouts[0])[0])
    assert opened.frames_version() != before, "a restored tif that was changed is another one"


def test_frames_are_split_again_only_where_their_lines_belong_to_other_fields(opened):
    meta, _ = load_meta_files(opened.path)
    first, *others = meta["FOV"]
    moved = {**first, "lineIdx": [line + 1 for line in first["lineIdx"]]}

    def version(changed):
        (opened.path / CONSOLIDATED_METADATA).parent.mkdir(exist_ok=True)
        (opened.path / CONSOLIDATED_METADATA).write_text(json.dumps({**meta, **changed}))
        return Suite2pWork(opened, load_settings({"root": opened.path}), {}).input_version

    assert version({}) == version({"acquisitionStartTime": "noon"})
    assert version({}) != version({"FOV": [moved, *others]})
