"""suite2p's options from metadata, genotype and overrides."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meso_core.errors import MetadataError, SettingsError
from meso_core.imaging import get_default_tau, suite2p_options
from meso_core.imaging.fovs.plane import FovJob
from meso_core.imaging.options.settings_table import SUITE2P_SETTINGS

from .conftest import make_meta


@pytest.mark.parametrize(
    ("genotype", "tau"),
    [
        (["Ai94(TITL-G6s)-ICL-G6s"], 1.5),
        (["tetO-G6m"], 1.0),
        (["Camk2a-tTA", "Thy1-G6f"], 0.7),
        (["Thy1-G6f", "tetO-G6s"], 0.7),
        (["Thy1-G6f-flox"], 1.5),
        (["-G6f"], 1.5),
        (["Ai162-G7f"], 1.5),
        ([], 1.5),
    ],
)
def test_tau_follows_the_first_allele_that_tells(genotype: list[str], tau: float) -> None:
    assert get_default_tau(genotype) == tau


def test_table_of_settings_is_the_installed_suite2ps() -> None:
    script = (
        "import json, suite2p.parameters as p\n"
        "def walk(d, at=''):\n"
        "    for k, v in d.items():\n"
        "        if 'description' in v: yield at + k, v['type'].__name__, v['default']\n"
        "        else: yield from walk(v, at + k + '.')\n"
        "print(json.dumps(list(walk(p.SETTINGS))))"
    )
    told = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
    theirs = {name: (kind, default) for name, kind, default in json.loads(told.stdout.splitlines()[-1])}
    ours = {row.name: (row.kind.__name__, json.loads(json.dumps(row.default))) for row in SUITE2P_SETTINGS}
    assert ours == theirs


def test_real_metadata_give_the_rate_and_offsets_in_pixels(real_data: Path) -> None:
    name = "SP061_2025-01-28_001_raw_imaging_data_00__ibl_rawImagingData.meta.json"
    meta = json.loads((real_data / "headers" / name).read_text())
    options = [suite2p_options(meta, i, genotype=["Thy1-G6f"]) for i in range(8)]
    assert {o.settings["fs"] for o in options} == {5.07538}
    assert {o.settings["tau"] for o in options} == {0.7}
    # a field of 512 px spans 4.6665 degrees of the microscope's scan
    left = min(f["Deg"]["topLeft"][0] for f in meta["FOV"])
    top = min(f["Deg"]["topLeft"][1] for f in meta["FOV"])
    for option, fov in zip(options, meta["FOV"], strict=True):
        x, y = fov["Deg"]["topLeft"]
        assert option.db["dx"] == round((x - left) * 512 / 4.6665)
        assert option.db["dy"] == round((y - top) * 512 / 4.6665)
    assert min(o.db["dx"] for o in options) == 0
    registration = options[0].settings["registration"]
    assert registration["block_size"] == [128, 128]
    assert (registration["maxregshift"], registration["nimg_init"], registration["batch_size"]) == (0.05, 400, 500)
    assert options[0].settings["detection"]["denoise"] is True


@pytest.mark.parametrize(
    ("saved", "channels", "functional"), [(2, 1, 1), ([2], 1, 1), ([1, 3], 2, 1), ([3, 1], 2, 2), ([3, 4], 2, 1)]
)
def test_functional_channel_is_the_green_one_among_those_saved(saved: Any, channels: int, functional: int) -> None:
    db = suite2p_options(make_meta(64, 64, 1) | {"channelSaved": saved}, 0).db
    assert (db["nchannels"], db["functional_chan"]) == (channels, functional)


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("treshold_scaling", 2.0, "threshold_scaling"),
        ("batch_size", 100, "registration.batch_size or extraction.batch_size"),
        ("nbinned", 100, "detection.nbins"),
        ("maxregshift", 1.5, "from 0 to 1"),
        ("nonrigid", 1, "bool"),
        ("delete_bin", True, "sets itself"),
        ("do_registration", 0, "sets itself"),
        ("two_step_registration", True, "one pass"),
        ("block_size", (32, 32), "registration.block_size or detection.block_size"),
        ("registration.block_size", (64, 64), "two sides below"),
        ("qwertz", 1, "list of settings"),
    ],
)
def test_overrides_that_cannot_be_are_refused_with_a_hint(name: str, value: Any, hint: str) -> None:
    with pytest.raises(SettingsError, match=hint):
        suite2p_options(make_meta(64, 64, 1), 0, overrides={name: value})


def test_overrides_reach_their_place() -> None:
    overrides = {"threshold_scaling": 2, "registration.block_size": [32, 16], "spatial_scale": 1}
    settings = suite2p_options(make_meta(64, 64, 1), 0, overrides=overrides).settings
    assert settings["detection"]["threshold_scaling"] == 2.0
    assert settings["registration"]["block_size"] == [32, 16]
    assert settings["detection"]["block_size"] == [64, 64]
    assert settings["detection"]["sparsery_settings"]["spatial_scale"] == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scanImageParams": {}}, "scanVolumeRate"),
        ({"scanImageParams": {"hRoiManager": {"scanVolumeRate": 0}}}, "scanVolumeRate"),
        ({"FOV": []}, "FOV"),
        ({"FOV": [{"nXnYnZ": [64, 64, 1]}]}, "FOV"),
        ({"channelSaved": [1, 2, 3]}, "channelSaved"),
    ],
)
def test_impossible_metadata_name_the_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(MetadataError, match=field):
        suite2p_options(make_meta(64, 64, 1) | change, 0)


@given(st.sets(st.integers(0, 500), max_size=20), st.booleans(), st.text("abc/", max_size=8))
def test_work_orders_survive_the_way_to_a_worker(bad: set[int], keep: bool, version: str) -> None:
    options = suite2p_options(make_meta(96, 80, 2), 1)
    job = FovJob(Path("/a/plane1"), options, tuple(sorted(bad)), version, Path("/log"), keep)
    back = FovJob.from_json(job.to_json())
    assert (back.folder, back.bad_frames, back.input_version, back.log_folder, back.keep_raw) == (
        job.folder, job.bad_frames, job.input_version, job.log_folder, job.keep_raw,
    )  # fmt: skip
    assert json.loads(back.to_json()) == json.loads(job.to_json())
