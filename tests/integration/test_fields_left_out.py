"""A field of view that a setting leaves out is not made, everybody knows, and the others stay as they are."""

import dagster as dg
import numpy as np
import pytest

from meso_assets.defs.alyx.gate import withheld_by_qc
from meso_assets.defs.alyx.parts import own_files_of
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.standing.standings import look_at
from meso_assets.io.resources import Platform
from meso_assets.runs.status.status import State
from meso_core.archive.gate.processed import processing_doubts
from meso_core.qc import Verdict, read_results
from meso_core.storage import verify_manifest
from tests.integration.staleness import dagster_says, markers_say, sensor_says, status_cells, status_says
from tests.integration.three_fields import ASSETS, FRAMES, KEY, ROIS, Worked, failed_steps, files_of, of_field

pytestmark = [
    pytest.mark.usefixtures("without_workers"),
    pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning"),
]

#: Assets that make something of each field, by the setting itself or by what they read.
FIELDS = ("frame_qc", "frame_times", FRAMES, ROIS, "mean_image_mlapdv", "roi_brain_locations")


def leaving_out(settings, *fovs, key=KEY):
    return settings.model_copy(update={"left_out_fovs": {key: fovs}})


@pytest.fixture
def fresh():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_a_field_is_left_out_and_comes_back_without_work_on_the_others(
    copied, three_done, materialise, monkeypatch, fresh
):
    settings, session = copied
    worked, without = Worked(monkeypatch), leaving_out(settings, "FOV_02")
    told = status_says(fresh, without, session.key)
    assert set(told) == {*FIELDS} - {"roi_brain_locations"} == sensor_says(without, session.key) & {*ASSETS}
    assert {why for asset, why in told.items()} == {"setting left_out_fovs: (not recorded) → ['FOV_02']"}

    assert materialise(fresh, without, KEY, ASSETS).success
    assert worked.fovs == [], "the others are kept"
    for asset in FIELDS:
        whole = files_of(three_done, asset)
        gone = of_field(whole, 2)
        kept = {path: content for path, content in whole.items() if path not in gone}
        kept.pop("alf/fovs.locations.json", None)  # lists the fields
        assert gone, asset
        assert kept.items() <= files_of(session, asset).items()
        assert of_field(files_of(session, asset), 2) == {}
        assert verify_manifest(session.path, session.manifest(asset)) == ()
        assert session.manifest(asset).missing == {}
    assert not (session.path / "alf" / "FOV_02").exists(), "what was published of it before is gone"
    assert not (session.path / "suite2p" / "plane2").exists()
    cells = status_cells(fresh, without, session.key)
    assert {cells[asset].state for asset in ASSETS} == {State.DONE}
    assert cells[ROIS].why == "without FOV_02, as left_out_fovs says"
    assert sensor_says(without, session.key) & {*ASSETS} == set()

    assert materialise(fresh, settings, KEY, ASSETS).success
    assert worked.fovs == [], "its own record holds still"
    for asset in FIELDS:
        assert session.manifest(asset).data_version == three_done.manifest(asset).data_version, "as before"


def test_a_verdict_tells_it_and_alyx_and_the_removal_of_tifs_do_not_wait_for_it(copied, materialise, fresh):
    settings, session = copied
    assert materialise(fresh, leaving_out(settings, "FOV_01"), KEY, ASSETS).success
    for asset in (FRAMES, ROIS):
        told = [one for one in read_results(session.path, asset) if one.check == "all_fields_published"]
        assert {one.verdict for one in told} == {Verdict.PASS}
        assert "FOV_01 is left out, as left_out_fovs says." in [one.message for one in told]
    key = dg.AssetCheckKey(dg.AssetKey(ROIS), "all_fovs_present")
    (shown,) = fresh.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert shown.status.value == "SUCCEEDED"
    assert "FOV_01 left out" in str(shown.event.dagster_event.event_specific_data.description)
    forbidden = withheld_by_qc(session, CATALOGUE["alyx_datasets"].upstream).why
    assert not [why for why in forbidden.values() if "FOV_01" in why]
    own = own_files_of(session, look_at(session), {})
    assert not [file.path for file in own.files if "FOV_01" in file.path]
    assert not [why for where, why in processing_doubts(session.path, FRAMES, []) if "plane1" in why]
    records = (session.path / "alyx" / "fov_records.json").read_text()
    assert "FOV_00" in records
    assert "FOV_01" not in records


@pytest.mark.parametrize(
    ("fovs", "found"), [(("FOV_09",), "FOV_09"), (("FOV_00", "FOV_01", "FOV_02"), "FOV_00, FOV_01, FOV_02")]
)
@pytest.mark.parametrize("asset", ["frame_qc", "frame_times", FRAMES, ROIS, "mean_image_mlapdv"])
def test_a_field_that_is_not_there_and_all_fields_are_refused(asset, fovs, found, copied, materialise, fresh):
    settings, session = copied
    before = session.manifest(asset)
    result = materialise(fresh, leaving_out(settings, *fovs), KEY, (asset,))
    (told,) = failed_steps(result).values()
    assert "SettingsError" in told
    assert f"field 'left_out_fovs': expected some of FOV_00, FOV_01, FOV_02, and not all, found {found}" in told
    assert session.manifest(asset) == before


def test_what_is_left_out_of_another_session_changes_nothing(copied, fresh, materialise):
    settings, session = copied
    other = leaving_out(settings, "FOV_00", key="SP035/2023-03-03/002")
    assert materialise(fresh, settings, KEY, ASSETS).success, "Dagster sees the results once"
    assert status_says(fresh, other, session.key) == {}
    assert dagster_says(fresh, other, session.key) & {*ASSETS} == set()


def test_rois_that_a_person_curated_are_not_removed_by_the_setting_alone(copied, materialise, fresh):
    settings, session = copied
    path = session.path / "suite2p" / "plane2" / "iscell.npy"
    iscell = np.load(path)
    iscell[:, 0] = 1 - iscell[:, 0]
    np.save(path, iscell)
    result = materialise(fresh, leaving_out(settings, "FOV_02"), KEY, ("frame_qc", FRAMES, ROIS))
    (told,) = failed_steps(result).values()
    assert "CurationError" in told
    assert "it is left out" in told
    np.testing.assert_array_equal(np.load(path), iscell)
    given_up = {"ops": {ROIS: {"config": {"discard_curation": True}}}}
    assert materialise(fresh, leaving_out(settings, "FOV_02"), KEY, (ROIS,), **given_up).success
    assert of_field(files_of(Platform.open(settings).session(KEY), ROIS), 2) == {}


def test_each_field_has_a_record_of_its_own_that_holds_whatever_changes_for_others(copied):
    settings, session = copied
    assert markers_say(settings, session.key) == set()
    assert markers_say(leaving_out(settings, "FOV_01"), session.key) == set()
    other = settings.model_copy(update={"suite2p": {"maxregshift": 0.1}})
    assert markers_say(other, session.key) == {FRAMES}, "what concerns the field itself is seen"
