"""What counts as raw, by kind: content that is read, however it is kept at the moment."""

import os
import re
import shutil
import warnings
from pathlib import Path

import pytest

from meso_core.alyx import register_snapshots
from meso_core.archive import archive_bout, bout_source, load_report, restore, save_report
from meso_core.archive.delivered import delivered_files, delivered_view, raw_by_kind
from meso_core.errors import InputFileError, MesoWarning
from meso_core.scanimage import load_session_metadata
from meso_core.session import RawKind, SessionKey, daq_folder, imaging_bouts, raw_tifs
from meso_core.storage import Basis, LocalStore, MadeBy, Session


@pytest.fixture
def opened(fresh_session, tmp_path):
    """A simulated session of the rig."""
    made = fresh_session()
    return Session(made.key, made.session_path, LocalStore(tmp_path / "Subjects"))


def versions(session):
    """Kind → version, of the kinds that are there."""
    raw = raw_by_kind(session.path, delivered_files(session, session.manifests()))
    return {kind: files.version for kind, files in raw.items() if files.files}


def later(file):
    """Let a file look as if it was written a moment later."""
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def changed_by(session, change):
    """Kinds whose version is another after a change."""
    before = versions(session)
    change()
    after = versions(session)
    return {kind for kind in {*before, *after} if before.get(kind) != after.get(kind)}


def test_a_session_of_the_rig_has_files_of_every_kind(opened):
    assert set(versions(opened)) == set(RawKind)


def test_the_flag_is_of_no_kind_and_a_late_note_of_its_own(opened):
    assert changed_by(opened, (opened.path / "raw_session.flag").unlink) == set()
    note = opened.path / "snapshots" / "late_note.txt"
    note.parent.mkdir(exist_ok=True)
    assert changed_by(opened, lambda: note.write_text("the window was cleaned")) == {RawKind.SNAPSHOTS}


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        ("raw_imaging_data_00/*.tif", RawKind.FRAMES),
        ("raw_imaging_data_00/*.meta.json", RawKind.METADATA),
        ("raw_imaging_data_01/*.mat", RawKind.FRAME_RATINGS),
        ("raw_sync_data/*.raw.npy", RawKind.DAQ),
        ("raw_imaging_data_00/reference/*", RawKind.REFERENCE),
    ],
)
def test_a_changed_file_changes_its_kind_alone(opened, pattern, kind):
    file = next(iter(sorted(opened.path.glob(pattern))))
    assert changed_by(opened, lambda: later(file)) == {kind}


def test_what_an_asset_put_beside_the_rigs_files_does_not_count(opened):
    def publish():
        staging = opened.stage("imaging_metadata")
        staging.write("raw_imaging_data_01/_ibl_rawImagingData.meta.json", b"{}")
        opened.publish(staging.seal(), Basis("1"), MadeBy("run"))

    (opened.path / "raw_imaging_data_01" / "_ibl_rawImagingData.meta.json").unlink()
    assert changed_by(opened, publish) == set()


def test_a_file_of_the_rig_that_arrives_where_an_asset_had_put_one_of_its_own_counts(opened):
    file = opened.path / "raw_imaging_data_01" / "_ibl_rawImagingData.meta.json"
    delivered = file.read_bytes()
    file.unlink()
    staging = opened.stage("imaging_metadata")
    staging.write("raw_imaging_data_01/_ibl_rawImagingData.meta.json", b"{}")
    opened.publish(staging.seal(), Basis("1"), MadeBy("run"))
    assert changed_by(opened, lambda: file.write_bytes(delivered)) == {RawKind.METADATA}


def test_metadata_to_which_an_earlier_meso_added_locations_count_as_the_rig_left_them(opened):
    meta = opened.path / "raw_imaging_data_00" / "_ibl_rawImagingData.meta.json"

    def add():
        meta.rename(f"{meta}.rig")
        meta.write_text('{"MLAPDV": 1}')

    assert changed_by(opened, add) == set()
    assert changed_by(opened, Path(f"{meta}.rig").unlink) == {RawKind.METADATA}


