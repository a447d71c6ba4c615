"""What an asset hands over is published whole, with its verdicts and provenance, and comes back as arrays."""

import json

import dagster as dg
import numpy as np
import pytest

from meso_assets.defs.partitions import session_partitions
from meso_assets.io.managers import AlfIOManager, Product, SessionFilesIOManager, all_qc, read_fovs, read_qc
from meso_assets.io.resources import Platform
from meso_assets.runs.settings import load_settings
from meso_core.errors import MissingInputError
from meso_core.qc import QCResult, Verdict

KEY = "SP035/2023-03-03/001"
TIMES = {"FOV_00": {"mpci.times": np.arange(5.0)}, "FOV_01": {"mpci.times": np.arange(5.0) + 0.1}}
QC = (QCResult("frames_match_pulses", Verdict.WARNING, 2, 0, "two too many", "here", fov="FOV_01"),)


@pytest.fixture
def platform(tmp_path):
    (tmp_path / "root" / KEY).mkdir(parents=True)
    return Platform.open(load_settings({"root": tmp_path / "root", "home": tmp_path / "home"}))


def run(platform, *assets):
    managers = {"alf": AlfIOManager(platform), "session_files": SessionFilesIOManager(platform)}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("session", [KEY])
        result = dg.materialize(
            list(assets), partition_key=KEY, instance=instance, resources=managers, raise_on_error=False
        )
        return result, {a.key.to_user_string(): instance.get_latest_data_version_record(a.key) for a in assets}


def asset_that_makes(product, name="frame_times", io_manager="alf", **options):
    @dg.asset(name=name, partitions_def=session_partitions, io_manager_key=io_manager, code_version="7", **options)
    def made():
        return product() if callable(product) else product

    return made


def test_datasets_come_back_as_they_went_in_and_the_version_is_that_of_the_content(platform):
    result, records = run(platform, asset_that_makes(Product(TIMES)))
    assert result.success
    back = read_fovs(platform.session(KEY), "frame_times")
    assert list(back) == ["FOV_00", "FOV_01"]
    np.testing.assert_array_equal(back["FOV_01"]["mpci.times"], TIMES["FOV_01"]["mpci.times"])
    manifest = platform.session(KEY).manifest("frame_times")
    tags = records["frame_times"].asset_materialization.tags
    assert tags["dagster/data_version"] == manifest.data_version
    assert manifest.provenance.code_version == tags["dagster/code_version"] == "7"


def test_the_next_asset_gets_arrays_and_its_manifest_names_their_version(platform):
    first = asset_that_makes(Product(TIMES))

    @dg.asset(name="after", partitions_def=session_partitions, io_manager_key="alf", code_version="1")
    def after(frame_times):
        shifted = {fov: {"mpci.times": np.asarray(of["mpci.times"]) + 1} for fov, of in frame_times.items()}
        return Product({f"{fov}": datasets for fov, datasets in shifted.items()})

    result, _ = run(platform, first, after)
    assert result.success
    session = platform.session(KEY)
    assert session.manifest("after").provenance.inputs == {"frame_times": session.manifest("frame_times").data_version}


def test_a_value_that_breaks_the_table_fails_and_leaves_what_was_there(platform):
    run(platform, asset_that_makes(Product(TIMES)))
    before = platform.session(KEY).manifest("frame_times")
    result, _ = run(platform, asset_that_makes(Product({"FOV_00": {"mpci.times": np.arange(5)}})))
    assert not result.success
    assert platform.session(KEY).manifest("frame_times") == before
    np.testing.assert_array_equal(
        read_fovs(platform.session(KEY), "frame_times")["FOV_00"]["mpci.times"], np.arange(5.0)
    )


def test_verdicts_are_published_with_the_content_and_read_back(platform):
    run(platform, asset_that_makes(Product(TIMES, qc=QC)))
    session = platform.session(KEY)
    assert read_qc(session, "frame_times") == QC == all_qc(session)
    assert "reports/qc/frame_times.json" in {file.path for file in session.manifest("frame_times").files}


def test_without_verdicts_there_are_none_rather_than_good_ones(platform):
    assert all_qc(platform.session(KEY)) is None


def test_a_manifest_that_still_holds_is_reported_without_publishing_again(platform):
    run(platform, asset_that_makes(Product(TIMES)))
    before = platform.session(KEY).manifest("frame_times")
    result, records = run(platform, asset_that_makes(Product(before)))
    assert result.success
    assert platform.session(KEY).manifest("frame_times") == before, "run id and time are those of the first run"
    assert records["frame_times"].asset_materialization.tags["dagster/data_version"] == before.data_version


def test_staged_files_texts_and_figures_are_one_publication(platform):
    def product():
        staged = platform.session(KEY).stage("records")
        (staged / "alyx").mkdir()
        (staged / "alyx" / "a.json").write_text("{}")
        return Product(staged, texts={"alyx/b.json": "[]"}, figures={"dots": b"\x89PNG"})

    result, _ = run(platform, asset_that_makes(product, "records", "session_files"))
    assert result.success
    paths = {file.path for file in platform.session(KEY).manifest("records").files}
    assert paths == {"alyx/a.json", "alyx/b.json", "reports/figures/dots.png"}
    assert json.loads((platform.session(KEY).path / "alyx/b.json").read_text()) == []


def test_asking_for_what_was_never_made_names_the_asset(platform):
    with pytest.raises(MissingInputError, match="Materialise rois first"):
        read_fovs(platform.session(KEY), "rois")
