"""What is said of a session in few words: what waits, is not applicable or breaks a rule; and back from JSON."""

import json

import numpy as np
import pytest

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.defs.standing.standings import look_at
from meso_assets.defs.standing.summaries import SessionSummary, summary_of
from meso_assets.io.resources import Platform
from meso_assets.runs.settings.settings import load_settings
from meso_assets.runs.status.attempts import Failure
from meso_assets.runs.status.cells import State
from meso_assets.runs.status.status import cells_of
from meso_core.json_text import json_text
from meso_core.qc import QCResult, Verdict, qc_path, results_to_json
from meso_core.storage import MadeBy

KEY = "SP035/2023-03-03/001"
BOUT = "raw_imaging_data_00"


@pytest.fixture
def settings(tmp_path):
    settings = load_settings({"root": tmp_path / "Subjects", "home": tmp_path / "home"})
    bout = settings.root / KEY / BOUT
    bout.mkdir(parents=True)
    (bout / "x_00001.tif").write_bytes(b"tif")
    (bout.parent / "raw_session.flag").touch()
    return settings


def publish(settings, name, files):
    session = Platform.open(settings).session(KEY)
    staging = session.stage(name)
    for path, content in files.items():
        staging.write(path, content)
    basis = look_at(session).standing(CATALOGUE[name], settings).basis
    session.publish(staging.seal(), basis, MadeBy("0123-4567"))


def summary(settings):
    return summary_of(Platform.open(settings).session(KEY), settings, now_ns=10**19)


def cells(settings, failures=()):
    return {cell.asset: cell for cell in cells_of(summary(settings), KEY, dict(failures)).cells}


def test_an_asset_without_what_it_is_about_is_not_applicable_made_or_not(settings):
    assert {name for name, cell in cells(settings).items() if cell.state is State.NOT_APPLICABLE} == {
        "reference_images",
        "alyx_snapshots",
    }
    publish(settings, "reference_images", {"reports/reference_images.json": b"{}"})
    cell = cells(settings)["reference_images"]
    assert (cell.state, cell.why) == (State.NOT_APPLICABLE, "the session has no files in a reference folder")
    assert cell.published_at
    late = settings.root / KEY / BOUT / "reference" / "r.tif"
    late.parent.mkdir()
    late.write_bytes(b"tif")
    assert cells(settings)["reference_images"].state is State.STALE


def test_a_failure_of_what_is_not_applicable_is_a_failure(settings):
    failed = cells(settings, {"reference_images": Failure(State.FAILED, "no disk")})["reference_images"]
    assert (failed.state, failed.why) == (State.FAILED, "no disk")


def test_verdicts_sizes_and_figures_are_those_of_the_published_files(settings):
    good = QCResult("one", Verdict.PASS, 1, 2, "fine", "tests")
    bad = QCResult("cells_found", Verdict.FAIL, 0, 1, "no cell. Look at the mean image", "tests", "FOV_01")
    files = {qc_path("rois"): results_to_json((good, bad)).encode(), "reports/figures/a.png": b"png", "alf/a": b"1234"}
    publish(settings, "rois", files)
    rois = cells(settings)["rois"]
    assert (rois.verdict, rois.verdict_why) == ("FAIL", "cells_found (FOV_01): no cell. Look at the mean image")
    assert (rois.n_files, rois.n_bytes) == (3, sum(map(len, files.values())))
    assert (rois.shown, rois.run_id) == (("reports/figures/a.png",), "0123-4567")
    (settings.root / KEY / qc_path("rois")).write_text("{")
    damaged = cells(settings)["rois"]
    assert damaged.verdict == "WARNING"
    assert "Materialise rois again" in damaged.verdict_why


def test_labels_that_a_person_edited_are_told_with_who_and_when_until_a_run_takes_them_over(settings):
    probability = np.linspace(0, 1, 10)
    iscell, types = np.c_[probability > 0.5, probability], (probability > 0.5).astype(np.int16)
    folder = settings.root / KEY
    names = "suite2p/plane0/iscell.npy", "alf/FOV_00/mpciROIs.mpciROITypes.npy"
    np.save(settings.root / "a.npy", iscell)
    np.save(settings.root / "b.npy", types)
    contents = [(settings.root / name).read_bytes() for name in ("a.npy", "b.npy")]
    publish(settings, "rois", dict(zip(names, contents, strict=True)))
    assert summary(settings).remarks == ()
    iscell[:3, 0] = 1
    np.save(folder / names[0], iscell)
    (told,) = summary(settings).remarks
    assert told.startswith("3 labels edited by hand on ")
    assert f" by {(folder / names[0]).owner()} in suite2p/plane0/iscell.npy" in told
    rois = cells(settings)["rois"]
    assert rois.state is State.STALE
    assert rois.why.startswith(told)
    failed = cells(settings, {"rois": Failure(State.FAILED, "no memory")})["rois"]
    assert failed.why == "no memory"
    assert summary(settings).remarks == (told,), "also where the run that should have taken them over failed"


def test_two_metadata_files_of_a_bout_are_told_before_anything_runs(settings):
    for name in ("_ibl_rawImagingData.meta.json", "other.rawImagingData.meta.json", "._x.rawImagingData.meta.json"):
        (settings.root / KEY / BOUT / name).write_text("{}")
    (told,) = [remark for remark in summary(settings).remarks if "metadata" in remark]
    assert told == (
        f"{BOUT} has 2 metadata files (_ibl_rawImagingData.meta.json, other.rawImagingData.meta.json) where one is "
        "expected: move the wrong one out"
    )


def test_what_is_written_is_read_back_whatever_was_found(settings):
    publish(settings, "rois", {"alf/a": b"1"})
    (settings.root / KEY / "alf" / "a").write_bytes(b"22")
    (settings.root / KEY / BOUT / ".DS_Store").touch()
    (settings.root / KEY / ".meso" / "manifests" / "frame_qc.json").write_text("{")
    found = summary(settings)
    assert found.damaged
    assert found.remarks
    assert SessionSummary.from_record(json.loads(json_text(found.as_record()))) == found
