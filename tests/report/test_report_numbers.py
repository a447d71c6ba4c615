"""Numbers of the report against the truth of simulated sessions and against formulas written in another way."""

from dataclasses import replace

import numpy as np
import pytest
from large_session import metadata_of
from scipy.ndimage import gaussian_filter

from meso_core.imaging.fovs import plane
from meso_core.report.measure.clock import bout_edges, fov_clock, intervals
from meso_core.report.measure.motion import crispness, read_motion
from meso_core.report.measure.population import count_by, doubles, nearest_um
from meso_core.simulate import load_truth, preset, simulate_session


@pytest.mark.parametrize("zs", [(245.0,), (200.0, 230.0, 260.0)])
def test_frames_per_bout_and_times_are_those_of_the_truth(tmp_path, zs):
    config = replace(preset("tiny"), zs=zs, frames_per_bout=(31, 20), write_movie=False)
    made = simulate_session(tmp_path / "Subjects", config)
    truth, metadata = load_truth(made.truth_path), metadata_of(tmp_path / "again", config)
    assert len(truth.fovs) == len(metadata.imaging.fovs)
    for fov, true in zip(metadata.imaging.fovs, truth.fovs, strict=True):
        edges = bout_edges(metadata, fov)
        assert edges == (0, *np.cumsum(true.frames_per_bout))
        clock = fov_clock(metadata, fov, edges[-1], true.frame_times, float(truth.fovs[0].frame_times[0]))
        assert clock.is_measured
        assert clock.starts_s == (true.frame_times[edges[1]] - truth.fovs[0].frame_times[0],)
        found = intervals(clock.seconds, edges)
        assert found.usual_ms == pytest.approx(1e3 * truth.frame_period * truth.frames_per_volume, rel=1e-3)
        assert found.n_gaps == 0
        assert found.ms.size == edges[-1] - 2, "the pause between bouts is no interval"


def test_intervals_jitter_and_gaps_are_those_put_in():
    rng = np.random.default_rng(0)
    times = 50 + np.arange(1000) * 0.2 + rng.normal(0, 0.001, 1000)
    times[400:] += 0.4  # two frames are missing
    times[700:] += 30  # the pause between bouts
    found = intervals(times, (0, 700, 1000))
    assert found.usual_ms == pytest.approx(200, abs=0.5)
    assert found.jitter_ms == pytest.approx(np.sqrt(2), rel=0.1)
    assert found.n_gaps == 1
    assert found.longest_ms == pytest.approx(600, abs=5)


def test_without_times_frames_are_counted_by_the_rate(tmp_path):
    metadata = metadata_of(tmp_path, preset("tiny"))
    fov = metadata.imaging.fovs[0]
    clock = fov_clock(metadata, fov, 120, None, 0.0)
    assert not clock.is_measured
    np.testing.assert_allclose(np.diff(clock.seconds), 1 / metadata.imaging.fov_rate_hz)


def test_shifts_steps_and_the_worst_component_are_those_of_the_outputs(tmp_path):
    n = 400
    y, x = 3 * np.sin(np.arange(n) / 30), 4 * np.cos(np.arange(n) / 30)
    own = np.zeros((n, 9), np.float32)
    own[200, 4] = 5
    shifts = np.zeros((30, 4))
    shifts[7] = (2.5, 0.4, 0.9, 2.6)
    ends = np.zeros((2, 30, 6, 8), np.float32)
    ends[1, 7] = 1
    outputs = {"yoff": y, "xoff": x, "corrXY": np.ones(n), "yoff1": own, "xoff1": 0 * own, "refImg": np.ones((6, 8)),
               "badframes": np.zeros(n, bool), "meanImg": np.ones((6, 8)), "regDX": shifts, "regPC": ends,
               "yrange": [2, 5], "xrange": [1, 7]}  # fmt: skip
    plane.save_objects(tmp_path / "reg_outputs.npy", outputs)
    found = read_motion(tmp_path)
    assert found.range_px == pytest.approx(10, rel=0.02), "6 px down, 8 px right"
    assert found.jump_px == pytest.approx(np.hypot(np.diff(y), np.diff(x)).max())
    assert found.nonrigid[200] == 5
    assert found.step.argmax() in (199, 200)
    assert found.step[199] == pytest.approx(5, abs=0.3)
    assert (found.worst.number, found.worst.rigid_px, found.worst.nonrigid_px) == (8, 2.5, 0.9)
    assert found.corner == (2, 1)
    assert found.worst.top.all()
    assert not found.worst.bottom.any()


def test_a_blurred_image_is_less_crisp_whatever_its_light():
    rng = np.random.default_rng(1)
    image = gaussian_filter(rng.gamma(1, 1, (120, 120)), 1) + 1
    values = [crispness(gaussian_filter(image, blur)) for blur in (0, 0.7, 1.5, 3)]
    assert values == sorted(values, reverse=True)
    assert crispness(5 * image) == pytest.approx(crispness(image))
    ramp = np.tile(np.arange(1, 101.0), (50, 1))
    assert crispness(ramp) == pytest.approx(1 / 50.5), "slope 1 over the mean"


def test_cells_are_counted_by_label_and_the_nearest_one_is_found():
    assert list(count_by([np.array(["b", "a", "b"]), np.array(["c", "a", "b"])]).items()) == [
        ("b", 3),
        ("a", 2),
        ("c", 1),
    ]
    at = np.random.default_rng(2).uniform(0, 500, (80, 2))
    apart = np.linalg.norm(at[:, None] - at[None], axis=2) + 1e9 * np.eye(80)
    np.testing.assert_allclose(nearest_um(at), apart.min(axis=1))
    assert nearest_um(at[:1]).size == 0


def test_a_cell_that_two_depths_share_is_found_and_its_neighbours_are_not():
    rng = np.random.default_rng(3)
    at = rng.uniform(0, 400, (40, 2))
    own = rng.standard_normal((2, 40, 300))
    own[1, :6] = own[0, :6] + 0.3 * rng.standard_normal((6, 300))  # six are one cell at both depths
    own = (own - own.mean(-1, keepdims=True)) / own.std(-1, keepdims=True)
    places = {"a": at, "b": at + rng.normal(0, 1, at.shape)}
    found = doubles(places, {"a": own[0].astype("f4"), "b": own[1].astype("f4")}, "a", "b")
    assert found.n_pairs == 6
    assert found.share == pytest.approx(6 / 40)
    nobody = doubles({"a": at, "b": at[:0]}, {"a": own[0].astype("f4"), "b": own[1, :0].astype("f4")}, "a", "b")
    assert nobody.n_pairs == 0
