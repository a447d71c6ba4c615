"""One truth of what is current: Dagster, the status, the sensor, the markers and a run agree on each change.

What each asset depends on is written down here a second time, by hand: a declaration that says more or less than
this table is found by it. That the table is true of what assets *do* is shown by ``test_raw_inputs``.
"""

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from meso_assets.defs import declare
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.runs.instance import open_instance
from meso_assets.runs.settings.settings import MesoSettings
from meso_core.errors import SettingsError
from meso_core.imaging import Suite2pOverrides
from meso_core.imaging.options.overrides import stage_options
from meso_core.imaging.options.settings_table import find_setting
from meso_core.review import PERSON_VERDICTS, keep_person_verdict
from meso_core.storage import Basis, FileRecord, hash_file
from tests.integration.staleness import all_say, dagster_says, markers_say, sensor_says, status_says

#: Raw files → a file of them in the simulated session, and the assets that read them.
RAW = {
    "raw_frames": (
        "raw_imaging_data_00/*.tif",
        {"imaging_metadata", "imaging_frames_archive", "motion_registered_frames", "session_report"},
    ),
    "raw_metadata": ("raw_imaging_data_00/*.meta.json", {"imaging_metadata", "imaging_frames_archive"}),
    "raw_frame_ratings": ("raw_imaging_data_01/*.mat", {"frame_qc"}),
    "raw_daq": ("raw_sync_data/*.raw.npy", {"frame_times"}),
    "raw_reference": (
        "raw_imaging_data_00/reference/*",
        {"reference_images", "mean_image_mlapdv", "alyx_datasets"},
    ),
    "raw_snapshots": ("snapshots/*", {"alyx_snapshots"}),
}
#: Assets that show or tell what people said.
READ_PEOPLE = {"session_report", "alyx_session_qc"}
#: Asset → the assets that read it.
READERS = {
    "imaging_metadata": {
        "reference_images",
        "frame_qc",
        "frame_times",
        "motion_registered_frames",
        "rois",
        "mean_image_mlapdv",
        "alyx_fov_records",
        "alyx_datasets",
        "alyx_session_qc",
        "session_qc",
        "session_report",
    },
    "imaging_frames_archive": {"alyx_datasets", "alyx_session_qc", "session_qc", "session_report"},
    "reference_images": {"alyx_datasets", "alyx_session_qc", "session_qc", "session_report"},
    "frame_qc": {"motion_registered_frames", "alyx_datasets", "alyx_session_qc", "session_qc", "session_report"},
    "frame_times": {"alyx_datasets", "alyx_session_qc", "session_qc", "session_report"},
    "motion_registered_frames": {"rois", "alyx_datasets", "alyx_session_qc", "session_qc", "session_report"},
    "rois": {"roi_brain_locations", "alyx_datasets", "alyx_session_qc", "session_qc", "session_report"},
    "mean_image_mlapdv": {
        "roi_brain_locations",
        "alyx_fov_records",
        "alyx_datasets",
        "alyx_session_qc",
        "session_qc",
        "session_report",
    },
    "roi_brain_locations": {"alyx_datasets", "alyx_session_qc", "session_qc", "session_report"},
    "alyx_fov_records": set(),
    "alyx_snapshots": set(),
    "alyx_datasets": set(),
    "alyx_session_qc": set(),
    "session_qc": {"alyx_datasets", "alyx_session_qc", "session_report"},
    "session_report": set(),
}
#: Asset of which each FOV of a stage of suite2p reads its own part alone → that stage.
BY_FOV = {"frame_qc": {"motion_registered_frames"}, "motion_registered_frames": {"rois"}}
_ALYX = {"alyx_fov_records", "alyx_snapshots", "alyx_datasets", "alyx_session_qc"}
#: Assets that make something of each FOV, and read nothing that does so in their place.
OF_EACH_FOV = {"frame_qc", "frame_times", "motion_registered_frames", "rois", "mean_image_mlapdv"}
_PLACES = {"mean_image_mlapdv", "roi_brain_locations", "session_report"}
#: Setting → another value, and the assets whose content depends on it.
SETTINGS = {
    "window_center_ml": (1.5, {"imaging_metadata"}),
    "window_center_ap": (-1.5, {"imaging_metadata"}),
    "channels": ("depths", {"imaging_metadata"}),
    "damaged_frames": ("refuse", {"imaging_metadata"}),
    "frame_channel": ("frames", {"frame_times"}),
    "archive_format": ("zarr", {"imaging_frames_archive"}),
    "genotype": ("Camk2a-tTA;tetO-G6f", {"rois"}),
    "atlas": ("allen", _PLACES),
    "atlas_resolution_um": (25, _PLACES),
    "atlas_path": ("/elsewhere/annotation.nrrd", _PLACES),
    "mesh_path": ("/elsewhere/mesh.npz", _PLACES),
    "normal_rule": ("facet", _PLACES),
    "frame": ("mri_toronto", _PLACES),
    "qc_limits": ({"light_lost": {"warning": 0.2}}, {"session_qc", "alyx_session_qc", "session_report"}),
    "alyx": ("dry-run", _ALYX),
    "alyx_url": ("https://alyx.example.org", _ALYX),
    "alyx_repository": ("lab_server", {"alyx_datasets"}),
}
#: Settings that decide how work is done, and nothing of what comes out.
NO_CONTENT = {
    "root",
    "home",
    "scratch",
    "scratch_gb",
    "cores",
    "memory_gb",
    "fov_memory_gb",
    "executor",
    "slurm_partition",
    "slurm_account",
    "slurm_options",
    "slurm_jobs",
    "celery_steps",
    "k8s_image",
    "k8s_namespace",
    "k8s_service_account",
    "k8s_step",
    "k8s_steps",
    "cache",
    "quiet_minutes",
    "removed_kept_days",
    "keep_versions",
    "ui_hosts",
    "scan_every_s",
    "scan_max_runs",
    "watch",
    "rerun_stale",
    "logs_kept_days",
    "notices_file",
}
PACKAGES = {
    "suite2p": {"motion_registered_frames", "rois"},
    "torch": {"motion_registered_frames", "rois"},
    "numba": {"motion_registered_frames"},
    "scipy": {"rois", "mean_image_mlapdv", "session_qc", "session_report"},
    "scikit-learn": {"rois"},
    "iblatlas": {"mean_image_mlapdv"},
    **{name: {"session_report"} for name in ("matplotlib", "contourpy", "pillow", "jinja2", "av", "rastermap")},
}