@pytest.mark.parametrize("archive_format", ["tar.bz2", "zarr"])
def test_archiving_removing_and_restoring_leave_the_version_of_the_frames(opened, archive_format):
    def frames():
        return versions(opened)[RawKind.FRAMES]

    before = frames()
    for bout in imaging_bouts(opened.path):
        save_report(opened.path, archive_bout(bout, archive_format=archive_format))
    assert frames() == before, "archived"
    tifs = [tif for bout in imaging_bouts(opened.path) for tif in raw_tifs(bout)]
    tifs[0].unlink()
    assert frames() == before, "half of them gone"
    for tif in tifs[1:]:
        tif.unlink()
    assert frames() == before, "all of them gone"
    restore(opened.path)
    assert frames() == before, "restored"
    later(tifs[0])
    assert frames() != before, "one of them changed"


def test_a_bout_that_came_as_an_archive_keeps_its_version_when_it_is_adopted_and_restored(opened):
    bouts = imaging_bouts(opened.path)
    for bout in bouts:
        archive_bout(bout)
        for tif in raw_tifs(bout):
            tif.unlink()
    assert load_report(opened.path, bouts[0].name) is None, "nobody recorded what the archive holds"
    before = versions(opened)[RawKind.FRAMES]
    staging = opened.stage("imaging_frames_archive")
    reports = [archive_bout(bout, staging.folder / bout.name) for bout in bouts]
    opened.publish(staging.seal(), Basis("1"), MadeBy("run"))
    for report in reports:
        save_report(opened.path, report)
    assert versions(opened)[RawKind.FRAMES] == before, "adopted"
    restore(opened.path)
    assert all(raw_tifs(bout) for bout in bouts)
    assert versions(opened)[RawKind.FRAMES] == before, "restored"
    later(raw_tifs(bouts[0])[0])
    assert versions(opened)[RawKind.FRAMES] != before, "a restored tif that was changed is another one"


def test_the_view_of_what_was_delivered_holds_that_and_nothing_else(opened):
    (opened.path / "alf").mkdir()
    (opened.path / "alf" / "x.npy").touch()
    raw = raw_by_kind(opened.path, delivered_files(opened, {}))
    with delivered_view(raw[RawKind.METADATA], raw[RawKind.DAQ]) as view:
        shown = {p.relative_to(view).as_posix() for p in view.rglob("*") if p.is_file()}
        assert SessionKey.parse("/".join(view.parts[-3:])) == opened.key
    assert shown == {file.path for kind in (RawKind.METADATA, RawKind.DAQ) for file in raw[kind].files}
    assert not view.exists()


def test_tifs_that_an_interrupted_removal_left_are_not_shown_as_the_recording(opened):
    first, second = imaging_bouts(opened.path)
    save_report(opened.path, archive_bout(first))
    raw_tifs(first)[0].unlink()
    raw = raw_by_kind(opened.path, delivered_files(opened, {}))
    with delivered_view(raw[RawKind.METADATA], raw[RawKind.FRAMES]) as view:
        assert raw_tifs(view / first.name) == ()
        assert len(raw_tifs(view / second.name)) == len(raw_tifs(second))


def test_errors_and_warnings_about_the_view_name_the_sessions_own_files(opened):
    raw = raw_by_kind(opened.path, delivered_files(opened, {}))[RawKind.DAQ]

    def spoilt(view):
        raise InputFileError(f"{view}/x: bad")

    def odd(view):
        warnings.warn(f"{view}/x is odd", MesoWarning, stacklevel=1)

    def look(read):
        with delivered_view(raw) as view:
            read(view)

    with pytest.raises(InputFileError, match=re.escape(f"{opened.path}/x: bad")):
        look(spoilt)
    with pytest.warns(MesoWarning, match=re.escape(f"{opened.path}/x is odd")):
        look(odd)


# links, and what is no data


@pytest.fixture
def moved(opened, tmp_path):
    """The same session, most of it links: a bout, the DAQ, and single tifs."""
    disk = tmp_path / "disk"
    disk.mkdir()
    for name in ("raw_imaging_data_01", "raw_sync_data"):
        (opened.path / name).rename(disk / name)
        (opened.path / name).symlink_to(disk / name)
    for tif in raw_tifs(opened.path / "raw_imaging_data_00"):
        tif.rename(disk / tif.name)
        tif.symlink_to(disk / tif.name)
    return opened


