"""A field of view that fails for a reason fails alone: the others are published, and a run again does that one.

suite2p is real. The three fields lie at three depths, so the experimenter may mark all frames of one of them as bad.
"""

import shutil
from contextlib import suppress
from dataclasses import replace

import dagster as dg
import numpy as np
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from meso_assets.defs.alyx.gate import withheld_by_qc
from meso_assets.defs.alyx.parts import own_files_of
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.notices.digest import gather
from meso_assets.defs.notices.ledger import Ledger
from meso_assets.defs.standing.standings import look_at
from meso_assets.io.resources import Platform
from meso_assets.runs.status.status import State
from meso_core.archive.gate.processed import processing_doubts
from meso_core.errors import CurationError, InputFileError, SettingsError, StorageError, WorkStoppedError
from meso_core.qc import Verdict, read_results
from meso_core.storage import MissingFov, verify_manifest
from tests.integration.staleness import sensor_says, status_cells
from tests.integration.three_fields import (
    ASSETS,
    FRAMES,
    KEY,
    OF_FIELDS,
    PLACES,
    ROIS,
    Worked,
    failed_steps,
    files_of,
    mark_bad,
    of_field,
)

pytestmark = [
    pytest.mark.usefixtures("without_workers"),
    pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning"),
]


@pytest.fixture(scope="module")
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture(scope="module")
def partial(three_depths, tmp_path_factory, make_settings, materialise, instance, without_workers):
    """The same where all frames of the third field are marked as bad; and what brings the marks back."""
    settings = make_settings(tmp_path_factory.mktemp("partial"))
    shutil.copytree(three_depths, settings.root)
    session = Platform.open(settings).session(KEY)
    bring_back = mark_bad(session.path, 2)
    made = materialise(instance, settings, KEY, (*ASSETS, "session_report"))
    assert made.success, "the run does not fail for one field"
    return settings, session, bring_back


@pytest.mark.parametrize("asset", OF_FIELDS)
def test_the_other_fields_are_published_as_if_nothing_had_failed(asset, partial, three_done):
    session, whole = partial[1], files_of(three_done, asset)
    assert of_field(whole, 2), "else this shows nothing"
    assert files_of(session, asset) == {p: c for p, c in whole.items() if p not in of_field(whole, 2)}
    assert verify_manifest(session.path, session.manifest(asset)) == ()


def test_the_record_says_which_field_is_missing_and_why(partial):
    session = partial[1]
    (missing,) = session.manifest(FRAMES).missing.items()
    assert missing[0] == "FOV_02"
    assert missing[1].asset == FRAMES
    assert "found 0 of 60 that are not marked bad" in missing[1].why
    assert str(session.path) not in missing[1].why, "the same wherever the session lies"
    for asset in (ROIS, PLACES, "alyx_datasets"):
        assert session.manifest(asset).missing == dict([missing]), "of what it was made from"
    assert session.manifest("mean_image_mlapdv").missing == {}


def test_the_asset_shows_which_field_is_missing(partial, instance):
    for asset in OF_FIELDS:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset)).asset_materialization
        *_, row = event.metadata["fields_missing"].value.splitlines()
        assert row.startswith(f"| FOV_02 | {FRAMES} | .meso/work/suite2p/plane2: ")


