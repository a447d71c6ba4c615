"""Content decides: running again what has not changed makes nothing stale; a real change is told, with the reason."""

import json
import os
from contextlib import contextmanager
from dataclasses import replace

import dagster as dg
import numpy as np

from meso_assets.definitions import build_defs
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.dagster_internals import last_observed_version, stale_reasons
from meso_assets.defs.sensors import is_processed
from meso_assets.runs.instance import open_instance
from meso_assets.runs.run import observe_raw
from meso_assets.suite2p_work import Suite2pWork
from meso_core.imaging.registration.fov import registration_is_whole
from meso_core.storage import hash_file

ASSETS = [name for name in CATALOGUE if name != "raw_session"]


def versions(finished):
    return {asset: finished.session.manifest(asset).data_version for asset in ASSETS}


def dagster_says(finished):
    with open_instance(finished.settings) as instance:
        return stale_reasons(instance, build_defs(finished.settings), ASSETS, str(finished.key))


def status_says(finished):
    cells = json.loads(finished.meso("status", "--json").stdout)
    return {cell["asset"]: cell["why"] for cell in cells if cell["state"] == "stale"}


def test_running_everything_again_changes_no_version_and_makes_nothing_stale(finished):
    before = versions(finished)
    assert dagster_says(finished) == {}
    again = finished.meso("run", str(finished.key))
    assert again.returncode == 0, again.stdout[-2000:]
    assert versions(finished) == before
    assert dagster_says(finished) == {}
    assert status_says(finished) == {}
    assert "kept from an earlier run" in again.stdout, "registration was not repeated"


def test_upstream_alone_run_again_leaves_downstream_fresh(finished):
    again = finished.meso("run", str(finished.key), "--assets", "imaging_metadata")
    assert again.returncode == 0
    assert dagster_says(finished) == {}


@contextmanager
def looks_later(finished, pattern):
    """Let a raw file look as if it was written a moment later; Dagster is told, and told again when it is over."""
    file = next(iter(sorted(finished.session.path.glob(pattern))))
    stat = file.stat()
    try:
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        with open_instance(finished.settings) as instance:
            observe_raw(instance, finished.session)
        yield
    finally:
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        with open_instance(finished.settings) as instance:
            version = observe_raw(instance, finished.session)
            assert last_observed_version(instance, "raw_session", str(finished.key)) == version


def test_a_daq_file_that_changes_makes_frame_times_stale_and_nothing_else(finished):
    with looks_later(finished, "raw_sync_data/*.raw.npy"):
        assert "raw_session" in dagster_says(finished)["frame_times"][0]
        assert status_says(finished) == {"frame_times": "raw_session has changed since"}


def test_a_raw_tif_that_changes_makes_the_movies_stale_and_what_was_made_from_them(finished):
    with looks_later(finished, "raw_imaging_data_00/*.tif"):
        assert "raw_session" in " ".join(dagster_says(finished)["motion_registered_frames"])
        told = status_says(finished)
        assert "raw_session has changed since" in told["motion_registered_frames"]
        assert told["rois"] == "motion_registered_frames is stale"
        assert "rois is stale" in told["roi_brain_locations"]
        work = Suite2pWork(finished.session, finished.settings, {})
        assert not registration_is_whole(work.job(0)), "the next run registers anew"


def test_the_flag_taken_away_and_a_late_note_make_nothing_stale_and_repeat_no_registration(finished):
    flag, folder = finished.session.path / "raw_session.flag", finished.session.path / "snapshots"
    note, existed = folder / "late_note.txt", folder.is_dir()
    content, before = flag.read_bytes(), Suite2pWork(finished.session, finished.settings, {}).input_version
    try:
        flag.unlink()
        folder.mkdir(exist_ok=True)
        note.write_text("the window was cleaned")
        with open_instance(finished.settings) as instance:
            observe_raw(instance, finished.session)
        assert dagster_says(finished) == {}
        assert status_says(finished) == {}
        work = Suite2pWork(finished.session, finished.settings, {})
        assert work.input_version == before
        assert all(registration_is_whole(work.job(fov)) for fov in range(len(work.meta["FOV"])))
        assert is_processed(finished.session), "the sensor does not ask for another run"
    finally:
        flag.write_bytes(content)
        note.unlink()
        if not existed:
            folder.rmdir()


