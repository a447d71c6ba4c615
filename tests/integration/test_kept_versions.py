"""Earlier results are kept where the lab asks for it, and brought back so that nobody is surprised by them."""

from __future__ import annotations

import os

import dagster as dg
import pytest

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.lineage.audits import audited
from meso_assets.defs.running.claims import Claims
from meso_assets.defs.running.remote_claims import claims_of
from meso_assets.io.resources import Platform
from meso_assets.runs.instance import open_instance
from meso_assets.runs.versions import cleaned, listed, restored
from meso_core.errors import SettingsError, StorageError
from meso_core.lineage import Kind
from meso_core.storage import hash_file, verify_manifest
from meso_core.storage.remote import open_root, remove, upload
from tests.integration.conftest import loaded_meso

QUICK = ("imaging_metadata", "frame_qc")


@pytest.fixture(scope="module")
def twice(tmp_path_factory, make_settings, materialise):
    """A session whose frame QC was made from two versions of the ratings, with one earlier version kept."""
    from meso_core.simulate import preset, simulate_session

    settings = make_settings(tmp_path_factory.mktemp("kept"), keep_versions=1)
    made = simulate_session(settings.root, preset("tiny"))
    with open_instance(settings) as instance:
        assert materialise(instance, settings, made.key, QUICK).success
        first = Platform.open(settings).session(str(made.key)).manifest("frame_qc")
        ratings = made.session_path / "raw_imaging_data_01" / "exptQC.mat"
        aside = ratings.rename(settings.home / "exptQC.mat")
        assert materialise(instance, settings, made.key, QUICK).success
        yield settings, Platform.open(settings).session(str(made.key)), instance, first, (aside, ratings)


def audit(settings, session, instance, *, deep):
    findings = audited(session, settings, instance, deep=deep).findings
    return {(finding.kind, finding.asset) for finding in findings}


def test_a_kept_version_is_brought_back_and_every_record_knows_it(twice):
    settings, session, instance, first, (aside, ratings) = twice
    second = session.manifest("frame_qc")
    (version,) = listed(session)["frame_qc"]
    assert (version.manifest, version.lacking) == (first, ())
    assert version.why_replaced.startswith("raw_frame_ratings has changed")
    assert list(listed(session, "imaging_metadata").values()) == [()], "it came out the same"
    for deep in (True, False):
        assert audit(settings, session, instance, deep=deep) == set(), "kept files are no orphans"
    manifest = restored(session, "frame_qc", first.data_version[:12], instance)
    assert manifest.chain.previous == second.digest
    assert verify_manifest(session.path, manifest) == ()
    chosen = dg.AssetRecordsFilter(dg.AssetKey("frame_qc"), asset_partitions=[str(session.key)])
    newest = instance.fetch_materializations(chosen, limit=1).records[0].asset_materialization
    assert newest.tags["dagster/data_version"] == manifest.data_version
    assert newest.metadata["manifest_sha256"].value == manifest.digest
    for deep in (True, False):
        assert audit(settings, session, instance, deep=deep) == {(Kind.STALE, "frame_qc")}, "its ratings are others"
    aside.rename(ratings)
    try:
        for deep in (True, False):
            assert audit(settings, session, instance, deep=deep) == set(), "they are back"
    finally:
        ratings.rename(aside)
    assert restored(session, "frame_qc", second.data_version, instance).data_version == second.data_version


def test_a_version_that_is_back_already_is_only_told_to_dagster_where_it_does_not_know(twice):
    _, session, instance, *_ = twice
    present = session.manifest("frame_qc")

    def n_events():
        chosen = dg.AssetRecordsFilter(dg.AssetKey("frame_qc"), asset_partitions=[str(session.key)])
        return len(instance.fetch_materializations(chosen, limit=50).records)

    before = n_events()
    assert restored(session, "frame_qc", present.data_version, instance) == present
    assert n_events() == before


