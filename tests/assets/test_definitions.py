"""The code location as a person and as Dagster see it."""

import dagster as dg
import pytest

from meso_assets.definitions import build_defs
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.checks import check_results
from meso_assets.defs.dagster_internals import facts_of_definitions
from meso_assets.runs.settings import load_settings
from meso_core.errors import MesoError
from meso_core.qc import QCResult, Verdict

UPSTREAM = {
    "raw_session": set(),
    "imaging_metadata": {"raw_session"},
    "imaging_frames_archive": {"raw_session"},
    "reference_images": {"raw_session", "imaging_metadata"},
    "frame_qc": {"raw_session", "imaging_metadata"},
    "frame_times": {"raw_session", "imaging_metadata"},
    "motion_registered_frames": {"raw_session", "imaging_metadata", "frame_qc"},
    "rois": {"motion_registered_frames"},
    "mean_image_mlapdv": {"raw_session", "imaging_metadata"},
    "roi_brain_locations": {"rois", "mean_image_mlapdv"},
    "alyx_fov_records": {"imaging_metadata", "mean_image_mlapdv"},
}


@pytest.fixture(scope="module")
def defs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("defs")
    return build_defs(load_settings({"root": folder, "home": folder / "home"}))


def test_the_code_location_is_loadable_and_the_graph_is_the_documented_one(defs):
    dg.Definitions.validate_loadable(defs)
    assert {name: set(facts.upstream) for name, facts in facts_of_definitions(defs).items()} == UPSTREAM


def test_every_asset_tells_a_person_what_it_is(defs):
    graph = defs.resolve_asset_graph()
    for name, info in CATALOGUE.items():
        node = graph.get(dg.AssetKey(name))
        assert node.group_name == info.group
        assert node.description.startswith("**"), f"{name} opens with what it is"
        assert node.partitions_def.name == "session"
        if name != "raw_session":
            assert node.code_version
            assert node.owners
            assert node.kinds


def test_every_step_of_the_fan_out_has_a_code_version(defs):
    for name in ("motion_registered_frames", "rois"):
        graph = next(a for a in defs.assets if isinstance(a, dg.AssetsDefinition) and name in a.key.path).node_def
        for node in graph.nodes:
            assert node.definition.version == CATALOGUE[name].code_version


def test_steps_that_run_suite2p_share_a_pool(defs):
    job = defs.resolve_job_def("process_session")
    pooled = {node.name for node in job.all_node_defs if getattr(node, "pool", None) == "suite2p"}
    assert pooled == {"register_fov", "find_rois"}


def test_a_verdict_that_no_check_shows_is_an_error():
    stray = QCResult("never_declared", Verdict.FAIL, 1, 0, "bad", "somewhere")
    with pytest.raises(MesoError, match="never_declared"):
        check_results(CATALOGUE["frame_times"], [stray])


def test_the_worst_of_several_verdicts_decides_and_all_are_shown():
    results = [
        QCResult("frames_match_pulses", verdict, 1, 0, f"bout {i}", "here")
        for i, verdict in enumerate([Verdict.PASS, Verdict.FAIL, Verdict.WARNING])
    ]
    shown = {r.check_name: r for r in check_results(CATALOGUE["frame_times"], results)}["frames_match_pulses"]
    assert not shown.passed
    assert shown.severity == dg.AssetCheckSeverity.ERROR
    for i in range(3):
        assert f"bout {i}" in shown.metadata["verdicts"].value