def test_a_check_fails_with_the_sentence(partial, instance):
    for asset, why in ((FRAMES, "0 of 60 that are not marked bad"), (ROIS, "it was not registered")):
        (told,) = (one for one in read_results(partial[1].path, asset) if one.check == "all_fields_published")
        assert (told.verdict, told.fov, told.value, told.threshold) == (Verdict.FAIL, "FOV_02", 2, 3)
        assert "FOV_02 is missing: " in told.message
        assert why in told.message
        key = dg.AssetCheckKey(dg.AssetKey(asset), "all_fields_published")
        (shown,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        assert shown.status.value == "FAILED"


def test_the_digest_tells_the_session_once_with_the_field_and_the_reason(partial, instance):
    settings, session, _ = partial
    ledger = Ledger(settings.home / "none", 0.0, failing={KEY: {FRAMES: "told"}})
    digest = gather(Platform.open(settings), instance, ledger)
    (line,) = digest.partial
    assert line.startswith(f"{session.key}: {FRAMES}: FOV_02 missing: ")
    assert "found 0 of 60 that are not marked bad" in line
    told = [*digest.failed, *digest.stale, *digest.done]
    assert [line for line in told if FRAMES in line] == [], "nowhere else"
    assert "1 without some fields of view" in digest.subject
    assert digest.n_whole == 0


def test_the_status_tells_the_field_and_no_run_starts_by_itself(partial, instance):
    settings, session, _ = partial
    cells = status_cells(instance, settings, session.key)
    assert cells[FRAMES].state is State.PARTIAL
    assert cells[FRAMES].why.startswith("FOV_02 missing: ")
    for asset in (ROIS, PLACES, "alyx_datasets"):
        assert (cells[asset].state, cells[asset].why) == (State.DONE, f"without FOV_02, which {FRAMES} lacks")
    assert FRAMES in sensor_says(settings, session.key), "it is due"
    view = look_at(session)
    assert all(view.standing(CATALOGUE[name], settings).is_current for name in (ROIS, PLACES))


def test_nothing_of_it_goes_to_alyx_and_no_tif_may_be_removed(partial):
    _, session, _ = partial
    why = withheld_by_qc(session, CATALOGUE["alyx_datasets"].upstream).why
    assert {*OF_FIELDS} <= {*why}
    assert all("FOV_02 is missing" in why[asset] for asset in OF_FIELDS)
    own = own_files_of(session, look_at(session), why)
    assert not [file.path for file in own.files if "mpciROIs" in file.path or file.path.startswith("suite2p/")]
    doubts = processing_doubts(session.path, FRAMES, [])
    assert ("check all_fields_published of FOV_02") in [where for where, _ in doubts]


def test_the_page_of_the_session_shows_the_others_and_says_which_is_missing(partial):
    session = partial[1]
    (page,) = (file.path for file in session.manifest("session_report").files if file.path.endswith(".html"))
    text = (session.path / page).read_text()
    assert "FOV_01" in text
    assert "FOV_02 is missing: " in text


def test_a_run_again_does_that_field_alone_until_it_is_as_if_nothing_had_failed(
    partial, three_done, instance, materialise, monkeypatch
):
    settings, session, bring_back = partial
    worked, before = Worked(monkeypatch), {name: session.manifest(name) for name in CATALOGUE}
    assert materialise(instance, settings, KEY, ASSETS).success
    assert worked.fovs == [], "it fails again, and the others are kept"
    for name in OF_FIELDS:
        assert session.manifest(name).data_version == before[name].data_version
    bring_back()
    assert materialise(instance, settings, KEY, ASSETS).success
    assert worked.fovs == [(2, "registration"), (2, "detection")]
    for asset in OF_FIELDS:
        assert session.manifest(asset).data_version == three_done.manifest(asset).data_version, "the same bytes"
        assert session.manifest(asset).missing == {}
    cells = status_cells(instance, settings, session.key)
    assert {cells[asset].state for asset in ASSETS} == {State.DONE}


def aged(session, *assets):
    """Let results count as made by older code, so that a run makes them again; the fields' own records hold."""
    for asset in assets:
        manifest = session.manifest(asset)
        record = session.path / ".meso" / "manifests" / f"{asset}.json"
        record.write_text(replace(manifest, basis=replace(manifest.basis, code_version="0")).to_json())


@pytest.mark.parametrize(("asset", "stage"), [(FRAMES, "registration"), (ROIS, "detection")])
def test_where_every_field_fails_the_asset_fails_with_all_reasons_and_what_was_there_stays(
    asset, stage, copied, materialise, monkeypatch
):
    settings, session = copied
    before = session.manifest(asset)
    aged(session, asset)
    Worked(monkeypatch, {(fov, stage): InputFileError(f"field {fov} is dark") for fov in range(3)})
    with dg.DagsterInstance.ephemeral() as fresh:
        result = materialise(fresh, settings, KEY, (asset,))
    (told,) = failed_steps(result).values()
    assert "; ".join(f"FOV_0{fov}: field {fov} is dark" for fov in range(3)) in told
    assert verify_manifest(session.path, before) == ()


@pytest.mark.parametrize(
    "error",
    [
        StorageError.at("x", expected="room", found="none", remedy="Make room"),
        WorkStoppedError.at("x", expected="an end", found="a kill", remedy="Run again"),
        SettingsError.at("x", expected="a block", found="none", remedy="Correct it"),
        CurationError.at("x", expected="no edit", found="one", remedy="Keep it"),
        KeyError("a fault of the code"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_says_nothing_of_the_field_fails_the_run_and_publishes_nothing(error, copied, materialise, monkeypatch):
    settings, session = copied
    aged(session, ROIS)
    before = session.manifest(ROIS)
    worked = Worked(monkeypatch, {(1, "detection"): error})
    with dg.DagsterInstance.ephemeral() as fresh, suppress(KeyboardInterrupt, DagsterExecutionInterruptedError):
        assert not materialise(fresh, settings, KEY, (ROIS,)).success
    assert worked.failed == [(1, "detection")]
    assert session.manifest(ROIS) == before
    assert verify_manifest(session.path, before) == ()


def test_a_field_that_fails_in_detection_leaves_nothing_half_made_and_is_made_by_the_next_run(
    copied, three_done, materialise, monkeypatch
):
    settings, session = copied
    damaged = session.path / ".meso" / "work" / "suite2p" / "plane1" / "iscell.npy"
    damaged.with_name(".detection-whole").unlink()
    damaged.write_bytes(b"no array")
    (session.path / "suite2p" / "plane1" / "iscell.npy").unlink()
    worked = Worked(monkeypatch)
    with dg.DagsterInstance.ephemeral() as fresh:
        assert materialise(fresh, settings, KEY, (ROIS, PLACES)).success
        assert worked.fovs == []
        assert {fov: one.asset for fov, one in session.manifest(ROIS).missing.items()} == {"FOV_01": ROIS}
        assert of_field(files_of(session, ROIS), 1) == {}
        assert not list((session.path / "alf" / "FOV_01").glob("mpciROIs.masks*")), "those of before are taken away"
        cells = status_cells(fresh, settings, session.key)
        assert cells[ROIS].state is State.PARTIAL
        assert "Move this file away" in cells[ROIS].why
        damaged.unlink()
        assert materialise(fresh, settings, KEY, (ROIS, PLACES)).success
    assert worked.fovs == [(1, "detection")]
    for asset in (ROIS, PLACES):
        assert session.manifest(asset).data_version == three_done.manifest(asset).data_version
        assert session.manifest(asset).missing == {}


def test_rois_that_a_person_curated_are_not_removed_because_their_field_was_not_registered(copied, materialise):
    settings, session = copied
    path = session.path / "suite2p" / "plane2" / "iscell.npy"
    iscell = np.load(path)
    iscell[:, 0] = 1 - iscell[:, 0]
    np.save(path, iscell)
    mark_bad(session.path, 2)
    with dg.DagsterInstance.ephemeral() as fresh:
        result = materialise(fresh, settings, KEY, ("frame_qc", FRAMES, ROIS))
        (told,) = failed_steps(result).values()
        assert "CurationError" in told
        assert "FOV_02 would be published no more: it was not registered" in told
        np.testing.assert_array_equal(np.load(path), iscell)
        given_up = {"ops": {ROIS: {"config": {"discard_curation": True}}}}
        assert materialise(fresh, settings, KEY, (ROIS,), **given_up).success
    assert session.manifest(ROIS).missing == {"FOV_02": session.manifest(FRAMES).missing["FOV_02"]}
    assert isinstance(session.manifest(ROIS).missing["FOV_02"], MissingFov)
    assert not path.exists(), "nobody's file is left behind"
