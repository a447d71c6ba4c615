"""The light of a movie against what was put in: gain, photons, bleaching, saturation, through a registration too."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from meso_core.report.measure.photons import measure_photons as measure

GAIN, OFFSET, READ = 40.0, 120.0, 18.0


def measure_photons(frames, bad, step=None):
    return measure(frames, bad, np.zeros(len(frames) - 1) if step is None else step)


def movie(n=160, side=150, seed=0, *, left=1.0, interpolated=False, photons=12.0):
    """Counts of a detector of known gain; the scene bleaches to ``left``, and is interpolated as registration does."""
    rng = np.random.default_rng(seed)
    scene = gaussian_filter(rng.gamma(0.3, 1, (side, side)), 3)
    scene *= photons / scene.mean()
    frames = np.empty((n, side, side), np.int16)
    for k, light in enumerate(np.linspace(1, left, n)):
        counts = GAIN * rng.poisson(scene * light) + OFFSET + READ * rng.standard_normal(scene.shape)
        if interpolated:
            dy, dx = rng.uniform(0, 1, 2)
            counts = (1 - dy) * counts + dy * np.roll(counts, -1, axis=0)
            counts = (1 - dx) * counts + dx * np.roll(counts, -1, axis=1)
        frames[k] = np.rint(counts)
    return frames, scene


@pytest.mark.parametrize("interpolated", [False, True])
@pytest.mark.parametrize("photons", [5.0, 20.0])
def test_gain_and_photons_are_those_of_the_detector_also_after_interpolation(interpolated, photons):
    frames, scene = movie(interpolated=interpolated, photons=photons)
    found = measure_photons(frames, np.zeros(len(frames), bool))
    assert found.gain == pytest.approx(GAIN, rel=0.12)
    # the amplifier's variance, 18², counts as 8 counts of light
    assert found.photons == pytest.approx(np.median(scene), rel=0.25)


def test_the_change_of_light_is_the_bleaching_put_in_and_bad_frames_do_not_count():
    frames, _ = movie(left=0.7)
    bad = np.zeros(len(frames), bool)
    bad[::9] = True
    frames[bad] = 30_000
    found = measure_photons(frames, bad)
    assert found.change == pytest.approx(-0.25 / 1.0 * 0.8, abs=0.03), "thirds: 1 - 0.05 against 1 - 0.25"
    assert found.saturated == 0
    assert not bad[found.frames].any()


def test_values_at_the_end_and_pixels_without_light_are_counted():
    frames, _ = movie()
    frames[:, :30] = 32_767
    frames[:, 30:90] = np.random.default_rng(1).normal(OFFSET, READ, (len(frames), 60, 150)).astype(np.int16)
    found = measure_photons(frames, np.zeros(len(frames), bool))
    assert found.saturated == pytest.approx(30 / 150)
    dark = movie()[0]
    dark[:, :75] = np.random.default_rng(2).normal(OFFSET, READ, (len(dark), 75, 150)).astype(np.int16)
    assert measure_photons(dark, np.zeros(len(dark), bool)).dark == pytest.approx(0.5, abs=0.05)


def test_a_movie_of_bad_frames_and_one_without_light_are_no_error():
    frames = np.full((20, 40, 40), 5, np.int16)
    assert measure_photons(frames, np.ones(20, bool)) is None
    assert np.isnan(measure_photons(frames, np.zeros(20, bool)).gain)


def test_the_stillest_pairs_are_taken_so_that_what_moves_is_no_noise():
    frames, scene = movie()
    moved = np.arange(len(frames)) % 3 == 0
    rng = np.random.default_rng(3)
    texture = rng.uniform(0.3, 1.7, scene.shape)  # as fine as pixels
    for k in range(len(frames)):
        rolled = np.roll(scene * texture, int(moved[k]), axis=1)
        frames[k] = np.rint(GAIN * rng.poisson(rolled) + OFFSET + READ * rng.standard_normal(scene.shape))
    bad, step = np.zeros(len(frames), bool), np.abs(np.diff(moved.astype(float)))
    assert measure_photons(frames, bad, step).gain == pytest.approx(GAIN, rel=0.12)
    assert measure_photons(frames, bad, 1 - step).gain > 1.5 * GAIN, "the others would mislead"
