"""How much of the light of the channel with activity shows in the other one.

What belongs here: the formula. What does not: how it is shown.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .flow import moments
from .photons import middle

Halves = NDArray[np.float64]


def bleed_through(movie: NDArray[Any], second: NDArray[Any], is_bad: NDArray[np.bool_]) -> float:
    """Measure bleed-through: counts that the second channel gains for each count that the first one gains.

    Cells that are active change in the first channel alone; what changes with them in the second has leaked. Of some
    moments, neighbouring good frames are averaged, those of even and of odd number apart: the changes of even frames of
    one channel are compared with those of odd frames of the other, so that noise has no part in it. Changes of the
    whole field, as of the laser, are taken out. What still moves changes in both channels, and counts too: it is an
    upper limit where the residual flow is large.

    Parameters
    ----------
    movie, second
        (n_frames, ny, nx) registered frames of the channel with activity, and of the other; the middle of at most
        256 px is looked at.
    is_bad
        (n_frames,) frames that are left out.

    Returns
    -------
    float
        Share, 0 where nothing leaks; NaN where there are too few frames, or nothing changes in the first channel.
    """
    chosen = moments(is_bad)
    if not chosen:
        return float("nan")
    first, other = (_changes(frames, chosen) for frames in (movie, second))
    own = float((first[0] * first[1]).sum())
    both = float((first[0] * other[1]).sum() + (first[1] * other[0]).sum()) / 2
    return both / own if own > 0 else float("nan")


def _changes(movie: NDArray[Any], chosen: list[NDArray[np.intp]]) -> Halves:
    """Tell changes of even and of odd frames from moment to moment, but those of the whole field, (2, n, ny, nx)."""
    window = tuple(middle(side) for side in movie.shape[1:])
    means = [[np.mean([movie[f][window] for f in frames[k::2]], axis=0) for frames in chosen] for k in (0, 1)]
    halves = np.asarray(means, np.float64)
    halves -= halves.mean(axis=1, keepdims=True)
    return np.asarray(halves - halves.mean(axis=(2, 3), keepdims=True))
