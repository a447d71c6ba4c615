"""At which depth of the reference stack a field was, over the recording.

What belongs here: the formula, of arrays alone. What does not: cutting the field out of the stack (``scanimage``), and
limits (``meso_core.qc``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...scanimage.reference_field import FieldStack
from .photons import middle
from .quality import good_sample, of_cell_size

Floats = NDArray[np.float64]

#: Blocks of time.
N_BLOCKS = 10
#: A block that is less alike to every depth than this is not found in the stack.
LEAST_ALIKE = 0.3
#: Fewer frames make no mean of a block.
_LEAST_AVERAGED = 4


@dataclass(frozen=True, slots=True)
class AxialDrift:
    """Where a field was along the optical axis; of blocks of the recording."""

    #: (n_blocks,) middle frame of each block.
    frames: NDArray[np.intp]
    #: (n_blocks,) µm below the depth at which the field was to be; NaN where a block was not found.
    um: Floats
    #: (n_blocks,) correlation with the stack at the best of its depths.
    alike: Floats
    #: µm above and below that depth to which the stack reaches.
    reach_um: tuple[float, float]

    @property
    def range_um(self) -> float:
        """Distance between the highest and the lowest block, µm; NaN where fewer than half of them were found."""
        known = self.um[np.isfinite(self.um)]
        return float(np.ptp(known)) if 2 * known.size > self.um.size else float("nan")

    @property
    def is_at_end(self) -> bool:
        """Whether a block is at an end of the stack: it may have been further."""
        known = self.um[np.isfinite(self.um)]
        return bool((known <= self.reach_um[0]).any() or (known >= self.reach_um[1]).any())


def axial_drift(movie: NDArray[Any], is_bad: NDArray[np.bool_], stack: FieldStack) -> AxialDrift | None:
    """Find the depth of each block of a registered movie in the reference stack.

    Of each tenth of the recording nine or ten good frames are averaged. Their mean is compared with each depth of the
    stack by Pearson's correlation at the size of cells (smoothed by 1.5 px, less the same smoothed by 8 px). The place
    of the field in the plane of the stack is the one at which the mean of all blocks is most alike to any depth:
    registration holds the blocks in one place. The best depth lies at the top of the parabola through the largest of
    the correlations and its two neighbours.

    Parameters
    ----------
    movie
        (n_frames, ny, nx) registered frames; the middle of at most 256 px is looked at.
    is_bad
        (n_frames,) frames that are left out.
    stack
        The field in the reference stack, with a margin around it.

    Returns
    -------
    AxialDrift
        None where there are too few good frames.
    """
    chosen = np.array_split(good_sample(is_bad), N_BLOCKS)
    if min(len(frames) for frames in chosen) < _LEAST_AVERAGED:
        return None
    window = tuple(middle(side) for side in movie.shape[1:])
    means = np.stack([np.mean([movie[frame][window] for frame in frames], axis=0) for frames in chosen])
    blocks = [_standard(of_cell_size(mean)) for mean in means]
    margin = stack.margin_px
    around = (slice(None), *(slice(part.start, part.stop + 2 * margin) for part in window))
    planes = np.stack([of_cell_size(np.asarray(plane, np.float64)) for plane in stack.images[around]])
    y, x = _place(np.mean(blocks, axis=0), planes)
    ny, nx = means.shape[1:]
    patches = [_standard(plane[y : y + ny, x : x + nx]) for plane in planes]
    alike = np.array([[(block * patch).mean() for patch in patches] for block in blocks])
    best = alike.max(axis=1)
    um = np.array([_top(row, stack.depths_um) for row in alike])
    found = np.where(best >= LEAST_ALIKE, um, np.nan)
    reach = float(stack.depths_um.min()), float(stack.depths_um.max())
    return AxialDrift(np.array([frames[len(frames) // 2] for frames in chosen]), found, best, reach)


def _standard(image: Floats) -> Floats:
    away = image - image.mean()
    spread = float(np.sqrt((away**2).mean()))
    return np.asarray(away / spread if spread > 0 else away)


def _place(block: Floats, planes: Floats) -> tuple[int, int]:
    """Row and column of the planes at which a block is most alike to any of them."""
    from scipy.fft import irfft2, rfft2

    shape, size = planes.shape[1:], block.shape
    turned = np.conj(rfft2(_standard(block), shape))
    steps = tuple(whole - part + 1 for whole, part in zip(shape, size, strict=True))
    best, place = -np.inf, (0, 0)
    for plane in planes:
        both = irfft2(rfft2(plane) * turned, shape)[: steps[0], : steps[1]]
        mean, square = (_sums(values, size) / block.size for values in (plane, plane**2))
        alike = both / block.size / np.sqrt(np.maximum(square - mean**2, 1e-12))
        k = int(alike.argmax())
        if alike.flat[k] > best:
            best, place = float(alike.flat[k]), (k // steps[1], k % steps[1])
    return place


def _sums(image: Floats, size: tuple[int, ...]) -> Floats:
    """Sum an image over each window of this size that lies in it."""
    total = np.pad(image.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    ny, nx = size
    return np.asarray(total[ny:, nx:] - total[:-ny, nx:] - total[ny:, :-nx] + total[:-ny, :-nx])


def _top(alike: Floats, depths: Floats) -> float:
    """Depth of the top of the parabola through the largest value and its neighbours; an end stays where it is."""
    k = int(alike.argmax())
    if k in (0, len(alike) - 1):
        return float(depths[k])
    a, b, _ = np.polyfit(depths[k - 1 : k + 2] - depths[k], alike[k - 1 : k + 2], 2)
    return float(depths[k] - b / (2 * a)) if a < 0 else float(depths[k])
