"""Measures of quality against what was put in: motion taken out, drift in depth, saturation, neuropil, decay."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from meso_core.report.measure import quality


def tissue(seed=0, side=96):
    scene = gaussian_filter(np.random.default_rng(seed).gamma(0.2, 1, (side, side)), 2)
    return 400 * scene / scene.mean()


def noisy(scenes, seed=1, sigma=60.0):
    rng = np.random.default_rng(seed)
    return np.rint(np.stack([scene + sigma * rng.standard_normal(scene.shape) for scene in scenes])).astype(np.int16)


@pytest.mark.parametrize("px", [0, 1, 3])
def test_the_gain_in_crispness_is_that_of_the_mean_without_noise(px):
    rng, scene = np.random.default_rng(2), tissue()
    y, x = rng.integers(-px, px + 1, (2, 120))
    found = quality.crispness_gain(noisy([scene] * 120), y, x, np.zeros(120, bool))
    moved = np.mean([np.roll(scene, (a, b), (0, 1)) for a, b in zip(y, x, strict=True)], axis=0)
    inner = (slice(px, 96 - px),) * 2
    truth = [np.sqrt(sum((g**2).mean() for g in np.gradient(m[inner]))) for m in (scene, moved)]
    assert found == pytest.approx(truth[0] / truth[1], rel=0.06)
    assert found > 0.97


def test_registration_that_moves_a_still_movie_makes_it_less_crisp():
    scene, (y, x) = tissue(), np.random.default_rng(3).integers(-3, 4, (2, 120))
    wrong = noisy([np.roll(scene, (-a, -b), (0, 1)) for a, b in zip(y, x, strict=True)])
    assert quality.crispness_gain(wrong, y.astype(float), x.astype(float), np.zeros(120, bool)) < 0.8


def test_the_ends_are_alike_where_light_is_lost_and_not_where_the_tissue_is_another():
    a, b, fade = tissue(4), tissue(5), np.linspace(1, 0.6, 300)
    bleached = noisy([light * a for light in fade])
    drifted = noisy([(1 - k) * a + k * b for k in np.linspace(0, 0.5, 300)])
    good = np.zeros(300, bool)
    assert quality.likeness_of_ends(bleached, good) == pytest.approx(1, abs=0.02)
    assert quality.likeness_of_ends(drifted, good) < 0.9
    assert np.isnan(quality.likeness_of_ends(noisy([0 * a] * 300), ~good))


@pytest.mark.parametrize("wall", [900, 1500, 32_767])
def test_values_pile_up_at_a_wall_wherever_it_is(wall):
    movie, good = noisy([tissue()] * 60), np.zeros(60, bool)
    assert quality.saturated_share(movie, good) == 0
    cut = np.minimum(movie, wall)
    share = float((movie >= wall)[quality.good_sample(good)[::2]].mean())
    assert quality.saturated_share(cut, good) == pytest.approx(share, abs=1e-9)


def test_a_slow_change_that_all_share_is_no_correlation_with_the_neuropil():
    rng, rate = np.random.default_rng(6), 6.0
    slow = np.linspace(1, 0.5, 3000)
    f, around = (rng.standard_normal((5, 3000)) + 50 * slow for _ in range(2))
    assert np.abs(np.nanmedian(quality.fast_correlation(f, around, rate))) < 0.1
    assert np.nanmedian(quality.fast_correlation(f + 2 * around, around, rate)) > 0.7
    assert np.isnan(quality.fast_correlation(0 * f, around, rate)).all()


def test_traces_that_last_are_active_and_noise_is_not_whatever_drifts_slowly():
    rng, rate, n = np.random.default_rng(8), 6.0, 3000
    noise = rng.standard_normal((200, n)) + 5 * np.linspace(1, 0, n)
    assert quality.is_active(noise.astype(np.float32), rate).mean() < 0.02
    kernel = np.exp(-np.arange(24) / rate / 0.8)
    spikes = (rng.random((200, n)) < 0.01).astype(float)
    cells = noise + 3 * np.stack([np.convolve(row, kernel)[:n] for row in spikes])
    assert quality.is_active(cells.astype(np.float32), rate).mean() > 0.98
    assert not quality.is_active(np.zeros((2, n), np.float32), rate).any()


@pytest.mark.parametrize("tau", [0.4, 0.8, 1.6])
def test_the_decay_of_transients_is_the_one_put_in_whatever_follows(tau):
    rng, rate, n = np.random.default_rng(7), 10.0, 12_000
    spikes = (rng.random((6, n)) < 0.008).astype(float)
    kernel = np.exp(-np.arange(int(8 * tau * rate)) / rate / tau)
    dff = np.stack([np.convolve(row, kernel)[:n] for row in spikes]) + 0.04 * rng.standard_normal((6, n))
    noise = 0.04 * rng.standard_normal((6, n)).astype(np.float32)
    assert quality.decay_time(quality.transients(dff.astype(np.float32), rate), rate) == pytest.approx(tau, rel=0.3)
    assert np.isnan(quality.decay_time(quality.transients(noise, rate), rate)), "noise alone"


def test_a_movie_without_good_frames_is_not_measured():
    movie, bad = noisy([tissue()] * 30), np.ones(30, bool)
    assert np.isnan(quality.crispness_gain(movie, np.zeros(30), np.zeros(30), bad))
    assert np.isnan(quality.likeness_of_ends(movie, bad))
    assert np.isnan(quality.saturated_share(movie, bad))
    assert quality.good_sample(bad).size == 0


def test_shifts_below_a_pixel_do_not_count_as_a_gain():
    scene, good = tissue(), np.zeros(60, bool)
    still = noisy([shift(scene, 0.3, order=1)] * 60)
    assert quality.crispness_gain(still, np.full(60, 7.0), np.full(60, -4.0), good) == pytest.approx(1, abs=0.02)
