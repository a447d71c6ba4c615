"""Verdicts on what all results together tell: each is asked where its inputs are there, and answers what was spoilt."""

from dataclasses import replace

import numpy as np
import pytest
from large_session import report_inputs

from meso_core.imaging.fovs import plane
from meso_core.qc import CHECKS, Verdict, parse_limits
from meso_core.report import MadeResult, judge_session
from meso_core.report.judge.cells import FovTraces, judge_cells

OF_THE_RECORDS = {"files_as_published"}
OF_A_CLOCK = {"frames_match_timestamps", "interval_jitter", "interval_gaps"}
OF_MOTION = {"rigid_range", "rigid_jump"}
OF_A_MOVIE = {"crispness_gain", "ends_alike", "saturated_share", "photons_per_pixel", "counts_per_photon", "light_lost"}
OF_CELLS = {"traces_are_finite", "classifier_share", "cells_are_active", "noise_level", "neuropil_correlation"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return report_inputs(tmp_path_factory.mktemp("judge"), n_rois=12, n_frames=200, preset_name="tiny")


def with_datasets(inputs, **values):
    """The inputs with other datasets of the first field."""
    return replace(inputs, datasets={**inputs.datasets, "FOV_00": {**inputs.datasets["FOV_00"], **values}})


def judged(inputs, fov="FOV_00", **limits):
    return {one.check: one for one in judge_session(inputs, parse_limits(limits)) if one.fov in (None, fov)}


def test_each_question_is_asked_of_each_field_whose_results_are_there(inputs):
    asked = OF_THE_RECORDS | OF_A_CLOCK | OF_MOTION | OF_CELLS
    assert set(judged(inputs)) == asked
    assert set(judged(replace(inputs, datasets={}))) == OF_THE_RECORDS | OF_MOTION
    assert set(judged(replace(inputs, planes={}, datasets={}))) == OF_THE_RECORDS
    assert set(judged(replace(inputs, metadata=None))) == OF_THE_RECORDS
    assert asked <= set(CHECKS)


def test_a_movie_is_judged_where_there_is_one(inputs, tmp_path):
    fov = inputs.metadata.imaging.fovs[0]
    rng = np.random.default_rng(0)
    frames = np.clip(rng.normal(900, 200, (200, *fov.shape)), 0, 1200).astype(np.int16)
    plane.save_array(tmp_path / "movie.npy", frames)
    (tmp_path / "movie.bin").write_bytes(frames.tobytes())
    found = judged(replace(inputs, movies={fov.name: tmp_path / "movie.bin"}))
    assert set(found) == OF_THE_RECORDS | OF_A_CLOCK | OF_MOTION | OF_CELLS | OF_A_MOVIE
    assert found["saturated_share"].verdict is Verdict.WARNING, "values end at 1200"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["mpci.ROIActivityF", "mpci.ROINeuropilActivityF", "mpci.ROIActivityDeconvolved"])
def test_values_that_are_no_numbers_are_counted_and_fail(inputs, name, value):
    spoilt = np.array(inputs.datasets["FOV_00"][name])
    spoilt[[3, 50], [1, 7]] = value
    found = judged(with_datasets(inputs, **{name: spoilt}))["traces_are_finite"]
    assert (found.value, found.verdict) == (2, Verdict.FAIL)
    assert judged(inputs)["traces_are_finite"].verdict is Verdict.PASS


def test_a_lost_frame_is_a_gap_and_a_missing_timestamp_fails(inputs):
    times = np.array(inputs.datasets["FOV_00"]["mpci.times"])
    later = np.where(np.arange(len(times)) > 40, times + 2 * np.diff(times)[0], times)
    assert judged(with_datasets(inputs, **{"mpci.times": later}))["interval_gaps"].value == 1
    assert judged(inputs)["interval_gaps"].value == 0
    found = judged(with_datasets(inputs, **{"mpci.times": times[:-1]}))["frames_match_timestamps"]
    assert (found.value, found.threshold, found.verdict) == (199, 200, Verdict.FAIL)


def test_times_that_shake_are_told(inputs):
    times = np.array(inputs.datasets["FOV_00"]["mpci.times"])
    shaken = times + 0.02 * np.random.default_rng(1).standard_normal(len(times))
    assert judged(with_datasets(inputs, **{"mpci.times": shaken}))["interval_jitter"].verdict is Verdict.WARNING
    assert judged(inputs)["interval_jitter"].verdict is Verdict.PASS


def test_files_that_are_gone_are_told_with_the_result_that_had_them(inputs):
    results = [MadeResult("rois", "0123", n_lost=2), MadeResult("imaging_frames_archive", "4567", n_lost=1)]
    found = judged(replace(inputs, results=results))
    assert (found["files_as_published"].value, found["files_as_published"].verdict) == (3, Verdict.WARNING)
    assert "2 of rois" in found["files_as_published"].message
    assert found["archive_verified"].verdict is Verdict.WARNING


def test_the_limits_of_a_lab_hold(inputs):
    usual = judged(inputs)["noise_level"]
    strict = judged(inputs, noise_level={"warning": 0.0, "fail": usual.value / 2})["noise_level"]
    assert (usual.verdict, strict.verdict, strict.value) == (Verdict.PASS, Verdict.FAIL, usual.value)


def test_cells_of_noise_alone_ask_for_a_look_and_are_not_asked_where_frames_are_too_far_apart(inputs):
    n_frames, n_rois = np.shape(inputs.datasets["FOV_00"]["mpci.ROIActivityF"])
    noise = 1000 + 50 * np.random.default_rng(3).standard_normal((n_frames, n_rois)).astype(np.float32)
    dark = judged(with_datasets(inputs, **{"mpci.ROIActivityF": noise}))["cells_are_active"]
    assert (dark.value, dark.verdict) == (0, Verdict.WARNING)
    cells = np.ones(n_rois, bool), np.zeros(n_frames, bool)
    asked = {
        tau: {one.check for one in judge_cells("FOV_00", FovTraces(noise, 0 * noise, 0 * noise, *cells, 3.0, tau))}
        for tau in (1.5, 0.7, None)
    }
    assert [tau for tau, names in asked.items() if "cells_are_active" in names] == [1.5, None]


def test_frames_that_are_left_out_do_not_move_the_verdicts_on_traces(inputs):
    of = inputs.datasets["FOV_00"]
    f, around = (np.array(of[f"mpci.ROI{name}F"]) for name in ("Activity", "NeuropilActivity"))
    bad = np.arange(len(f)) % 6 == 5
    cells = np.ones(f.shape[1], bool), bad
    usual = judge_cells("FOV_00", FovTraces(f, around, 0 * f, *cells, 3.0, 1.5))
    f[bad], around[bad] = 1.0, 1.0  # somebody shut the light
    assert judge_cells("FOV_00", FovTraces(f, around, 0 * f, *cells, 3.0, 1.5)) == usual
