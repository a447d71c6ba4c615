"""What an asset hands over is published whole, with its basis, and comes back as typed values."""

import warnings
from dataclasses import replace

import dagster as dg
import numpy as np
import pytest

from meso_assets.assets.session_asset import AssetRun, Product, materialized
from meso_assets.defs.dagster_internals import failure_message
from meso_assets.defs.declare import Declaration
from meso_assets.defs.partitions import session_partitions
from meso_assets.io.managers import PUBLICATION, AlfIOManager, RawIOManager, SessionFilesIOManager
from meso_assets.io.published import FovDatasets, read_fovs, required
from meso_assets.io.resources import Platform
from meso_assets.runs.settings.settings import load_settings
from meso_core.errors import MesoWarning, MissingInputError
from meso_core.qc import QCResult, Verdict, read_results
from meso_core.session import RawFiles, RawKind

KEY = "SP035/2023-03-03/001"
TIMES = {"FOV_00": {"mpci.times": np.arange(5.0)}, "FOV_01": {"mpci.times": np.arange(5.0) + 0.1}}
QC = (QCResult("frames_match_pulses", Verdict.WARNING, 2, 0, "two too many", "here", fov="FOV_01"),)
FIRST = Declaration("first", "timing", "7", "**First**", "alf", raw=(RawKind.DAQ,))
SECOND = Declaration("second", "timing", "1", "**Second**", "alf", upstream=("first",), settings=("archive_format",))


@pytest.fixture
def settings(tmp_path):
    daq = tmp_path / "root" / KEY / "raw_sync_data"
    daq.mkdir(parents=True)
    (daq / "x.npy").write_bytes(b"daq")
    return load_settings({"root": tmp_path / "root", "home": tmp_path / "home"})


def session_of(settings):
    return Platform.open(settings).session(KEY)


def run(settings, *assets, instance):
    platform = Platform.open(settings)
    raw = dg.AssetSpec("raw_daq", partitions_def=session_partitions).with_io_manager_key("raw")
    resources = {
        "platform": platform,
        "raw": RawIOManager(platform, {"raw_daq": RawKind.DAQ}),
        "alf": AlfIOManager(platform, {}),
        "session_files": SessionFilesIOManager(platform, {}),
    }
    return dg.materialize(
        [raw, *assets], partition_key=KEY, instance=instance, resources=resources, raise_on_error=False
    )


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        made.add_dynamic_partitions("session", [KEY])
        yield made


def write(datasets, **more):
    def compute(run: AssetRun) -> Product:
        staging = run.stage()
        staging.write_fovs(datasets, where=KEY)
        return Product(staging, **more)

    return compute


def first_asset(compute):
    @dg.asset(
        name="first",
        partitions_def=session_partitions,
        io_manager_key="alf",
        code_version="7",
        dagster_type=PUBLICATION,
    )
    def first(context: dg.AssetExecutionContext, platform: Platform, raw_daq: RawFiles) -> dg.MaterializeResult:
        assert [file.path for file in raw_daq.files] == ["raw_sync_data/x.npy"]
        return materialized(context, platform, FIRST, compute)

    return first


def last_of(instance, asset):
    return instance.get_latest_materialization_event(dg.AssetKey(asset)).asset_materialization


def seen_by(instance, tags):
    """Version of the observation of the raw files that a materialisation points to."""
    (seen,) = instance.fetch_observations(dg.AssetKey("raw_daq"), limit=1).records
    assert seen.storage_id == int(tags["dagster/input_event_pointer/raw_daq"])
    return seen.asset_observation.tags["dagster/data_version"]


def test_datasets_come_back_as_they_went_in_and_the_version_is_that_of_the_content(settings, instance):
    assert run(settings, first_asset(write(TIMES)), instance=instance).success
    manifest = session_of(settings).manifest("first")
    back = read_fovs(session_of(settings), manifest)
    assert list(back) == ["FOV_00", "FOV_01"]
    np.testing.assert_array_equal(back["FOV_01"]["mpci.times"], TIMES["FOV_01"]["mpci.times"])
    tags = last_of(instance, "first").tags
    assert tags["dagster/data_version"] == manifest.data_version
    assert seen_by(instance, tags) == manifest.basis.inputs["raw_daq"]
    assert manifest.basis.code_version == tags["dagster/code_version"] == "7"