def test_nothing_is_brought_back_or_removed_while_a_run_makes_the_asset(twice):
    _, session, instance, first, _ = twice
    claims = Claims(session.path, "a-run-at-work")
    assert claims.take(("frame_qc",)) == ()
    before = session.manifest("frame_qc")
    try:
        with pytest.raises(StorageError, match="frame_qc is made by run a,"):
            restored(session, "frame_qc", first.data_version, instance)
        with pytest.raises(StorageError, match="Wait until that has ended"):
            cleaned(session, (), 0)
    finally:
        claims.give_all_back()
    assert session.manifest("frame_qc") == before
    with pytest.raises(SettingsError, match="expected one of imaging_metadata"):
        restored(session, "spikes", "ab", instance)


def test_the_command_lists_restores_and_removes(twice):
    settings, session, _, first, _ = twice
    told = loaded_meso(settings, "versions", str(session.key))
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(f"frame_qc                    {first.data_version[:12]}  ")
    assert f"run {first.made_by.run_id[:8]}" in told.stdout
    assert "replaced: version" in told.stdout
    back = loaded_meso(settings, "versions", "restore", str(session.key), "frame_qc", first.data_version[:12])
    assert back.stdout.strip().endswith("again"), back.stderr
    assert session.manifest("frame_qc").data_version == first.data_version
    gone = loaded_meso(settings, "versions", "clean", str(session.key), "--keep", "0")
    assert "versions removed: 1" in gone.stdout, gone.stderr
    assert "no earlier version is kept" in loaded_meso(settings, "versions", str(session.key), "frame_qc").stdout
    assert os.listdir(session.path / ".meso/versions/frame_qc") == []  # noqa: PTH208  all names, hidden ones too


def test_on_a_server_they_are_kept_listed_and_brought_back_too(tmp_path, make_settings, materialise):
    from meso_core.simulate import preset, simulate_session

    settings = make_settings(tmp_path, root="memory://kept/Subjects", keep_versions=1, executor="in_process")
    made, root = simulate_session(tmp_path / "rig", preset("tiny")), open_root("memory://kept/Subjects")
    ratings = "raw_imaging_data_01/exptQC.mat"
    for file in made.session_path.rglob("*"):
        if file.is_file():
            upload(root, file, f"{made.key}/{file.relative_to(made.session_path).as_posix()}", content=hash_file(file))
    with open_instance(settings) as instance:
        assert materialise(instance, settings, made.key, QUICK).success
        session = Platform.open(settings).session(str(made.key))
        first = session.manifest("frame_qc")
        remove(root, [f"{made.key}/{ratings}"])
        assert materialise(instance, settings, made.key, QUICK).success
        assert session.manifest("frame_qc").data_version != first.data_version
        (version,) = listed(session)["frame_qc"]
        assert (version.manifest, version.lacking) == (first, ())
        claims = claims_of(session, "a-run-at-work")
        assert claims.take(("frame_qc",)) == ()
        with pytest.raises(StorageError, match="frame_qc is made by run a,"):
            restored(session, "frame_qc", first.data_version[:12], instance)
        claims.give_all_back()
        manifest = restored(session, "frame_qc", first.data_version[:12], instance)
        assert (manifest.data_version, session.manifest("frame_qc")) == (first.data_version, manifest)
        assert session.present().broken(manifest) == ()
        chosen = dg.AssetRecordsFilter(dg.AssetKey("frame_qc"), asset_partitions=[str(made.key)])
        newest = instance.fetch_materializations(chosen, limit=1).records[0].asset_materialization
        assert newest.tags["dagster/data_version"] == manifest.data_version
        assert len(cleaned(session, (), 0)) == 1
        assert listed(session) == {}


def test_archives_are_not_kept_for_any_holds_the_same_tifs():
    assert {name for name, declared in CATALOGUE.items() if not declared.keeps_versions} == {"imaging_frames_archive"}
