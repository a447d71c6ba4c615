"""An asset is made again with the settings that its record names, whatever those of today are."""

import json

import pytest

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.running.claims import Claims
from meso_assets.io.resources import Platform
from meso_assets.runs.reproduce import _view, recorded_settings
from meso_assets.runs.settings.settings import load_settings
from meso_core.storage import Basis, MadeBy, Manifest

#: Other than the defaults, so that one that is not taken over shows.
THEN = {
    "suite2p": {"maxregshift": 0.1, "threshold_scaling": 0.8, "tau": 0.7, "registration.block_size": [64, 64]},
    "genotype": "tetO-G6m",
    "atlas": "allen",
    "archive_format": "zarr",
    "window_center_ml": 1.5,
    "normal_rule": "facet",
}


@pytest.mark.parametrize("then", [{}, THEN], ids=["defaults", "others"])
@pytest.mark.parametrize("now", [{}, THEN, {"suite2p": {"maxregshift": 0.2}, "atlas": "phantom"}], ids=["0", "1", "2"])
@pytest.mark.parametrize("asset", CATALOGUE)
def test_the_recorded_settings_are_those_of_the_record(asset, then, now):
    declared = CATALOGUE[asset]
    recorded = json.loads(json.dumps(declared.settings_now(load_settings(then))))
    manifest = Manifest(asset, (), Basis("1", {}, recorded), MadeBy("run"), "")
    again = recorded_settings(load_settings(now), declared, manifest)
    assert json.loads(json.dumps(declared.settings_now(again))) == recorded


def test_the_view_of_a_session_holds_its_records_and_nothing_that_may_be_large(tmp_path):
    settings = load_settings({"root": tmp_path / "Subjects", "home": tmp_path / "home"})
    path = tmp_path / "Subjects" / "SP035" / "2023-03-03" / "001"
    path.mkdir(parents=True)
    session = Platform.open(settings).session("SP035/2023-03-03/001")
    for asset in ("imaging_metadata", "frame_qc"):
        staging = session.stage(asset)
        staging.write(f"alf/{asset}", b"1")
        manifest = session.publish(staging.seal(), Basis("1"), MadeBy("run"))
    Claims(path, "a run").take(["rois"])
    for place in ("versions/frame_qc/1/alf/big", "restoring/raw_imaging_data_00/a.tif", "of_a_later_version/big"):
        (path / ".meso" / place).parent.mkdir(parents=True)
        (path / ".meso" / place).write_bytes(bytes(1000))
    (path / ".meso" / "removals.jsonl").touch()
    with _view(session, CATALOGUE["frame_qc"], manifest) as folder:
        view = session.key.folder(folder / "root")
        there = {str(file.relative_to(view)) for file in view.rglob("*") if not file.is_dir()}
    assert there == {"alf/imaging_metadata", ".meso/manifests/imaging_metadata.json", ".meso/removals.jsonl"}
