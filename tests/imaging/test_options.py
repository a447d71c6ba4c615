"""suite2p's options from metadata, genotype and overrides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meso_core.errors import MetadataError, SettingsError
from meso_core.imaging import FovJob, Suite2pOverrides, get_default_tau, stage_options, suite2p_options
from meso_core.imaging.fovs.job import fov_jobs
from meso_core.imaging.options.settings_table import NOT_OFFERED, SUITE2P_SETTINGS, is_owned
from meso_core.scanimage import parse_imaging_metadata
from meso_core.storage.manifests.basis import Basis
from tests.whole_metadata import scan_image_params

from .conftest import make_meta


def test_an_allele_that_was_tested_and_is_absent_does_not_count() -> None:
    records = [{"allele": "tetO-G6f", "zygosity": 0}, {"allele": "Thy1-G6m", "zygosity": 1}]
    assert get_default_tau(records) == 1.0
    assert get_default_tau(records[:1]) == get_default_tau([])


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


def test_table_of_settings_is_the_installed_suite2ps(suite2p: Any) -> None:
    def walk(settings: dict[str, Any], at: str = "") -> Iterator[tuple[str, tuple[str, Any]]]:
        for name, row in settings.items():
            if "description" in row:
                yield at + name, (row["type"].__name__, row["default"])
            else:
                yield from walk(row, f"{at}{name}.")

    theirs = dict(walk(suite2p.parameters.SETTINGS))
    ours = {row.name: (row.kind.__name__, row.default) for row in SUITE2P_SETTINGS}
    assert json.loads(json.dumps(ours)) == json.loads(json.dumps(theirs))


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
        ("treshold_scaling", 2.0, r"found none of that name. Did you mean .*threshold_scaling\?$"),
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
        suite2p_options(make_meta(64, 64, 1), 0, overrides=Suite2pOverrides.parse({name: value}))


def test_overrides_reach_their_place() -> None:
    overrides = Suite2pOverrides.parse(
        {"threshold_scaling": 2, "registration.block_size": [32, 16], "spatial_scale": 1}
    )
    settings = suite2p_options(make_meta(64, 64, 1), 0, overrides=overrides).settings
    assert settings["detection"]["threshold_scaling"] == 2.0
    assert settings["registration"]["block_size"] == [32, 16]
    assert settings["detection"]["block_size"] == [64, 64]
    assert settings["detection"]["sparsery_settings"]["spatial_scale"] == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scanImageParams": {"objectiveResolution": 150, "hRoiManager": {"linePeriod": 4e-5}}}, "scanVolumeRate"),
        ({"scanImageParams": scan_image_params(scanVolumeRate=0)}, "scanVolumeRate"),
        ({"FOV": []}, "FOV"),
        ({"FOV": [{"nXnYnZ": [64, 64, 1]}]}, r"FOV\[0\]"),
    ],
)
def test_impossible_metadata_name_the_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(MetadataError, match=field):
        suite2p_options(make_meta(64, 64, 1) | change, 0)


def test_an_option_given_under_two_names_must_have_one_value() -> None:
    both = {"threshold_scaling": 2, "detection.threshold_scaling": 2.0}
    assert Suite2pOverrides.parse(both).values == {"detection.threshold_scaling": 2.0}
    with pytest.raises(SettingsError, match=r"one value, found 2\.0 and 3\.0"):
        Suite2pOverrides.parse(both | {"detection.threshold_scaling": 3})


def test_an_explicit_default_is_equal_to_none_and_wins_over_what_it_is_joined_to() -> None:
    stated, other = Suite2pOverrides.parse({"threshold_scaling": 1}), Suite2pOverrides.parse({"threshold_scaling": 2})
    assert stated == Suite2pOverrides() != other
    assert other | stated == Suite2pOverrides()
    assert stated | other == other
    assert Suite2pOverrides.parse({"tau": 1.5}) != Suite2pOverrides(), "each session sets its own"


@pytest.mark.parametrize(
    ("option", "value", "stage", "told"),
    [
        ("maxregshift", 0.1, "registration", "setting registration.maxregshift: 0.05 → 0.1"),
        ("do_regmetrics", False, "registration", "setting run.do_regmetrics: True → False"),
        ("registration.block_size", [64, 64], "registration", "setting registration.block_size: by session → [64, 64]"),
        ("threshold_scaling", 2, "detection", "setting detection.threshold_scaling: 1.0 → 2.0"),
        ("tau", 0.7, "detection", "setting tau: by session → 0.7"),
        ("win_baseline", 30, "detection", "setting dcnv_preprocess.win_baseline: 60.0 → 30.0"),
        ("torch_device", "cpu", None, ""),
    ],
)
def test_an_option_is_part_of_the_basis_of_the_one_stage_that_depends_on_it(
    option: str, value: Any, stage: str | None, told: str
) -> None:
    chosen = Suite2pOverrides.parse({option: value})
    for asked in ("registration", "detection"):
        before, now = (Basis("1", settings=stage_options(o, asked)) for o in (Suite2pOverrides(), chosen))
        assert before.differences(now) == ((told,) if asked == stage else ())


#: Settings that a user may state with the value that they have anyway.
STATABLE = [
    name
    for name, value in Suite2pOverrides().in_force.items()
    if value != "by session" and not is_owned(name) and not name.startswith(NOT_OFFERED)
]


@pytest.mark.parametrize("name", STATABLE)
def test_stating_a_default_changes_no_basis(name: str) -> None:
    unset = Suite2pOverrides()
    stated = Suite2pOverrides.parse({name: unset.in_force[name]})
    assert stated == unset
    assert hash(stated) == hash(unset)
    for stage in ("registration", "detection"):
        before, now = (Basis("", settings=stage_options(chosen, stage)) for chosen in (unset, stated))
        assert before.digest == now.digest
    meta = make_meta(64, 64, 1)
    assert suite2p_options(meta, 0, overrides=stated).settings == suite2p_options(meta, 0).settings


def test_every_setting_of_suite2p_decides_one_stage_or_is_the_pipelines_own() -> None:
    stages = [set(stage_options(Suite2pOverrides(), stage)) for stage in ("registration", "detection")]
    assert not stages[0] & stages[1]
    left = {row.name for row in SUITE2P_SETTINGS} - stages[0] - stages[1]
    assert {name.partition(".")[0] for name in left} == {"torch_device", "io", "run"}


def test_typed_metadata_give_the_same_work_orders(tmp_path: Path) -> None:
    meta = make_meta(96, 80, 3)
    typed = fov_jobs(tmp_path, parse_imaging_metadata(meta), genotype=["Thy1-G6f"])
    assert [job.to_json() for job in typed] == [
        job.to_json() for job in fov_jobs(tmp_path, meta, genotype=["Thy1-G6f"])
    ]


def test_corners_that_span_nothing_are_refused() -> None:
    meta = make_meta(64, 64, 2)
    meta["FOV"][1]["Deg"] = {name: [1.5, 0.0] for name in meta["FOV"][1]["Deg"]}
    with pytest.raises(MetadataError, match=r"FOV\[1\]\.Deg.*span an area"):
        suite2p_options(meta, 1)


@given(st.sets(st.integers(0, 500), max_size=20), st.booleans(), st.text("abc/", max_size=8))
def test_work_orders_survive_the_way_to_a_worker(bad: set[int], keep: bool, version: str) -> None:
    options = suite2p_options(make_meta(96, 80, 2), 1)
    basis = Basis("3", {"raw_frames": version}, {"registration.maxregshift": 0.05}, {"suite2p": "1.1.0"})
    job = FovJob(Path("/a/plane1"), options, tuple(sorted(bad)), basis, keep)
    back = FovJob.from_json(job.to_json())
    assert back == job
    assert back.basis.digest == basis.digest
