"""Measures of ROIs against what is true of made-up traces, and against formulas written in another way."""

import numpy as np
import pytest

from meso_core.report.measure.activity import corrected, delta_f, measure_activity, noise_level
from meso_core.report.measure.fov import last_good, measure_rois, packed_bins
from meso_core.report.measure.order import by_first_component
from meso_core.report.measure.packing import bin_edges, largest, least_and_largest, mean_of, pack

RATE = 7.5


def traces(n_rois=6, n_frames=3000, sigma=0.05, seed=0):
    """Fluorescence at rest of 200 with Gaussian noise, as a share of it."""
    rng = np.random.default_rng(seed)
    return (200 * (1 + sigma * rng.standard_normal((n_rois, n_frames)))).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.2])
def test_the_noise_level_is_that_of_the_noise_put_in(sigma):
    noise = noise_level(traces(sigma=sigma) / 200, RATE, np.ones(3000, bool))
    # the median of |a - b| of two Gaussians is 0.6745 √2 σ
    np.testing.assert_allclose(noise, 100 * 0.6745 * np.sqrt(2) * sigma / np.sqrt(RATE), rtol=0.08)


def test_the_noise_level_does_not_rise_with_activity_nor_with_bad_frames():
    quiet = traces() / 200
    active = quiet.copy()
    decay = np.exp(-np.arange(60) / 15)
    for start in range(100, 2900, 300):
        active[:, start : start + 60] += 3 * decay
    bad = np.zeros(3000, bool)
    bad[::50] = True
    spoilt = quiet.copy()
    spoilt[:, bad] = -1
    good = np.ones(3000, bool)
    np.testing.assert_allclose(noise_level(active, RATE, good), noise_level(quiet, RATE, good), rtol=0.1)
    np.testing.assert_allclose(noise_level(spoilt, RATE, ~bad), noise_level(quiet, RATE, good), rtol=0.05)


def test_df_over_f_is_the_transient_that_was_put_in_whatever_the_drift_of_the_light():
    n = 6000
    light = np.linspace(300, 150, n)  # bleaching to a half
    true = np.zeros(n)
    for start in (700, 2500, 4900):
        true[start : start + 80] += 1.5 * np.exp(-np.arange(80) / 20)
    dff = delta_f((light * (1 + true))[np.newaxis].astype(np.float32), RATE)[0]
    for start in (700, 2500, 4900):
        assert dff[start] == pytest.approx(1.5, abs=0.15)
    assert np.abs(dff[true == 0]).max() < 0.06


def test_what_the_neuropil_does_is_taken_out_by_seven_tenths():
    rng = np.random.default_rng(1)
    around = (100 + 10 * rng.standard_normal((2, 999))).astype(np.float32)
    own = np.full((2, 999), 50, np.float32)
    out = corrected(own + np.float32(0.7) * around, around)
    np.testing.assert_allclose(out, 50 + 0.7 * np.median(around, axis=1, keepdims=True) * np.ones(999), rtol=1e-5)


def test_skew_and_correlation_are_those_of_scipy():
    from scipy.stats import pearsonr, skew

    rng = np.random.default_rng(2)
    dff, f, around = rng.gamma(2, size=(3, 4, 800)).astype(np.float32)
    found = measure_activity(dff, f, f + 2 * around, RATE, np.ones(800, bool))
    np.testing.assert_allclose(found.skew, skew(dff, axis=1), rtol=1e-3)
    expected = [pearsonr(a, b).statistic for a, b in zip(f, f + 2 * around, strict=True)]
    np.testing.assert_allclose(found.neuropil_correlation, expected, rtol=1e-4)


def test_snr_is_the_height_of_transients_in_noise():
    rng = np.random.default_rng(3)
    dff = (0.1 * rng.standard_normal((1, 5000))).astype(np.float32)
    dff[0, ::40] += 2.0  # one frame in 40: the 99th percentile lies among them
    snr = measure_activity(dff, dff, dff, RATE, np.ones(5000, bool)).snr[0]
    assert snr == pytest.approx(20, rel=0.1)


