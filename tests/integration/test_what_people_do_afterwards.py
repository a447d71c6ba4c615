"""What a person does to a finished session: tifs removed and brought back, cells curated."""

import re
import shutil
from dataclasses import replace

import dagster as dg
import numpy as np
import pytest

from meso_assets.definitions import build_defs
from meso_assets.runs.instance import open_instance
from meso_core.storage import hash_file
from tests.integration.staleness import all_say, dagster_says


@pytest.fixture(scope="module")
def instance(finished):
    with open_instance(finished.settings) as opened:
        yield opened


@pytest.fixture
def tifs(finished):
    """Path → hash, of the raw tifs of the bouts."""
    return {path: digest for path, digest in finished.raw.items() if path.count("/") == 1 and path.endswith(".tif")}


def test_removing_and_restoring_raw_tifs_makes_nothing_stale(finished, instance, tifs):
    told = finished.meso("remove-raw", str(finished.key))
    assert "dry run" in told.stdout
    assert all((finished.session.path / path).is_file() for path in tifs)
    removed = finished.meso("remove-raw", str(finished.key), "--yes")
    assert removed.returncode == 0, removed.stderr
    assert not any((finished.session.path / path).exists() for path in tifs)
    assert all_say(instance, finished.settings, finished.key) == {}
    assert finished.meso("restore", str(finished.key)).returncode == 0
    assert {path: hash_file(finished.session.path / path).sha256 for path in tifs} == tifs
    assert all_say(instance, finished.settings, finished.key) == {}


def test_the_removal_job_is_a_dry_run_by_default_and_records_each_hash(finished, instance, tifs):
    job = build_defs(finished.settings.model_copy(update={"executor": "in_process"})).resolve_job_def("remove_raw_tifs")

    def run(**config):
        ops = {"raw_tifs_removed": {"config": config}}
        return job.execute_in_process(
            instance=instance, partition_key=finished.key.name, run_config={"ops": ops}, raise_on_error=False
        )

    dry = run()
    assert dry.success
    for unconfirmed in ("", "000000000000"):
        assert not run(dry_run=False, confirm=unconfirmed).success, "as a page of somebody else would ask it"
    assert all((finished.session.path / path).is_file() for path in tifs)
    told = "\n".join(entry.user_message for entry in instance.all_logs(dry.run_id))
    assert run(dry_run=False, confirm=re.search(r"confirm: (\w+)", told)[1]).success
    assert not any((finished.session.path / path).exists() for path in tifs)
    told = instance.fetch_observations(dg.AssetKey("raw_frames"), limit=1).records[0].asset_observation
    assert all(digest in told.metadata["removed"].md_str for digest in tifs.values())
    assert finished.meso("restore", str(finished.key)).returncode == 0
    assert {path: hash_file(finished.session.path / path).sha256 for path in tifs} == tifs
    assert all_say(instance, finished.settings, finished.key) == {}


@pytest.fixture
def own(finished, tmp_path):
    """A copy of the finished session and of its records: others compare it with what they make themselves."""
    places = {"root": tmp_path / "sessions", "home": tmp_path / "home"}
    for name, place in places.items():
        shutil.copytree(getattr(finished.settings, name), place)
    return replace(finished, settings=finished.settings.model_copy(update={**places, "executor": "in_process"}))


def test_of_several_roots_tifs_go_and_come_back_in_the_one_that_holds_the_session(own, tifs, tmp_path):
    disk, session = tmp_path / "other disk", own.session
    beside = disk / "SPB/2023-03-03/001"
    beside.mkdir(parents=True)
    for path in tifs:  # the same names, of a session that is not processed
        (beside / path).parent.mkdir(exist_ok=True)
        shutil.copy2(session.path / path, beside / path)
    joined = replace(own, settings=own.settings.model_copy(update={"root": (disk, own.settings.root)}))
    before = {path: path.stat().st_mtime_ns for path in disk.rglob("*") if path.is_file()}
    removed = joined.meso("remove-raw", str(own.key), "--yes")
    assert removed.returncode == 0, removed.stderr
    assert not any((session.path / path).exists() for path in tifs)
    refused = joined.meso("remove-raw", "SPB/2023-03-03/001", "--yes")
    assert refused.returncode == 2
    assert "cannot replace a verified archive" in refused.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert joined.meso("restore", str(own.key)).returncode == 0
    assert {path: hash_file(session.path / path).sha256 for path in tifs} == tifs
    assert "stale" not in joined.meso("status", str(own.key)).stdout


def test_a_persons_curation_is_told_kept_and_changes_what_follows_from_it(own):
    file = own.session.path / "suite2p" / "plane0" / "iscell.npy"
    types = own.session.path / "alf" / "FOV_00" / "mpciROIs.mpciROITypes.npy"
    before, edited = np.load(types), np.load(file)
    edited[:, 0] = 1 - edited[:, 0]
    np.save(file, edited)
    assert "iscell.npy: content changed" in own.meso("status", str(own.key)).stdout
    ran = own.meso("run", str(own.key), "--assets", "rois")
    assert ran.returncode == 0, ran.stdout[-2000:]
    np.testing.assert_array_equal(np.load(file), edited)
    np.testing.assert_array_equal(np.load(types), 1 - before)
    following = {"roi_brain_locations", "session_qc", "alyx_datasets", "alyx_session_qc", "session_report"}
    with open_instance(own.settings) as opened:
        assert dagster_says(opened, own.settings, own.key) == following
        assert set(all_say(opened, own.settings, own.key)) == following