@pytest.fixture(scope="module")
def instance(finished):
    with open_instance(finished.settings) as opened:
        yield opened


@contextmanager
def later(file):
    """Let a file look as if it was written a moment later."""
    stat = file.stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    try:
        yield
    finally:
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_the_hand_written_tables_are_complete():
    assert set(READERS) == set(CATALOGUE)
    assert set(SETTINGS) | NO_CONTENT | {"suite2p", "left_out_fovs"} == set(MesoSettings.model_fields)
    assert set(PACKAGES) == {package for declared in CATALOGUE.values() for package in declared.packages}


def test_a_session_that_was_just_made_is_current_for_everybody(finished, instance):
    assert all_say(instance, finished.settings, finished.key) == {}


@pytest.mark.parametrize("raw", RAW)
def test_a_changed_raw_file_makes_stale_those_that_read_it(finished, instance, raw):
    pattern, readers = RAW[raw]
    with later(sorted(finished.session.path.glob(pattern))[0]):
        told = all_say(instance, finished.settings, finished.key)
    assert set(told) == readers
    assert all(f"{raw} has changed" in why for why in told.values())
    assert all_say(instance, finished.settings, finished.key) == {}, "changed back"


def test_what_a_person_says_makes_stale_those_that_show_it(finished, instance):
    """So that no page shows an old word as the one that counts."""
    file = finished.session.path / PERSON_VERDICTS
    try:
        keep_person_verdict(finished.session.path, "reject", "Ada", "bubble")
        told = all_say(instance, finished.settings, finished.key)
    finally:
        file.unlink()
    assert set(told) == READ_PEOPLE
    assert all("person_verdicts has changed" in why for why in told.values())
    assert all_say(instance, finished.settings, finished.key) == {}, "taken back"