def test_links_to_data_elsewhere_are_listed_as_the_data(opened, request):
    before = versions(opened)
    assert versions(request.getfixturevalue("moved")) == before


def test_linked_folders_that_go_in_a_circle_are_listed_once(opened):
    (opened.path / "snapshots" / "round").symlink_to(opened.path)
    (opened.path / "raw_sync_data" / "again").symlink_to(opened.path / "raw_sync_data")
    paths = [file.path for file in opened.store.listing(opened.key)]
    assert len(set(paths)) == len(paths) < 1000


def test_a_session_of_links_gives_metadata_pages_and_an_archive(moved, tmp_path):
    raw = raw_by_kind(moved.path, delivered_files(moved, {}))
    with delivered_view(raw[RawKind.METADATA], raw[RawKind.FRAMES]) as view:
        assert len(load_session_metadata(view).bouts) == 2
    for bout in raw[RawKind.FRAMES].bouts:
        n_pages = sum(len(block.heads) for tif in bout_source(bout).tifs for block in tif.blocks(1 << 20))
        report = archive_bout(bout, tmp_path / bout.name)
        assert report.n_pages == n_pages > 0
        assert {member.name for member in report.members} == {tif.name for tif in raw_tifs(bout)}


def test_a_tif_that_is_a_link_to_nothing_is_never_left_out_in_silence(moved, tmp_path):
    bout = moved.path / "raw_imaging_data_00"
    raw_tifs(bout)[-1].readlink().unlink()
    raw = raw_by_kind(moved.path, delivered_files(moved, {}))
    with (
        delivered_view(raw[RawKind.METADATA], raw[RawKind.FRAMES]) as view,
        pytest.raises(InputFileError, match=r"a link to .*, where there is none\. Bring the tif back"),
    ):
        raw_tifs(view / bout.name)
    with pytest.raises(InputFileError, match="a link to"):
        bout_source(bout)


def test_litter_is_of_no_kind(opened):
    def litter():
        for folder in ("", "raw_imaging_data_00", "raw_imaging_data_00/reference", "raw_sync_data", "snapshots"):
            for name in (
                "._x.tif",
                "._x.png",
                ".DS_Store",
                "Thumbs.db",
                "desktop.ini",
                "x.tif.part",
                "x.npy.filepart",
                "x.mat~",
            ):
                (opened.path / folder / name).parent.mkdir(exist_ok=True)
                (opened.path / folder / name).write_bytes(b"no data")
            (opened.path / folder / "@eaDir").mkdir()
            (opened.path / folder / "@eaDir" / "x_00001.tif").write_bytes(b"no data")
        meta = opened.path / "raw_imaging_data_00" / "_ibl_rawImagingData.meta.json"
        (meta.parent / f"._{meta.name}").write_bytes(bytes(4096))

    pictures = register_snapshots(opened.path, session=opened.key).notes
    assert changed_by(opened, litter) == set()
    assert len(load_session_metadata(opened.path).bouts) == 2
    assert len(raw_tifs(opened.path / "raw_imaging_data_00" / "reference")) == 1
    assert register_snapshots(opened.path, session=opened.key).notes == pictures != ()


def test_the_daqs_recording_is_found_in_whichever_folder_of_the_rig(opened):
    (opened.path / "raw_sync_data").rename(opened.path / "raw_timeline_data")
    daq = raw_by_kind(opened.path, delivered_files(opened, {}))[RawKind.DAQ]
    assert len(daq.files) >= 3
    assert daq_folder(daq) == opened.path / "raw_timeline_data"


def test_two_recordings_of_the_daq_are_no_answer(opened):
    shutil.copytree(opened.path / "raw_sync_data", opened.path / "raw_timeline_data")
    daq = raw_by_kind(opened.path, delivered_files(opened, {}))[RawKind.DAQ]
    with pytest.raises(InputFileError, match=r"found raw_sync_data and raw_timeline_data\. Keep the recording"):
        daq_folder(daq)
