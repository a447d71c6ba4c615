"""The residual flow is the motion put in, and no more, whatever the noise."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from meso_core.report.measure.flow import residual_flow


def movie(amplitudes, photons=4.0, side=160, seed=0):
    """Photons of one scene, each frame moved by so many px along y."""
    rng = np.random.default_rng(seed)
    scene = gaussian_filter(rng.gamma(0.3, 1, (side, side)), 2.0)
    scene *= photons / scene.mean()
    frames = [rng.poisson(np.maximum(shift(scene, (a, 0), order=1, mode="nearest"), 0)) for a in amplitudes]
    return np.stack(frames).astype(np.int16) * 40 + 100


@pytest.mark.parametrize("photons", [1.0, 8.0])
def test_a_movie_that_stands_still_has_no_flow_however_noisy(photons):
    found = residual_flow(movie(np.zeros(240), photons), np.zeros(240, bool))
    assert found.usual_px < 0.1


@pytest.mark.parametrize("amplitude", [0.4, 1.0])
def test_the_flow_is_the_motion_put_in(amplitude):
    moved = amplitude * np.where(np.arange(240) // 24 % 2, 1.0, -1.0)  # to and fro, slower than what is averaged
    found = residual_flow(movie(moved), np.zeros(240, bool))
    assert found.usual_px == pytest.approx(amplitude, rel=0.3)


def test_one_bad_stretch_shows_where_it_is_and_bad_frames_do_not_count():
    moved = np.zeros(320)
    moved[200:232] = 1.5
    still = np.zeros(320, bool)
    found = residual_flow(movie(moved), still)
    assert 190 <= found.frames[found.px.argmax()] <= 232
    assert found.px.max() > 1
    assert residual_flow(movie(moved), moved > 0).px.max() < 0.3


def test_bleaching_is_no_flow():
    frames = movie(np.zeros(240), 8.0).astype(np.float64) * np.linspace(1, 0.4, 240)[:, None, None]
    assert residual_flow(frames.astype(np.int16), np.zeros(240, bool)).usual_px < 0.15


def test_a_movie_without_structure_and_one_of_few_frames_are_no_error():
    assert residual_flow(np.full((200, 40, 40), 5, np.int16), np.zeros(200, bool)) is None
    assert residual_flow(movie(np.zeros(20)), np.zeros(20, bool)) is None