@pytest.mark.parametrize("asset", [name for name, readers in READERS.items() if readers])
def test_an_asset_that_comes_out_otherwise_makes_stale_those_that_read_it(finished, instance, asset):
    """The asset is published once more with a file added, as a run with another result would; and then as it was."""
    session = finished.session
    manifest = session.manifest(asset)
    record = session.path / ".meso" / "manifests" / f"{asset}.json"
    kept, extra = record.read_bytes(), session.path / "reports" / f"{asset}.extra"
    extra.write_bytes(b"other")
    content = hash_file(extra)
    added = FileRecord(f"reports/{extra.name}", content.size, content.sha256, content.md5)
    other = replace(manifest, files=(*manifest.files, added))
    try:
        record.write_text(other.to_json())
        _tell_dagster(instance, finished, asset, other.data_version)
        # what was added belongs to no FOV, so that a run again keeps each of them
        told = all_say(instance, finished.settings, finished.key, fovs_hold=BY_FOV.get(asset, ()))
    finally:
        record.write_bytes(kept)
        extra.unlink()
        _tell_dagster(instance, finished, asset, manifest.data_version)
    assert set(told) == READERS[asset]
    assert all(f"{asset} has changed" in why for why in told.values())
    assert all_say(instance, finished.settings, finished.key) == {}, "changed back"


def _tell_dagster(instance, finished, asset, version):
    """Report the materialisation that a run of the asset would have left."""
    (last,) = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[finished.key.name]), limit=1
    ).records
    tags = {**last.asset_materialization.tags, "dagster/data_version": version}
    instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=finished.key.name, tags=tags))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_changed_setting_makes_stale_those_that_depend_on_it(finished, instance, name):
    value, readers = SETTINGS[name]
    told = all_say(instance, finished.settings.model_copy(update={name: value}), finished.key)
    assert set(told) == readers
    assert all(f"setting {name}" in why for why in told.values())


def test_a_field_that_is_left_out_makes_stale_what_is_made_of_each_field(finished, instance):
    """Dagster has one version of a declaration for all sessions, and is not told; FOVs that stay hold."""
    without = finished.settings.model_copy(update={"left_out_fovs": {str(finished.key): ("FOV_01",)}})
    told = status_says(instance, without, finished.key)
    assert set(told) == OF_EACH_FOV == sensor_says(without, finished.key)
    assert set(told.values()) == {"setting left_out_fovs: (not recorded) → ['FOV_01']"}
    assert dagster_says(instance, without, finished.key) == markers_say(without, finished.key) == set()


def test_a_field_that_is_left_out_of_another_session_makes_nothing_stale(finished, instance):
    other = finished.settings.model_copy(update={"left_out_fovs": {"SP999/2023-03-03/001": ("FOV_01",)}})
    assert all_say(instance, other, finished.key) == {}


@pytest.mark.parametrize("name", sorted(NO_CONTENT - {"root", "home"}))
def test_a_setting_that_decides_no_content_makes_nothing_stale(finished, instance, name):
    others = {
        "executor": "in_process",
        **dict.fromkeys(("slurm_partition", "slurm_account", "slurm_options"), "x"),
        **dict.fromkeys(("k8s_image", "k8s_namespace", "k8s_service_account"), "x"),
        "k8s_step": {"job_metadata": {"labels": {"a": "b"}}},
        "cache": Path("/elsewhere"),
        "scratch": Path("/elsewhere"),
        "notices_file": Path("/elsewhere"),
        "rerun_stale": True,
        "watch": True,
        "ui_hosts": "meso.lab",
    }
    value = others.get(name, 31)
    assert all_say(instance, finished.settings.model_copy(update={name: value}), finished.key) == {}


def _another(name):
    """Return an allowed value that is not the default."""
    try:
        default = find_setting(name).default
    except SettingsError:  # suite2p's setting, and not a user's
        return None
    candidates = [
        not default,
        1,
        2,
        0.5,
        7,
        0.07,
        "max_proj",
        "neucoeff",
        "cellpose",
        [64, 64],
        "sparsery",
        "x.npy",
        1.7,
    ]
    for value in candidates:
        try:
            parsed = Suite2pOverrides.parse({name: value})
        except SettingsError:
            continue
        if parsed.values and parsed != Suite2pOverrides.parse({}):
            return value
    return None


