"""A result that was made with other settings is told with what a person sets to keep it."""

import pytest

from meso_assets.defs.standing.changed_settings import to_keep
from meso_assets.runs.settings.settings import MesoSettings, load_settings
from meso_core.storage import Basis, MadeBy, Manifest, Standing


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MESO_ATLAS_RESOLUTION_UM", raising=False)
    monkeypatch.delenv("MESO_SETTINGS", raising=False)


def made_with(before, now, **parts):
    """How a result stands that was made with settings, and would be made with others now."""
    record = Basis("1", {"raw_frames": "f"}, before)
    manifest = Manifest("rois", (), record, MadeBy("run"), "2026-01-01T00:00:00+00:00")
    return Standing(
        Basis(**{"code_version": "1", "inputs": {"raw_frames": "f"}, "settings": now, **parts}),
        manifest,
        (),
        (),
        frozenset(),
    )


FILE = "atlas_resolution_um = 50\n"


def resolution(before=25, now=10, **parts):
    return made_with({"atlas_resolution_um": before}, {"atlas_resolution_um": now}, **parts)


def test_the_variable_is_named_with_both_values_and_where_the_one_of_now_comes_from(monkeypatch, tmp_path):
    set_back = "to keep the result as it is, set MESO_ATLAS_RESOLUTION_UM to 25 (now 10, {})"
    assert to_keep(resolution(), load_settings()) == set_back.format("the default")
    set_back = set_back.replace("now 10", "now 50")
    monkeypatch.setenv("MESO_ATLAS_RESOLUTION_UM", "50")
    assert to_keep(resolution(now=50), load_settings()) == set_back.format("set in the environment")
    (tmp_path / "meso.toml").write_text(FILE)
    in_file = set_back.format(f"set in {tmp_path / 'meso.toml'}")
    assert to_keep(resolution(now=50), load_settings()) == in_file, "as in a service, which has it as a variable too"
    monkeypatch.delenv("MESO_ATLAS_RESOLUTION_UM")
    assert to_keep(resolution(now=50), load_settings()) == in_file


def test_what_is_followed_makes_the_result_count_again(monkeypatch):
    monkeypatch.setenv("MESO_ATLAS_RESOLUTION_UM", "25")
    assert load_settings().atlas_resolution_um == 25
    assert to_keep(resolution(now=25), load_settings()) == ""


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"suite2p.tau": "by session"}, {"suite2p.tau": 0.7}, "take tau out of MESO_SUITE2P (now 0.7, "),
        ({"suite2p.tau": 0.7}, {"suite2p.tau": "by session"}, "set tau in MESO_SUITE2P to 0.7 (now by session, "),
        ({}, {"left_out_fovs": ["FOV_01"]}, 'take the session out of MESO_LEFT_OUT_FOVS (now ["FOV_01"], '),
        ({"left_out_fovs": ["FOV_01"]}, {}, 'set the session in MESO_LEFT_OUT_FOVS to ["FOV_01"] (now not set, '),
        (
            {"qc_limits": {"light_lost": {"fail": 0.5}}},
            {},
            "set light_lost.fail in MESO_QC_LIMITS to 0.5 (now not set, ",
        ),
        ({"mesh_path": None}, {"mesh_path": "/x.npz"}, "unset MESO_MESH_PATH (now /x.npz, "),
        (
            {"atlas": "allen", "frame": "ccf"},
            {"atlas": "phantom", "frame": "mri_toronto"},
            " and set MESO_FRAME to ccf",
        ),
    ],
)
def test_each_kind_of_setting_is_told_by_its_variable(before, now, told):
    given = {name: value for name, value in now.items() if name in MesoSettings.model_fields}
    if "left_out_fovs" in given:  # of the session alone, in a basis
        given["left_out_fovs"] = {"SP035/2023-03-03/001": tuple(given["left_out_fovs"])}
    settings = MesoSettings().model_copy(update=given)
    assert told in to_keep(made_with(before, now), settings)


def test_what_alyx_said_is_told_as_such():
    other = made_with({"genotype": "a"}, {"genotype": "b"})
    assert "set MESO_GENOTYPE to a (now b, as Alyx says)" in to_keep(other, MesoSettings())
    assert to_keep(made_with({"genotype": ""}, {"genotype": "b"}), MesoSettings()) == "", "no variable takes it back"


@pytest.mark.parametrize(
    "other",
    [
        made_with({"device": "cuda"}, {"device": "cpu"}),
        resolution(code_version="2"),
        resolution(inputs={"raw_frames": "g"}),
        resolution(packages={"numpy": "2"}),
    ],
    ids=["the machine's device", "code", "inputs", "packages"],
)
def test_nothing_is_promised_where_no_setting_keeps_the_result(other):
    assert to_keep(other, MesoSettings()) == ""