def test_raw_files_that_dagster_has_not_seen_are_reported_before_the_asset_is_made_from_them(settings, instance):
    assert run(settings, first_asset(write(TIMES)), instance=instance).success
    before = session_of(settings).manifest("first").basis.inputs["raw_daq"]
    (session_of(settings).path / "raw_sync_data" / "x.npy").write_bytes(b"another")
    assert run(settings, first_asset(write(TIMES)), instance=instance).success
    now = session_of(settings).manifest("first").basis.inputs["raw_daq"]
    assert before != now == seen_by(instance, last_of(instance, "first").tags)


def test_the_next_asset_gets_arrays_and_its_basis_names_their_version_and_the_settings(settings, instance):
    @dg.asset(name="second", partitions_def=session_partitions, io_manager_key="alf", dagster_type=PUBLICATION)
    def second(context: dg.AssetExecutionContext, platform: Platform, first: FovDatasets) -> dg.MaterializeResult:
        shifted = {fov: {"mpciStack.timeshift": np.asarray(of["mpci.times"]) + 1} for fov, of in first.items()}
        return materialized(context, platform, SECOND, write(shifted))

    assert run(settings, first_asset(write(TIMES)), second, instance=instance).success
    session = session_of(settings)
    basis = session.manifest("second").basis
    assert basis.inputs == {"first": session.manifest("first").data_version}
    assert basis.settings == {"archive_format": "tar.bz2"}
    times = read_fovs(session, session.manifest("second"))["FOV_00"]["mpciStack.timeshift"]
    np.testing.assert_array_equal(times, np.arange(5.0) + 1)


def test_a_value_that_breaks_the_table_fails_and_leaves_what_was_there(settings, instance):
    run(settings, first_asset(write(TIMES)), instance=instance)
    before = session_of(settings).manifest("first")
    (session_of(settings).path / "raw_sync_data" / "x.npy").write_bytes(b"another")
    broken = first_asset(write({"FOV_00": {"mpci.times": np.arange(5)}}))
    assert not run(settings, broken, instance=instance).success
    assert session_of(settings).manifest("first") == before


def test_no_path_leads_round_the_look_at_what_is_published_and_all_problems_are_one_message(settings, instance):
    """Files that the step wrote itself, of two fields of view, and one that disagrees with what it was made from."""
    assert run(settings, first_asset(write(TIMES)), instance=instance).success
    declared = replace(SECOND, datasets=("mpci.badFrames", "mpci.mpciFrameQC"))

    def compute(asset_run: AssetRun) -> Product:
        staging = asset_run.stage()
        for fov, value in {"FOV_00": np.zeros(6, bool), "FOV_02": np.zeros(5)}.items():
            (staging.folder / "alf" / fov).mkdir(parents=True)
            np.save(staging.folder / "alf" / fov / "mpci.badFrames.npy", value)
        return Product(staging)

    @dg.asset(name="second", partitions_def=session_partitions, io_manager_key="alf", dagster_type=PUBLICATION)
    def second(context: dg.AssetExecutionContext, platform: Platform, first: FovDatasets) -> dg.MaterializeResult:
        return materialized(context, platform, declared, compute)

    done = run(settings, first_asset(write(TIMES)), second, instance=instance)
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    told = failure_message(failure)
    for part in (
        "FOV_00 mpci.badFrames: expected n_frames = 5 as in mpci.times of first, found 6",
        "FOV_00 mpci.mpciFrameQC: missing",
        "FOV_01 mpci.badFrames: missing",
        "FOV_02: no such field of view",
        "FOV_02 mpci.badFrames: expected dtype b1, found float64",
    ):
        assert part in told
    assert session_of(settings).manifest("second") is None
    assert sorted(file.name for file in (session_of(settings).path / "alf").rglob("*.npy")) == ["mpci.times.npy"] * 2