@pytest.mark.parametrize("stage", ["registration", "detection"])
def test_each_suite2p_option_makes_stale_the_stage_that_it_decides(finished, stage):
    """Markers of FOVs are asked where the option reaches them; the others for every option."""
    asset = {"registration": "motion_registered_frames", "detection": "rois"}[stage]
    tried = 0
    for name in stage_options(Suite2pOverrides.parse({}), stage):
        value = _another(name)
        if value is None:
            continue
        changed = finished.settings.model_copy(update={"suite2p": {name: value}})
        assert sensor_says(changed, finished.key) == {asset}, name
        assert CATALOGUE[asset].version(changed) != CATALOGUE[asset].version(finished.settings), name
        tried += 1
    assert tried > 10


@pytest.mark.parametrize(
    ("option", "asset"),
    [({"maxregshift": 0.1}, "motion_registered_frames"), ({"threshold_scaling": 0.5}, "rois"), ({"tau": 0.7}, "rois")],
)
def test_an_option_of_suite2p_is_told_by_name_by_all(finished, instance, option, asset):
    told = all_say(instance, finished.settings.model_copy(update={"suite2p": option}), finished.key)
    assert set(told) == {asset}
    assert next(iter(option)) in told[asset]


def test_an_option_that_states_the_default_makes_nothing_stale(finished, instance):
    stated = finished.settings.model_copy(update={"suite2p": {"maxregshift": 0.05, "threshold_scaling": 1.0}})
    assert all_say(instance, stated, finished.key) == {}


@pytest.mark.parametrize("asset", CATALOGUE)
def test_a_raised_code_version_makes_its_asset_stale_and_no_other(finished, instance, asset, monkeypatch):
    before = CATALOGUE[asset].code_version
    monkeypatch.setitem(CATALOGUE, asset, replace(CATALOGUE[asset], code_version="next"))
    told = all_say_with_catalogue(instance, finished, asset, monkeypatch)
    assert told == {asset: f"code version {before} → next"}


def all_say_with_catalogue(instance, finished, asset, monkeypatch):
    import meso_assets.assets.suite2p as module

    for name, declared in (("_FRAMES", "motion_registered_frames"), ("_ROIS", "rois")):
        if declared == asset:
            monkeypatch.setattr(module, name, CATALOGUE[asset])
    return all_say(instance, finished.settings, finished.key)


@pytest.mark.parametrize("package", PACKAGES)
def test_another_version_of_a_package_makes_stale_those_whose_bytes_it_decides(
    finished, instance, package, monkeypatch
):
    true_versions = declare.package_versions

    def other(names):
        # one that is not installed, as rastermap may be, is installed then
        return {**true_versions(names), **({package: "other"} if package in names else {})}

    monkeypatch.setattr(declare, "package_versions", other)
    declare._versions.cache_clear()
    try:
        told = all_say(instance, finished.settings, finished.key)
    finally:
        declare._versions.cache_clear()
    assert set(told) == PACKAGES[package]
    assert all(f"package {package}" in why for why in told.values())


def test_a_published_file_that_vanishes_is_told_and_due(finished, instance):
    """Dagster knows nothing of the disk: the two that look at it agree."""
    file = finished.session.path / "alf" / "FOV_00" / "mpci.times.npy"
    content = file.read_bytes()
    stat = file.stat()
    file.unlink()
    try:
        assert status_says(instance, finished.settings, finished.key) == {
            "frame_times": "alf/FOV_00/mpci.times.npy: missing"
        }
        assert sensor_says(finished.settings, finished.key) == {"frame_times"}
    finally:
        file.write_bytes(content)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert all_say(instance, finished.settings, finished.key) == {}


def test_the_flag_taken_away_makes_nothing_stale(finished, instance):
    flag = finished.session.path / "raw_session.flag"
    flag.unlink()
    try:
        assert all_say(instance, finished.settings, finished.key) == {}
    finally:
        flag.touch()


#: Asset → the function of meso_core that does its work, as the asset calls it.
WORKERS = {
    "imaging_metadata": "meso_core.scanimage.load_session_metadata",
    "imaging_frames_archive": "meso_core.archive.archive_bout",
    "reference_images": "meso_core.scanimage.reference_images.reference_images",
    "frame_qc": "meso_core.timing.session_frame_qc",
    "frame_times": "meso_core.timing.find_frame_times",
    "motion_registered_frames": "meso_core.imaging.session.process_fovs",
    "rois": "meso_core.imaging.session.process_fovs",
    "mean_image_mlapdv": "meso_core.location.locate_session",
    "roi_brain_locations": "meso_core.location.locate_rois",
    "alyx_fov_records": "meso_core.alyx.register_fov",
    "alyx_snapshots": "meso_core.alyx.register_snapshots",
    "session_qc": "meso_core.report.judge_session",
    "alyx_datasets": "meso_core.alyx.files_to_register",
    "alyx_session_qc": "meso_core.alyx.session_verdict",
    "session_report": "meso_core.report.make_report",
}


