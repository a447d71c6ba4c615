"""How much a registered movie still moves: the residual flow.

What belongs here: the formula. What does not: how it is shown, and a verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .photons import middle

Floats = NDArray[np.float64]

#: Moments that are looked at, evenly over the recording, and good frames that are averaged for each.
N_MOMENTS, N_AVERAGED = 40, 8
#: Flow above which a movie is not well registered, px.
FLOW_PX = 1.0
#: Side of the blocks in which the flow is told, px; width of the blur before, px.
BLOCK_PX, _BLUR_PX = 64, 1.5


@dataclass(frozen=True, slots=True)
class ResidualFlow:
    """What a registered movie still moves against its own mean."""

    #: (n_moments,) first frame of each moment.
    frames: NDArray[np.intp]
    #: (n_moments,) px: root mean square over the blocks; 0 where it is less than the noise.
    px: Floats

    @property
    def usual_px(self) -> float:
        """Median over the moments, px."""
        return float(np.median(self.px))


def residual_flow(movie: NDArray[Any], is_bad: NDArray[np.bool_]) -> ResidualFlow | None:
    """Measure the optic flow between moments of a registered movie and its mean.

    Of each moment, neighbouring good frames are averaged, those of even and of odd number apart. In blocks, the shift
    ``v`` of each average against the mean image ``I`` of all moments is told by least squares of ``dI = -v · grad I``
    (Lucas and Kanade 1981, IJCAI 674), after its brightness was fitted. Noise makes shifts too, but other ones in even
    and in odd frames: the mean over the blocks of the product of both is what really moved, squared.

    Parameters
    ----------
    movie
        (n_frames, ny, nx) registered frames; the middle of at most 256 px is looked at.
    is_bad
        (n_frames,) frames that are left out.

    Returns
    -------
    ResidualFlow
        None where there are too few good frames, or no block has structure.
    """
    chosen = moments(is_bad)
    if not chosen:
        return None
    window = tuple(middle(side) for side in movie.shape[1:])
    halves = np.stack([_halves(movie, frames, window) for frames in chosen])
    mean = halves.mean(axis=(0, 1))
    gradient = np.stack(np.gradient(mean))
    squares = np.stack([_blocks(gradient[i] * gradient[j]) for i, j in ((0, 0), (0, 1), (1, 1))])
    least = squares[0] * squares[2] - squares[1] ** 2
    has_structure = least > 1e-3 * np.median(least[least > 0]) if (least > 0).any() else least > 0
    if not has_structure.any():
        return None
    shifts = np.stack([[_shift(half, mean, gradient, squares) for half in pair] for pair in halves])
    both = (shifts[:, 0] * shifts[:, 1]).sum(axis=1)[:, has_structure].mean(axis=1)
    return ResidualFlow(np.array([frames[0] for frames in chosen]), np.sqrt(np.maximum(both, 0)))


def moments(is_bad: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Choose moments evenly over a recording: good frames, to be averaged for each; none where there are too few."""
    good = np.flatnonzero(~is_bad)
    n = min(N_MOMENTS, good.size // N_AVERAGED)
    if n < 3:
        return []
    starts = np.unique(np.linspace(0, good.size - N_AVERAGED, n).astype(np.intp))
    return [good[start : start + N_AVERAGED] for start in starts]


def _halves(movie: NDArray[Any], frames: NDArray[np.intp], window: tuple[slice, ...]) -> Floats:
    """Blurred means of the frames of even and of odd place, (2, rows, columns)."""
    from scipy.ndimage import gaussian_filter

    part = np.stack([np.asarray(movie[frame][window]) for frame in frames])
    means = (part[k::2].mean(axis=0, dtype=np.float32) for k in (0, 1))
    return np.stack([gaussian_filter(mean, _BLUR_PX, mode="nearest") for mean in means]).astype(np.float64)


def _shift(image: Floats, mean: Floats, gradient: Floats, squares: Floats) -> Floats:
    """Shift of each block, (2, n_blocks), y and x, px."""
    own, of_mean = image - image.mean(), mean - mean.mean()
    slope = float((own * of_mean).sum() / max((of_mean * of_mean).sum(), 1e-12))  # no BLAS: its threads cost more
    change = own / slope - of_mean if slope > 0 else own - of_mean
    by_y, by_x = (-_blocks(change * part) for part in gradient)
    yy, yx, xx = squares
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.stack([xx * by_y - yx * by_x, yy * by_x - yx * by_y]) / (yy * xx - yx**2)
    return np.asarray(np.nan_to_num(found, posinf=0.0, neginf=0.0))


def _blocks(image: Floats) -> Floats:
    """Sum an image over blocks, (n_blocks,); what is left over at the edge goes to the last ones."""
    edges = [np.arange(0, max(side - BLOCK_PX // 2, 1), BLOCK_PX) for side in image.shape]
    sums: Floats = np.add.reduceat(np.add.reduceat(image, edges[0], axis=0), edges[1], axis=1)
    return sums.ravel()
