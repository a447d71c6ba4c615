"""What needs no ratings and no DAQ goes on without them: a verdict tells, and nothing of it is sent."""

import json
import shutil

import dagster as dg
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from meso_assets.cli.tables import outcome
from meso_assets.defs.alyx.gate import withheld_by_qc
from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.runs.run import run_session
from meso_assets.runs.status.status import State
from meso_core.archive.gate.processed import processing_doubts
from meso_core.qc import Verdict, read_results
from tests.integration.staleness import status_cells
from tests.integration.three_fields import ASSETS, FRAMES, KEY, PLACES, ROIS, failed_steps, files_of

pytestmark = [
    pytest.mark.usefixtures("without_workers"),
    pytest.mark.filterwarnings("ignore::meso_core.errors.MesoWarning"),
]

MADE_OF_RATINGS = ("frame_qc", FRAMES, ROIS, PLACES)


@pytest.fixture
def fresh():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def short_by_three(bout):
    """A rater's slip: the last three frames were not rated."""
    content = loadmat(bout / "exptQC.mat")
    content = {name: content[name] for name in ("frameQC_frames", "frameQC_names")}
    savemat(bout / "exptQC.mat", {**content, "frameQC_frames": content["frameQC_frames"][:, :-3]})


def a_frame_too_far(bout):
    """The list of bad frames is of a longer recording."""
    savemat(bout / "badframes.mat", {"badframes": np.uint32([[1, 100_000]])})


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (short_by_three, "found 177 values"),
        pytest.param(a_frame_too_far, "found 100000", marks=pytest.mark.nightly),
    ],
)
def test_ratings_that_do_not_fit_stop_nothing_and_nothing_of_it_is_sent(
    spoil, found, copied, three_done, materialise, fresh
):
    settings, session = copied
    bout = session.path / "raw_imaging_data_00"
    kept = {name: (bout / name).read_bytes() for name in ("exptQC.mat", "badframes.mat")}
    spoil(bout)
    assert materialise(fresh, settings, KEY, ASSETS).success
    (told,) = read_results(session.path, "frame_qc")
    assert (told.check, told.verdict) == ("frames_were_rated", Verdict.FAIL)
    assert found in told.message
    assert "no frame of this bout is left out" in told.message
    for fov in range(3):
        folder = session.path / "alf" / f"FOV_0{fov}"
        assert not np.load(folder / "mpci.excludedFrames.npy").any()
    forbidden = withheld_by_qc(session, CATALOGUE["alyx_datasets"].upstream).why
    assert {*MADE_OF_RATINGS} <= {*forbidden}
    assert all("frames_were_rated" in forbidden[asset] for asset in MADE_OF_RATINGS)
    assert "check frames_were_rated" in [where for where, _ in processing_doubts(session.path, FRAMES, [])]

    for name, content in kept.items():
        (bout / name).write_bytes(content)
    assert materialise(fresh, settings, KEY, ASSETS).success
    for asset in MADE_OF_RATINGS:
        assert files_of(session, asset) == files_of(three_done, asset), "as if they had fitted"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("exptQC.mat", "badframes.mat"), "no exptQC.mat, so all 180 frames count as ok"),
        pytest.param(("exptQC.mat",), "no exptQC.mat, so all 180 frames count as ok", marks=pytest.mark.nightly),
        pytest.param(("badframes.mat",), "no badframes.mat, so none of the", marks=pytest.mark.nightly),
    ],
)
def test_a_file_of_ratings_that_is_missing_stops_nothing_and_is_told(names, message, copied, materialise, fresh):
    settings, session = copied
    for name in names:
        (session.path / "raw_imaging_data_00" / name).unlink()
    assert materialise(fresh, settings, KEY, ASSETS).success
    (told,) = read_results(session.path, "frame_qc")
    assert told.verdict is Verdict.WARNING
    assert message in told.message


def test_a_missing_daq_stops_the_frame_times_alone(copied, materialise, fresh):
    settings, session = copied
    shutil.rmtree(session.path / "raw_sync_data")
    before = session.manifest("frame_times")
    result = materialise(fresh, settings, KEY, [name for name, one in CATALOGUE.items() if not one.reads_records])
    (step, told), *others = failed_steps(result).items()
    assert not others
    assert step == "frame_times"
    assert "Copy the DAQ's files from the rig" in told
    assert session.manifest("frame_times") == before, "what was there stays"
    assert materialise(fresh, settings, KEY, [name for name, one in CATALOGUE.items() if one.reads_records]).success
    cells = status_cells(fresh, settings, session.key)
    assert {name for name, cell in cells.items() if cell.state is not State.DONE} == {"frame_times"}


def test_a_run_from_a_terminal_tells_alyx_of_what_there_is_without_frame_times(copied):
    settings, session = copied
    shutil.rmtree(session.path / "raw_sync_data")
    for name in ("frame_times", "alyx_datasets"):
        for file in session.manifest(name).files:
            (session.path / file.path).unlink()
        (session.path / ".meso" / "manifests" / f"{name}.json").unlink()
    assets = ("imaging_metadata", "frame_qc", "frame_times", "alyx_datasets")
    summary = run_session(settings.model_copy(update={"executor": "in_process"}), session.key, assets=assets)
    assert not summary.success
    assert summary.failed == {"frame_times"}
    told = session.manifest("alyx_datasets")
    assert told.made_by.run_id == summary.then_run_id
    assert outcome("alyx_datasets", told, summary) == "made"
    assert "frame_times" in json.loads((session.path / "alyx" / "datasets.json").read_text())["not_made"]
    again = run_session(settings.model_copy(update={"executor": "in_process"}), session.key, assets=assets)
    assert session.manifest("alyx_datasets") == told, "unchanged"
    assert outcome("alyx_datasets", told, again) == "unchanged, there before"
