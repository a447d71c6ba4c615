"""An asset is made again with the settings that its record names, whatever those of today are."""

import json

import pytest

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.runs.reproduce import recorded_settings
from meso_assets.runs.settings import load_settings
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