@pytest.mark.parametrize("asset", WORKERS)
@pytest.mark.usefixtures("without_workers")
def test_a_stale_asset_is_computed_again_a_current_one_is_not_and_nothing_else_changes(
    finished, instance, asset, monkeypatch, materialise
):
    """What workers made is made again in this process: the same bytes."""
    import importlib

    module, _, function = WORKERS[asset].rpartition(".")
    calls, true_function = [], getattr(importlib.import_module(module), function)
    monkeypatch.setattr(WORKERS[asset], lambda *a, **k: calls.append(1) or true_function(*a, **k))
    session = finished.session
    before = {name: session.manifest(name) for name in CATALOGUE}

    assert materialise(instance, finished.settings, finished.key, [asset]).success
    assert not calls, "current: nothing is computed"
    assert session.manifest(asset) == before[asset], "nor published"

    record = session.path / ".meso" / "manifests" / f"{asset}.json"
    old = replace(before[asset], basis=replace(before[asset].basis, code_version="0"))
    record.write_text(old.to_json())
    _age_markers(session, asset)
    assert set(status_says(instance, finished.settings, finished.key)) == {asset}
    assert materialise(instance, finished.settings, finished.key, [asset]).success
    assert calls, "stale: computed again"
    after = {name: session.manifest(name) for name in CATALOGUE}
    assert after[asset].basis == before[asset].basis
    assert after[asset].data_version == before[asset].data_version, "same input, same bytes"
    assert {n: m for n, m in after.items() if n != asset} == {n: m for n, m in before.items() if n != asset}
    assert all_say(instance, finished.settings, finished.key) == {}


def _age_markers(session, asset):
    """Let the FOVs of a stage look as if older code had made them: the record of a marker holds the same basis."""
    import json

    stage = CATALOGUE[asset].stage
    for marker in (session.path / ".meso" / "work" / "suite2p").glob(f"plane*/.{stage}-whole"):
        content = json.loads(marker.read_text())
        basis = Basis.from_record(content["basis"])
        aged = replace(basis, code_version="0")
        marker.write_text(json.dumps({**content, "basis": aged.as_record(), "basis_digest": aged.digest}))


def test_nothing_is_hashed_or_computed_when_an_unchanged_session_is_run_again(
    finished, instance, monkeypatch, materialise
):
    import meso_core.imaging.fovs.marker as marker
    from meso_core.storage.manifests import ownership
    from meso_core.storage.publication import staging

    for module, name in ((ownership, "sha256_of"), (staging, "hash_file"), (marker, "hash_file")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("a file was hashed"))
    for worker in WORKERS.values():
        monkeypatch.setattr(worker, lambda *_, **__: pytest.fail("something was computed"))
    before = {name: finished.session.manifest(name) for name in CATALOGUE}
    assert materialise(instance, finished.settings, finished.key, list(CATALOGUE)).success
    assert {name: finished.session.manifest(name) for name in CATALOGUE} == before
    assert dagster_says(instance, finished.settings, finished.key) == set()


@pytest.mark.usefixtures("without_workers")
def test_options_of_one_run_are_recorded_and_make_nothing_stale(finished, instance, materialise):
    config = {"ops": {"rois": {"config": {"suite2p": {"threshold_scaling": 0.8}}}}}
    before = finished.session.manifest("rois")
    assert materialise(instance, finished.settings, finished.key, ["rois"], **config).success
    made = finished.session.manifest("rois")
    assert made.made_by.options == {"suite2p": {"threshold_scaling": 0.8}}
    assert made.basis == before.basis
    assert "rois" not in status_says(instance, finished.settings, finished.key)
    assert materialise(instance, finished.settings, finished.key, ["rois"]).success, "the next run has none"
    again = finished.session.manifest("rois").made_by
    assert again == replace(made.made_by, run_id=again.run_id, options={})
    assert finished.session.manifest("rois").data_version == before.data_version