def test_a_current_result_is_handed_on_with_what_was_told_of_it_and_nothing_is_computed(settings, instance):
    run(settings, first_asset(write(TIMES, metadata={"rate": 5.5})), instance=instance)
    before = session_of(settings).manifest("first")

    def never(_: AssetRun) -> Product:
        raise AssertionError("computed")

    assert run(settings, first_asset(never), instance=instance).success
    assert session_of(settings).manifest("first") == before, "run id and time are those of the first run"
    told = last_of(instance, "first")
    assert told.tags["dagster/data_version"] == before.data_version
    assert told.metadata["rate"].value == 5.5
    assert told.metadata["unchanged_since"].value == before.published_at


def test_verdicts_texts_and_figures_are_one_publication(settings, instance):
    def compute(asset_run: AssetRun) -> Product:
        staging = asset_run.stage()
        staging.write("alyx/b.json", b"[]")
        return Product(staging, figures={"dots": b"\x89PNG"})

    assert run(settings, first_asset(compute), instance=instance).success
    paths = {file.path for file in session_of(settings).manifest("first").files}
    assert paths == {"alyx/b.json", "reports/figures/dots.png"}
    assert read_results(session_of(settings).path, "first") == (), "no verdicts rather than good ones"


def test_what_is_shown_of_a_result_is_kept_with_its_materialisation_and_with_no_event_of_the_step(settings, instance):
    done = run(settings, first_asset(write(TIMES, metadata={"rate": 5.5})), instance=instance)
    shown = last_of(instance, "first").metadata
    assert shown["rate"].value == 5.5, "what the asset tells"
    assert shown["manifest_sha256"].value == session_of(settings).manifest("first").digest, "what publishing tells"
    again = run(settings, first_asset(write(TIMES)), instance=instance)
    assert last_of(instance, "first").metadata["rate"].value == 5.5, "and of a result that stays"
    for one in (done, again):
        outputs = [event for event in one.all_events if event.event_type_value in ("STEP_OUTPUT", "HANDLED_OUTPUT")]
        assert len(outputs) == 2
        assert all(not event.event_specific_data.metadata for event in outputs)


def test_what_is_tolerated_when_files_are_published_stands_in_the_log_and_with_the_result(settings, instance):
    assert run(settings, first_asset(write(TIMES)), instance=instance).success
    record = session_of(settings).path / ".meso" / "manifests" / "first.json"
    (session_of(settings).path / "raw_sync_data" / "x.npy").write_bytes(b"another")

    def compute(run):
        product = write(TIMES)(run)
        record.write_text("{")  # somebody else, after the look
        return product

    done = run(settings, first_asset(compute), instance=instance)
    assert done.success
    told = last_of(instance, "first").metadata["tolerated_when_published"].value
    assert "The damaged record is kept as" in told
    assert "The damaged record is kept as" in logged(instance, done)


def logged(instance, done):
    return "\n".join(entry.user_message for entry in instance.all_logs(done.run_id))


def test_a_warning_that_comes_before_an_error_is_logged_too(settings, instance):
    def compute(_):
        warnings.warn("a page is missing", MesoWarning, stacklevel=1)
        raise MissingInputError("no such file")

    done = run(settings, first_asset(compute), instance=instance)
    assert not done.success
    assert "a page is missing" in logged(instance, done)


def test_asking_for_what_was_never_made_names_the_asset(settings):
    with pytest.raises(MissingInputError, match="Run rois of this session first"):
        required(session_of(settings), "rois")


def test_raw_data_is_never_written_through_dagster(settings, instance):
    @dg.asset(name="raw_daq", partitions_def=session_partitions, io_manager_key="raw")
    def raw_daq():
        return 1

    manager = RawIOManager(Platform.open(settings), {"raw_daq": RawKind.DAQ})
    result = dg.materialize(
        [raw_daq], partition_key=KEY, instance=instance, resources={"raw": manager}, raise_on_error=False
    )
    assert not result.success
