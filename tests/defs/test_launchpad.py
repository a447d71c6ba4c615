"""What the launchpad offers of suite2p: every setting with its kind, no other name, and no value out of bounds."""

import dagster as dg
import pytest

from meso_assets.definitions import defs
from meso_assets.defs.jobs import PROCESS_SESSION
from meso_core.errors import SettingsError
from meso_core.imaging import Suite2pOverrides
from meso_core.imaging.options.settings_table import SUITE2P_SETTINGS, find_setting
from meso_core.imaging.options.usual import USUAL, describe_setting, offered_settings


@pytest.fixture(scope="module")
def job() -> dg.JobDefinition:
    return defs.resolve_job_def(PROCESS_SESSION)


def checked(job, asset="rois", **config):
    """Check a configuration as the launchpad does, and as a launch does; returns what the steps would get."""
    config = {"ops": {asset: {"config": config}}}
    dg.validate_run_config(job, config)
    from dagster._core.system_config.objects import ResolvedRunConfig

    steps = ResolvedRunConfig.build(job, config).ops
    return steps[f"{asset}.find_rois" if asset == "rois" else f"{asset}.register_fov"].config


def test_a_misspelt_name_is_refused_with_the_names_that_there_are(job):
    with pytest.raises(
        dg.DagsterInvalidConfigError, match=r'unexpected config entry "treshold_scaling".*threshold_sca'
    ):
        checked(job, suite2p={"treshold_scaling": 0.7})
    with pytest.raises(dg.DagsterInvalidConfigError, match='unexpected config entry "genotypes"'):
        checked(job, genotypes="Thy1-G6s")


def test_a_value_of_another_kind_is_refused(job):
    with pytest.raises(dg.DagsterInvalidConfigError, match="threshold_scaling"):
        checked(job, suite2p={"threshold_scaling": "low"})


def test_a_value_out_of_bounds_is_refused_before_a_run_starts(job):
    with pytest.raises(dg.DagsterConfigMappingFunctionError) as refused:
        checked(job, suite2p={"max_overlap": 1.5})
    assert isinstance(refused.value.user_exception, SettingsError)
    assert "float from 0 to 1, found 1.5" in str(refused.value.user_exception)


@pytest.mark.parametrize("asset", ["motion_registered_frames", "rois"])
def test_each_setting_that_a_run_takes_is_offered_and_takes_its_own_default(job, asset):
    offered = dict(offered_settings())
    for row in SUITE2P_SETTINGS:
        try:
            find_setting(row.name)
        except SettingsError:  # one that the pipeline sets itself
            assert row.name not in offered
            continue
        given = {row.name: list(row.default) if isinstance(row.default, tuple) else row.default}
        handed = checked(job, asset, suite2p=given)["suite2p"]
        assert Suite2pOverrides.parse(handed) == Suite2pOverrides.parse(given), row.name


def test_what_is_offered_by_a_short_name_means_one_setting(job):
    for name, row in offered_settings():
        assert find_setting(name) == row


def test_tau_follows_from_the_genotype_unless_it_is_given(job):
    assert checked(job, genotype="Ai94(TITL-G6f)-ICL-G6f")["suite2p"] == {"tau": 0.7}
    assert checked(job, genotype="Thy1-G6f", suite2p={"tau": 1.2})["suite2p"] == {"tau": 1.2}


def test_the_settings_that_people_change_are_described():
    rows = {row.name: row for row in SUITE2P_SETTINGS}
    assert set(USUAL) <= set(rows)
    for name, text in USUAL.items():
        assert describe_setting(rows[name]).startswith(text)
        assert "Default: " in describe_setting(rows[name])