def test_changed_settings_are_told_with_both_values(finished):
    other = {"archive_format": "zarr", "suite2p": {"threshold_scaling": 0.5}, "normal_rule": "facet"}
    told = status_says(replace(finished, settings=finished.settings.model_copy(update=other)))
    assert told["imaging_frames_archive"] == "settings: archive_format tar.bz2 → zarr"
    assert told["rois"] == "settings: detection.threshold_scaling 1.0 → 0.5"
    assert told["mean_image_mlapdv"] == "settings: normal_rule region → facet"
    assert "motion_registered_frames" not in told, "registration does not depend on the detection's threshold"


def test_a_published_file_that_vanishes_is_told(finished):
    file = finished.session.path / "alf" / "FOV_00" / "mpci.times.npy"
    content = file.read_bytes()
    file.unlink()
    try:
        assert status_says(finished) == {"frame_times": "alf/FOV_00/mpci.times.npy: missing"}
    finally:
        file.write_bytes(content)


def test_removing_and_restoring_raw_tifs_makes_nothing_stale(finished):
    tifs = {path: digest for path, digest in finished.raw.items() if path.count("/") == 1 and path.endswith(".tif")}
    told = finished.meso("remove-raw", str(finished.key))
    assert "dry run" in told.stdout
    assert all((finished.session.path / path).is_file() for path in tifs)
    removed = finished.meso("remove-raw", str(finished.key), "--yes")
    assert removed.returncode == 0, removed.stderr
    assert not any((finished.session.path / path).exists() for path in tifs)
    assert status_says(finished) == {}
    assert finished.meso("restore", str(finished.key)).returncode == 0
    assert {path: hash_file(finished.session.path / path).sha256 for path in tifs} == tifs
    assert status_says(finished) == {}


def test_the_removal_job_is_a_dry_run_by_default_and_records_each_hash(finished):
    tifs = {path: digest for path, digest in finished.raw.items() if path.count("/") == 1 and path.endswith(".tif")}
    job = build_defs(finished.settings.model_copy(update={"executor": "in_process"})).resolve_job_def("remove_raw_tifs")
    with open_instance(finished.settings) as instance:

        def run(**config):
            ops = {"raw_tifs_removed": {"config": config}}
            return job.execute_in_process(instance=instance, partition_key=str(finished.key), run_config={"ops": ops})

        assert run().success
        assert all((finished.session.path / path).is_file() for path in tifs)
        assert run(dry_run=False).success
        assert not any((finished.session.path / path).exists() for path in tifs)
        told = instance.fetch_observations(dg.AssetKey("raw_session"), limit=1).records[0].asset_observation
        assert all(digest in told.metadata["removed"].md_str for digest in tifs.values())
    assert finished.meso("restore", str(finished.key)).returncode == 0
    assert {path: hash_file(finished.session.path / path).sha256 for path in tifs} == tifs
    assert dagster_says(finished) == {}


def test_a_persons_curation_is_kept_and_changes_what_follows_from_it(finished):
    file = finished.session.path / "suite2p" / "plane0" / "iscell.npy"
    types = finished.session.path / "alf" / "FOV_00" / "mpciROIs.mpciROITypes.npy"
    before, edited = np.load(types), np.load(file)
    edited[:, 0] = 1 - edited[:, 0]
    np.save(file, edited)
    ran = finished.meso("run", str(finished.key), "--assets", "rois")
    assert ran.returncode == 0, ran.stdout[-2000:]
    np.testing.assert_array_equal(np.load(file), edited)
    np.testing.assert_array_equal(np.load(types), 1 - before)
    assert set(dagster_says(finished)) == {"roi_brain_locations"}
