"""Bleed-through is the share put in, whatever the noise, the structure of the other channel and the laser do."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from meso_core.report.measure.bleed import bleed_through

GOOD = np.zeros(400, bool)


def channels(leak, laser=0.0, seed=0, side=96):
    """Cells that are active in one channel; other cells, that never change, in the other; photons of both."""
    rng = np.random.default_rng(seed)
    cells, others = (gaussian_filter(rng.gamma(0.2, 1, (side, side)), 2.0) * 8 for _ in range(2))
    activity = np.repeat(rng.gamma(0.5, 2, 40), 10)[:, None, None] * cells
    power = 1 + laser * np.sin(np.arange(400) / 40)[:, None, None]
    first, second = power * (2 + activity), power * (2 + others + leak * activity)
    return tuple((40 * rng.poisson(light)).astype(np.int16) for light in (first, second))


@pytest.mark.parametrize("leak", [0.0, 0.05, 0.3])
def test_the_share_that_leaks_is_found(leak):
    assert bleed_through(*channels(leak), GOOD) == pytest.approx(leak, abs=0.02)


def test_changes_of_the_laser_are_no_leak():
    assert bleed_through(*channels(0.0, laser=0.2), GOOD) == pytest.approx(0, abs=0.06)


def test_bad_frames_do_not_count_and_what_cannot_be_told_is_nan():
    first, second = channels(0.1)
    bad = GOOD.copy()
    bad[::10] = True
    spoilt = second.copy()
    spoilt[bad] = 30_000
    assert bleed_through(first, spoilt, bad) == pytest.approx(0.1, abs=0.02)
    assert np.isnan(bleed_through(first[:20], second[:20], GOOD[:20]))
    flat = np.full((400, 20, 20), 7, np.int16)
    assert np.isnan(bleed_through(flat, flat, GOOD))
