"""The code location as a person and as Dagster see it."""

import re
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from meso_assets.assets.session_asset import session_asset
from meso_assets.definitions import build_defs
from meso_assets.defs.catalogue import CATALOGUE, RECORDS
from meso_assets.defs.checks import check_results, verdict_table
from meso_assets.runs.settings.settings import load_settings
from meso_core.errors import MesoError
from meso_core.qc import QCResult, Verdict


@pytest.fixture(scope="module")
def defs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("defs")
    return build_defs(load_settings({"root": folder, "home": folder / "home"}))


def test_the_code_location_is_loadable_and_dagster_sees_the_declared_inputs(defs):
    """What the declarations say is compared with what assets do in ``tests/integration``."""
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    for name, declared in {**CATALOGUE, **RECORDS}.items():
        parents = {key.to_user_string() for key in graph.get(dg.AssetKey(name)).parent_keys}
        assert parents == set(declared.inputs), name


def test_of_the_steps_that_could_begin_dagster_begins_with_what_is_quick(defs):
    nodes = defs.resolve_job_def("process_session").graph.node_defs
    order = sorted(nodes, key=lambda node: -int(node.tags.get("dagster/priority", 0)))  # as Dagster's executors do
    quick = [node.name for node in nodes if node.name in CATALOGUE and CATALOGUE[node.name].is_quick]
    assert quick
    assert sorted(node.name for node in order[: len(quick)]) == sorted(quick)


def test_each_asset_of_the_readme_is_declared_and_none_is_missing():
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    table = readme[readme.index("| output |") :].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == [*CATALOGUE, *RECORDS]


def test_the_version_that_dagster_sees_changes_with_code_settings_and_packages_of_its_asset_only():
    settings = load_settings()
    declared = CATALOGUE["imaging_frames_archive"]
    other = settings.model_copy(update={"archive_format": "zarr"})
    assert declared.version(settings) == declared.version(settings.model_copy(update={"atlas": "allen"}))
    versions = {
        declared.version(settings),
        declared.version(other),
        replace(declared, code_version="2").version(settings),
    }
    assert len(versions | {replace(declared, packages=("numpy",)).version(settings)}) == 4


def test_a_function_that_takes_other_inputs_than_are_declared_is_refused():
    def imaging_frames_archive(context, platform, raw_frames): ...

    with pytest.raises(TypeError, match="raw_metadata"):
        session_asset(CATALOGUE["imaging_frames_archive"])(imaging_frames_archive)


def test_every_asset_tells_a_person_what_it_is(defs):
    graph = defs.resolve_asset_graph()
    for name, info in {**CATALOGUE, **RECORDS}.items():
        node = graph.get(dg.AssetKey(name))
        assert node.group_name == info.group
        assert "**" not in node.description, f"{name}: lists show such marks as they are"
        assert node.description[0].isupper()
        assert node.partitions_def.name == "session"
        assert node.code_version == info.version(load_settings())
        assert node.owners
        assert node.kinds


def test_steps_that_run_suite2p_share_a_pool(defs):
    job = defs.resolve_job_def("process_session")
    pooled = {node.name for node in job.all_node_defs if getattr(node, "pool", None) == "suite2p"}
    assert pooled == {"register_fov", "find_rois"}


def test_a_verdict_that_no_check_shows_is_an_error():
    stray = QCResult("never_declared", Verdict.FAIL, 1, 0, "bad", "somewhere")
    with pytest.raises(MesoError, match="never_declared"):
        check_results(CATALOGUE["frame_times"], [stray])


def test_a_table_of_all_verdicts_names_what_did_not_pass_and_counts_the_others():
    results = [
        QCResult("frames_match_pulses", verdict, 1, 0, f"bout {i}", "here")
        for i, verdict in enumerate([Verdict.PASS, Verdict.FAIL, Verdict.PASS])
    ]
    shown = verdict_table(results).value
    assert "bout 1" in shown
    assert "2 of 3 passed" in shown
    assert verdict_table(results[:1]).value.startswith("1 of 1 passed")


def test_what_was_not_measured_passes_a_check_and_its_row_calls_it_neither_good_nor_bad():
    results = [
        QCResult("frames_match_pulses", Verdict.PASS, None, None, "too few to compare", "here", "FOV_00"),
        QCResult("frames_match_pulses", Verdict.PASS, 0, 0, "all there", "here", "FOV_01"),
    ]
    shown = {r.check_name: r for r in check_results(CATALOGUE["frame_times"], results)}["frames_match_pulses"]
    assert shown.passed
    rows = shown.metadata["verdicts"].value.splitlines()[2:]
    assert [row.split(" | ")[:2] for row in rows] == [["| FOV_00", "–"], ["| FOV_01", "PASS"]]


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
