"""How much light there was: photons, noise, saturation, bleaching, told from the registered movie.

What belongs here: the mean-variance test on a sample of frames, and the light over time. What does not: drawing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Pairs of neighbouring frames that are looked at, evenly over the recording, and the side of the part of each, px.
N_PAIRS, SIDE = 48, 256
#: Pixels are put together by their light into so many groups of equal size.
_GROUPS = 16
#: Values from here on are at the end of int16.
_END = 32_760


@dataclass(frozen=True, slots=True)
class FovPhotons:
    """Light of one FOV."""

    #: Counts per photon, and counts without light, from the line through the groups; NaN where no line fits.
    gain: float
    offset: float
    #: Median over pixels of photons per pixel and frame.
    photons: float
    #: (groups,) mean and variance of the pixels of each group, counts and counts².
    group_mean: Floats
    group_variance: Floats
    #: Share of values at the end of int16, and share of pixels with less than one photon per frame.
    saturated: float
    dark: float
    #: Frames of the sample, and the mean of each, counts.
    frames: NDArray[np.intp]
    light: Floats

    @property
    def change(self) -> float:
        """Light of the last third of the sample relative to the first third, less 1; above the counts without light."""
        third = max(len(self.light) // 3, 1)
        first, last = (float(np.median(part)) - self.offset for part in (self.light[:third], self.light[-third:]))
        return last / first - 1 if first > 0 else float("nan")


def measure_photons(movie: NDArray[Any], is_bad: NDArray[np.bool_], step: Floats) -> FovPhotons | None:
    """Measure the light of a registered movie.

    The variance of the noise is told from differences of neighbouring frames. Registration interpolates, which makes
    noise smaller and neighbouring pixels alike; but the weights of an interpolation add up to 1, so that the sum of the
    covariances of a pixel with all its neighbours is what the variance was before. That sum is taken. Of photons it is
    ``gain * (mean - offset)``, a line whose slope is the gain.

    Parameters
    ----------
    movie
        (n_frames, ny, nx) int16.
    is_bad
        (n_frames,) frames that are left out.
    step
        (n_frames - 1,) how far the brain moved from each frame to the next, px. Of each stretch of the recording the
        stillest pair is taken, for what moves changes too, and by more where it is bright.

    Returns
    -------
    FovPhotons
        None where there are fewer than two pairs of good frames.
    """
    pairs = np.flatnonzero(~(is_bad[1:] | is_bad[:-1]))
    if pairs.size < 2:
        return None
    stretches = np.array_split(pairs, min(pairs.size, N_PAIRS))
    pairs = np.array([stretch[step[stretch].argmin()] for stretch in stretches])
    window = tuple(middle(side) for side in movie.shape[1:])
    light, saturated, noise = np.zeros(len(pairs)), 0.0, []
    total = np.zeros([part.stop - part.start for part in window])
    for k, first in enumerate(pairs):
        two = np.asarray(movie[first : first + 2])
        light[k], saturated = float(two.mean()), saturated + float((two >= _END).mean())
        part = two[(slice(None), *window)].astype(np.float32)
        total += part.mean(axis=0)
        noise.append(_summed_covariance(part))
    mean = total / len(pairs)
    order = np.argsort(mean, axis=None, kind="stable")
    groups = np.array_split(order, _GROUPS)
    x = np.array([mean.ravel()[group].mean() for group in groups])
    y = np.median([[values.ravel()[group].mean() for group in groups] for values in noise], axis=0)
    gain, offset = _line(x, y)
    photons = (mean - offset) / gain
    dark = float((photons < 1).mean()) if np.isfinite(gain) else float("nan")
    return FovPhotons(
        gain, offset, float(np.median(photons)), x, y, saturated / len(pairs), dark, pairs.astype(np.intp), light
    )


def middle(side: int) -> slice:
    """Cut the middle of at most 256 px out of a side."""
    start = max((side - SIDE) // 2, 0)
    return slice(start, min(start + SIDE, side))


def _summed_covariance(pair: NDArray[np.float32]) -> NDArray[np.float32]:
    """Product of each pixel's change with the summed change around it; half of it, for both frames have noise.

    Cells and neuropil change too, but over more than a pixel: what is alike at a distance of two pixels is theirs, and
    is taken out of the nine products.
    """
    from scipy.ndimage import uniform_filter

    change = pair[1] - pair[0]
    near, around = 9 * uniform_filter(change, 3), 25 * uniform_filter(change, 5)
    return np.asarray(change * (near - (around - near) * np.float32(9 / 16)) / 2)


def _line(mean: Floats, variance: Floats) -> tuple[float, float]:
    """Fit ``variance = gain * (mean - offset)``, the brightest and the darkest group left out."""
    if np.ptp(mean) <= 0:
        return float("nan"), float("nan")
    gain, at_zero = np.polyfit(mean[1:-1], variance[1:-1], 1)
    return (float(gain), float(-at_zero / gain)) if gain > 0 else (float("nan"), float("nan"))