def test_binned_traces_keep_each_extreme_and_unpack_to_within_a_step():
    import base64

    values = np.random.default_rng(4).standard_normal((5, 997)).astype(np.float32)
    values[2, 333] = 40
    edges = bin_edges(997, 100)
    bins = least_and_largest(values, edges)
    assert len(edges) == 100
    assert bins[2, :, 1].max() == 40
    parts = np.split(values, edges[1:], axis=1)
    np.testing.assert_array_equal(bins[..., 0], np.stack([part.min(axis=1) for part in parts], axis=1))
    np.testing.assert_array_equal(largest(values, edges), np.stack([part.max(axis=1) for part in parts], axis=1))
    np.testing.assert_allclose(
        mean_of(values, edges), np.stack([p.mean(axis=1) for p in parts], axis=1), rtol=1e-3, atol=1e-5
    )
    packed = pack(bins)
    steps = np.frombuffer(base64.b64decode(packed.data), np.uint8).reshape(bins.shape)
    low, high = np.frombuffer(base64.b64decode(packed.scale), "<f4").reshape(5, 2).T
    back = low[:, None, None] + steps / 255 * (high - low)[:, None, None]
    assert np.abs(back - bins).max(axis=(1, 2)) == pytest.approx((high - low) / 510, rel=0.2)


def test_more_rois_get_fewer_bins_so_that_a_page_stays_small():
    assert packed_bins(10) > packed_bins(12_000) >= 60
    assert 12_000 * packed_bins(12_000) * 4 * 4 / 3 < 14e6


def test_cells_that_are_active_together_stand_together():
    rng = np.random.default_rng(5)
    first = rng.standard_normal(400)
    groups = rng.integers(0, 2, 60)
    cells = np.where(groups[:, None] == 1, first, -first) + 0.7 * rng.standard_normal((60, 400))
    cells = ((cells - cells.mean(1, keepdims=True)) / cells.std(1, keepdims=True)).astype(np.float32)
    ordered = groups[by_first_component(cells)]
    assert np.count_nonzero(np.diff(ordered)) == 1


def test_the_last_good_frame_stands_for_a_bad_one():
    bad = np.array([1, 0, 0, 1, 1, 0, 1], bool)
    assert last_good(bad).tolist() == [1, 1, 2, 2, 2, 5, 5]
    assert last_good(np.ones(3, bool)).tolist() == [0, 1, 2]


def datasets(n_frames=900, n_rois=5, n_cells=3):
    import sparse

    rng = np.random.default_rng(6)
    shape = (n_frames, n_rois)
    masks = np.zeros((n_rois, 40, 40), np.float32)
    for k in range(n_rois):
        masks[k, 5 : 8 + k, 5:10] = 1
    return {
        "mpci.ROIActivityF": (300 + 10 * rng.standard_normal(shape)).astype(np.float32),
        "mpci.ROINeuropilActivityF": (100 + rng.standard_normal(shape)).astype(np.float32),
        "mpci.ROIActivityDeconvolved": rng.random(shape).astype(np.float32),
        "mpci.badFrames": np.arange(n_frames) % 100 == 7,
        "mpciROIs.mpciROITypes": (np.arange(n_rois) < n_cells).astype(np.int16),
        "mpciROIs.cellClassifier": np.linspace(1, 0, n_rois),
        "mpciROIs.uuids": np.array([f"uuid-{k}" for k in range(n_rois)]),
        "mpciROIs.stackPos": np.zeros((n_rois, 3), int),
        "mpciROIs.masks": sparse.GCXS.from_numpy(masks),
    }


def test_rois_of_a_fov_are_measured_whatever_their_number_and_bad_frames_are_left_out():
    given = datasets()
    found = measure_rois(given.__getitem__, RATE, 200)
    assert (found.n_rois, found.n_cells) == (5, 3)
    assert found.n_pixels.tolist() == [15, 20, 25, 30, 35]
    spoilt = {**given, "mpci.ROIActivityF": np.where(given["mpci.badFrames"][:, None], 9e9, given["mpci.ROIActivityF"])}
    again = measure_rois(spoilt.__getitem__, RATE, 200)
    np.testing.assert_array_equal(again.activity.snr, found.activity.snr)
    assert again.traces.dff == found.traces.dff, "what bad frames hold does not show"


def test_a_fov_without_rois_and_one_without_cells_are_measured_too():
    nobody = measure_rois(datasets(n_rois=0).__getitem__, RATE, 100)
    assert (nobody.n_rois, nobody.n_cells, len(nobody.best)) == (0, 0, 0)
    rejects = measure_rois(datasets(n_cells=0).__getitem__, RATE, 100)
    assert (rejects.n_rois, rejects.n_cells, rejects.standardised.shape[0]) == (5, 0, 0)
    assert np.isfinite(rejects.activity.snr).all()
