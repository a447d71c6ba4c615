"""Audit, lineage and reproduction of a session that was really processed, with Dagster's own log."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import dagster as dg
import pytest

from meso_assets.assets.lineage import lineage_audit
from meso_assets.definitions import build_defs
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.lineage.audits import audited
from meso_assets.defs.lineage.traces import located, traced
from meso_assets.io.published import read_metadata
from meso_assets.io.resources import Platform
from meso_assets.runs.instance import open_instance
from meso_assets.runs.reproduce import reproduce
from meso_assets.runs.status.cells import State
from meso_assets.web.lineage import lineage_page
from meso_core.datasets import bare_name
from meso_core.errors import MissingInputError
from meso_core.lineage import Kind, last_verdict
from meso_core.storage import Manifest, hash_file
from meso_core.storage.typed import files_by_fov
from tests.integration.conftest import loaded_meso
from tests.one_status import session_status
from tests.report.page_reader import Reader

#: Assets that take seconds.
QUICK = ("imaging_metadata", "frame_qc")


@pytest.fixture(scope="module")
def instance(finished):
    with open_instance(finished.settings) as opened:
        yield opened


@pytest.fixture
def record(finished):
    """Path of the manifest of an asset, which is put back after the test."""
    kept = {}

    def path(asset):
        file = finished.session.path / ".meso" / "manifests" / f"{asset}.json"
        kept[file] = (file.read_bytes(), file.stat())
        return file

    yield path
    for file, (content, stat) in kept.items():
        file.write_bytes(content)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def audit(finished, instance, *, deep):
    return audited(finished.session, finished.settings, instance, deep=deep)


@pytest.mark.parametrize("deep", [True, False])
def test_a_session_that_was_just_made_is_as_it_was_recorded(finished, instance, deep):
    verdict = audit(finished, instance, deep=deep)
    assert verdict.findings == ()
    assert verdict.n_assets == len(CATALOGUE)


def test_the_command_ends_with_its_verdict(finished, record):
    clean = finished.meso("audit", "--deep", "--json")
    assert (clean.returncode, json.loads(clean.stdout)["findings"]) == (0, []), clean.stderr
    assert "% " not in clean.stdout
    file = record("frame_qc")
    version = Manifest.from_json(file.read_text(), "here").data_version[:12]
    file.unlink()
    told = finished.meso("audit", str(finished.key))
    assert told.returncode == 1
    assert f"missing         {finished.key} frame_qc: expected the record of version {version}" in told.stdout
    assert finished.meso("audit", "nobody/2023-03-03/001").returncode == 2


def test_a_forged_record_is_told_by_dagsters_log(finished, instance, record):
    file = record("alyx_fov_records")
    manifest = Manifest.from_json(file.read_text(), "here")
    file.write_text(replace(manifest, made_by=replace(manifest.made_by, host="elsewhere")).to_json())
    (finding,) = audit(finished, instance, deep=True).findings
    assert (finding.kind, finding.asset) == (Kind.EDITED, "alyx_fov_records")


def test_a_changed_input_is_told_as_the_status_tells_it(finished, instance):
    file = finished.session.path / "raw_imaging_data_01" / "exptQC.mat"
    stat = file.stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    try:
        (finding,) = audit(finished, instance, deep=False).findings
        status = json.loads(finished.meso("status", "--json").stdout)
    finally:
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (finding.kind, finding.asset) == (Kind.STALE, "frame_qc")
    assert [cell["why"] for cell in status if cell["state"] == "stale"] == [finding.found]


def test_another_setting_is_told_as_the_status_tells_it_with_what_keeps_the_result(finished, instance):
    """What was made with one resolution of the atlas is looked at with the setting of another shell."""
    made_with = finished.settings.atlas_resolution_um
    other = finished.settings.model_copy(update={"atlas_resolution_um": 25 if made_with != 25 else 50})
    told = f"setting atlas_resolution_um: {made_with} → {other.atlas_resolution_um}"
    findings = audited(finished.session, other, instance).findings
    assert {(one.kind, one.found) for one in findings} == {(Kind.OTHER_SETTINGS, told)}
    cells = session_status(Platform.open(other), instance, finished.key)[0]
    assert {(one.asset, one.why) for one in cells if one.state is State.STALE} == {(f.asset, f.found) for f in findings}
    keeps = f"or, to keep the result as it is, set MESO_ATLAS_RESOLUTION_UM to {made_with}"
    assert all(keeps in one.remedy for one in findings)
    printed = loaded_meso(other, "audit", str(finished.key)).stdout
    assert f"{len(findings)} other settings" in printed
    assert f"{keeps} (now {other.atlas_resolution_um}, set in the environment)" in printed
    lineage = loaded_meso(other, "lineage", str(finished.key)).stdout
    assert lineage.count(f"stale, {told}\n  {keeps.removeprefix('or, ')} (now ") == len(findings)


def test_each_materialisation_shows_its_record_hashes_and_inputs(finished, instance):
    for asset in CATALOGUE:
        (last,) = instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[finished.key.name]), limit=1
        ).records
        shown, manifest = last.asset_materialization.metadata, finished.session.manifest(asset)
        file = finished.session.path / ".meso" / "manifests" / f"{asset}.json"
        assert shown["manifest"].value == str(file)
        assert shown["manifest_sha256"].value == hash_file(file).sha256
        assert all(
            f"| {name} | `{version[:12]}`" in shown["inputs"].value for name, version in manifest.basis.inputs.items()
        )
        assert manifest.files[0].sha256[:16] in shown["hashes"].value
        assert shown["replaced_manifest"].value == (manifest.chain.previous or "none: it is the first")
        assert shown["code"].value == str(manifest.made_by.code)
        assert shown["audit"].value == dg.AssetKey("lineage_audit")


def test_each_asset_publishes_the_datasets_that_it_declares_for_each_field_of_view(finished):
    n_fovs = len(read_metadata(finished.session, finished.session.manifest("imaging_metadata")).imaging.fovs)
    for name, declared in CATALOGUE.items():
        fovs = files_by_fov(finished.session.manifest(name).files)
        assert bool(declared.datasets) == (declared.io_manager == "alf")
        assert len(fovs) == (n_fovs if declared.datasets else 0), name
        for files in fovs.values():
            found = {bare_name(".".join(file.path.split("/")[2].split(".")[:2])) for file in files}
            assert found == set(declared.datasets), name


def test_a_record_names_code_host_and_the_records_of_its_inputs(finished):
    made = finished.session.manifests()
    for name, manifest in made.items():
        assert manifest.session == str(finished.key)
        assert manifest.made_by.host
        assert manifest.made_by.code.version
        upstream = CATALOGUE[name].upstream
        assert manifest.chain.inputs == {other: made[other].digest for other in upstream}
    assert made["imaging_metadata"].facts["centerMM.ML"] == 2.6


def test_the_asset_keeps_and_shows_its_verdict(finished, instance):
    done = dg.materialize(
        [lineage_audit],
        instance=instance,
        partition_key=finished.key.name,
        resources={"platform": Platform.open(finished.settings)},
        run_config={"ops": {"lineage_audit": {"config": {"deep": True}}}},
    )
    (answer,) = done.get_asset_check_evaluations()
    assert (answer.check_name, answer.passed) == ("session_is_as_recorded", True)
    (shown,) = done.asset_materializations_for_node("lineage_audit")
    assert shown.metadata["findings"].value == "all as recorded"
    assert last_verdict(finished.session.path).deep


def test_the_job_tells_what_is_new(finished, instance, record):
    job = build_defs(finished.settings).resolve_job_def("audit_sessions")

    def events():
        chosen = dg.AssetRecordsFilter(dg.AssetKey("lineage_audit"), asset_partitions=[finished.key.name])
        return instance.fetch_materializations(chosen, limit=50).records

    def run():
        before = len(events())
        assert job.execute_in_process(instance=instance).success
        return len(events()) - before

    run()
    assert run() == 0, "nothing new"
    record("frame_qc").unlink()
    assert run() == 1
    assert "frame_qc" in events()[0].asset_materialization.metadata["findings"].value


def test_a_file_is_followed_to_the_tifs_whose_hashes_the_archive_knows(finished):
    platform = Platform.open(finished.settings)
    file = finished.session.path / "alf" / "FOV_00" / "mpci.ROIActivityF.npy"
    session, subject = located(platform, str(file), "")
    found = traced(platform, session, subject)
    assert [step.asset for step in found.steps][-1] == "rois"
    assert {step.asset for step in found.steps} == {"imaging_metadata", "frame_qc", "motion_registered_frames", "rois"}
    (frames,) = [raw for raw in found.raw if raw.name == "raw_frames"]
    assert frames.hashes == {
        path: sha for path, sha in finished.raw.items() if path.endswith(".tif") and "/reference/" not in path
    }
    assert [step.asset for step in found.onward] == [
        "roi_brain_locations",
        "session_qc",
        "alyx_datasets",
        "alyx_session_qc",
        "session_report",
    ]
    with pytest.raises(MissingInputError, match="lies in none"):
        located(platform, "/elsewhere/file.npy", "")


def test_the_page_of_its_lineage_leads_from_each_result_to_its_run_and_to_the_report(finished, instance):
    content, name = lineage_page(finished.settings, instance, str(finished.key), "../").decode(), finished.key.name
    made, links = finished.session.manifests(), Reader(content).links
    for asset in CATALOGUE:
        part = content[content.index(f'<section class="result" id="{asset}"') :].partition("</section>")[0]
        assert f'href="../runs/{made[asset].made_by.run_id}"' in part
        assert made[asset].data_version in part
    assert f"../meso/overview/files/{name}/-/reports/session_report.html" in links
    assert f"{len(CATALOGUE)} of {len(CATALOGUE)} results made and current" in content
    told = finished.meso("lineage", name)
    assert told.returncode == 0, told.stderr
    assert all(f"run {manifest.made_by.run_id}, host" in told.stdout for manifest in made.values())


def snapshot(folder):
    """Everything of a folder: content, times, and how it is linked."""
    found = {}
    for file in sorted(folder.rglob("*")):
        stat = file.lstat()
        found[file] = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_nlink)
    return found


@pytest.mark.parametrize("asset", QUICK)
def test_an_asset_that_is_made_again_comes_out_the_same_and_the_session_is_not_touched(finished, asset):
    before = snapshot(finished.session.path)
    done = reproduce(finished.settings, finished.session, asset)
    assert done.is_identical, done
    assert len(done.files) == len(finished.session.manifest(asset).files)
    assert snapshot(finished.session.path) == before


@pytest.mark.nightly
@pytest.mark.parametrize("asset", [name for name in CATALOGUE if name not in QUICK])
def test_every_asset_can_be_made_again(finished, asset):
    assert reproduce(finished.settings, finished.session, asset).is_identical


def test_an_asset_that_comes_out_otherwise_is_told_by_how_much(finished, monkeypatch):
    import meso_core.timing

    made = meso_core.timing.session_frame_qc

    def otherwise(*arguments, **options):
        quality = made(*arguments, **options)
        datasets = {
            fov: {**values, "mpci.excludedFrames": ~values["mpci.excludedFrames"]}
            for fov, values in quality.datasets().items()
        }
        return SimpleNamespace(joined=quality.joined, datasets=lambda: datasets)

    monkeypatch.setattr(meso_core.timing, "session_frame_qc", otherwise)
    done = reproduce(finished.settings, finished.session, "frame_qc")
    assert not done.is_identical
    (told,) = {file.difference for file in done.files if not file.is_equal}
    assert told.endswith("values differ, largest difference 1 at [0]")


def test_settings_of_today_do_not_decide_what_is_made_again(finished):
    other = finished.settings.model_copy(update={"window_center_ml": 1.0})
    assert reproduce(other, finished.session, "imaging_metadata").is_identical


def test_other_inputs_are_told_and_nothing_is_made(finished):
    file = finished.session.path / "raw_imaging_data_01" / "exptQC.mat"
    stat = file.stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    try:
        with pytest.raises(MissingInputError, match="found others: raw_frame_ratings"):
            reproduce(finished.settings, finished.session, "frame_qc")
    finally:
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
