"""Settings that made a result, against those in force: what is told, and what is no reason to make anything again."""

import pytest

from meso_assets.defs.made_with import changed_settings, options_of_run, settings_of
from meso_assets.runs.settings import load_settings
from meso_core.storage import Manifest, RunProvenance


def settings(**changes):
    return load_settings({"root": "/nowhere", "atlas": "phantom", **changes})


def made(asset, in_force, of_run=None):
    """Manifest of an asset that was made under some settings."""
    return Manifest(asset, (), RunProvenance("run", "1", settings=settings_of(asset, in_force, of_run)), "")


def test_the_same_settings_are_no_reason():
    for asset in (
        "imaging_metadata",
        "imaging_frames_archive",
        "motion_registered_frames",
        "rois",
        "mean_image_mlapdv",
    ):
        manifest = made(asset, settings())
        assert manifest.provenance.settings, asset
        again = Manifest.from_json(manifest.to_json(), "as read from the disk")
        assert changed_settings(again, settings()) == ()


@pytest.mark.parametrize(
    ("asset", "change", "told"),
    [
        ("imaging_frames_archive", {"archive_format": "zarr"}, "settings: archive_format tar.bz2 → zarr"),
        ("rois", {"suite2p": {"threshold_scaling": 0.5}}, "settings: detection.threshold_scaling 1.0 → 0.5"),
        ("rois", {"genotype": "Ai162-G6f"}, 'settings: genotype "" → Ai162-G6f'),
        (
            "motion_registered_frames",
            {"suite2p": {"maxregshift": 0.1}},
            "settings: registration.maxregshift 0.05 → 0.1",
        ),
        ("imaging_metadata", {"window_center_ml": 2.5}, "settings: window_center_ml null → 2.5"),
        ("mean_image_mlapdv", {"normal_rule": "facet"}, "settings: normal_rule region → facet"),
    ],
)
def test_a_changed_setting_is_told_with_both_values(asset, change, told):
    assert changed_settings(made(asset, settings()), settings(**change)) == (told,)


@pytest.mark.parametrize(
    ("asset", "change"),
    [
        ("motion_registered_frames", {"suite2p": {"threshold_scaling": 0.5}, "genotype": "Ai162-G6f"}),
        ("rois", {"suite2p": {"maxregshift": 0.1, "torch_device": "cpu"}}),
        ("rois", {"suite2p": {"detection.threshold_scaling": 1}}),
        ("imaging_frames_archive", {"suite2p": {"threshold_scaling": 0.5}, "cores": 1}),
    ],
)
def test_what_an_asset_does_not_depend_on_or_what_states_the_default_is_no_reason(asset, change):
    assert changed_settings(made(asset, settings()), settings(**change)) == ()


def test_options_of_one_run_are_told_as_such_and_are_no_reason():
    manifest = made("rois", settings(), {"threshold_scaling": 0.8})
    assert changed_settings(manifest, settings()) == ()
    assert options_of_run(manifest) == "threshold_scaling = 0.8"
    assert changed_settings(manifest, settings(suite2p={"max_overlap": 0.5})) == (
        "settings: detection.max_overlap 0.75 → 0.5",
    )


def test_a_manifest_of_an_older_meso_is_read_and_its_run_options_are_not_guessed():
    old = Manifest(
        "rois", (), RunProvenance("run", "1", settings={"suite2p": {"threshold_scaling": 0.8}, "genotype": ""}), ""
    )
    assert changed_settings(old, settings()) == ()
    assert options_of_run(old) == ""
    assert changed_settings(Manifest("rois", (), RunProvenance("run", "1"), ""), settings()) == ()
