"""From the scene to counts: displacement, photons, amplifier.

What belongs here: the way from the light of one frame to counts. What does not: the content of the frame.

Source of the numbers: in two real two-photon movies of mouse cortex the variance of a pixel over frames is a linear
function of its mean (r > 0.99), as photon noise is. From its slope, half of the pixels have more than 3 photons per
frame in one movie (128 × 128, raw), and more than 42 in the other (64 × 64, each pixel a mean of several). The default
of ``SimulationConfig.photons`` gives 8 to 9 by the same measure, a little below their geometric mean. Gain, offset and
read noise are typical for int16 counts. A test compares these, and contrast, grain, activity and motion, with the real
movies.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .scene import MARGIN

_F4 = NDArray[np.float32]
#: Rows that are moved at a time, so that the working arrays stay in the cache.
_BAND = 64


def _cubic_weights(t: _F4) -> tuple[_F4, _F4, _F4, _F4]:
    """Catmull-Rom weights of the four neighbours at fraction ``t``."""
    square = t * t
    before = ((np.float32(1) - np.float32(0.5) * t) * t - np.float32(0.5)) * t
    after = (np.float32(0.5) * t - np.float32(0.5)) * square
    left = (np.float32(1.5) * t - np.float32(2.5)) * square + np.float32(1)
    return before, left, np.float32(1) - before - left - after, after


def displace(scene: _F4, shift: _F4, weights: _F4, modes: _F4, lines: _F4 | None = None) -> _F4:
    """Move a scene: pixel (y, x) of the result shows the scene at (y - dy, x - dx).

    The displacement of pixel (y, x) is ``shift + weights @ modes``. Interpolation is cubic, along y and then along x.

    Parameters
    ----------
    scene
        Image with a margin, f4 (ny + 2 MARGIN, nx + 2 MARGIN).
    shift
        Rigid part [y, x], px.
    weights
        Of the modes, f4 (2, n_modes), px [y, x].
    modes
        Smooth fields over the FOV and the margin left and right of it, f4 (n_modes, ny, nx + 2 MARGIN).
    lines
        Further displacement along y of each line, f4 (ny,), px.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
    """
    ny, nx = modes.shape[1], modes.shape[2] - 2 * MARGIN
    limit = MARGIN - 3
    out = np.empty((ny, nx), np.float32)
    # the first pass is done at the columns that the second pass reads
    ahead = int(np.clip(np.rint(shift[1]), -limit // 2, limit // 2))
    for first in range(0, ny, _BAND):
        rows = slice(first, min(first + _BAND, ny))
        dx = shift[1] + np.tensordot(weights[1], modes[:, rows, MARGIN : MARGIN + nx], axes=1)
        dx = np.clip(dx, -limit, limit)
        left, right = (int(np.ceil(v)) + 2 for v in (dx.max(), -dx.min()))
        left, right = (max(v, 0) for v in (left, right))
        start, stop = MARGIN - left, MARGIN + nx + right
        near = slice(max(start + ahead, 0), min(stop + ahead, nx + 2 * MARGIN))
        dy = shift[0] + np.tensordot(weights[0], modes[:, rows, near], axes=1)
        if lines is not None:
            dy += lines[rows, None]
        lacking = (stop - start) - dy.shape[1]
        if lacking:
            dy = np.pad(dy, ((0, 0), (lacking, 0) if near.start == 0 else (0, lacking)), mode="edge")
        columns = np.arange(start, stop)
        moved = _along_y(scene, rows, columns, np.clip(dy, -limit, limit))
        out[rows] = _along_x(moved, left, dx)
    return out


def _along_y(scene: _F4, rows: slice, columns: NDArray[np.intp], dy: _F4) -> _F4:
    y = np.arange(MARGIN + rows.start, MARGIN + rows.stop, dtype=np.float32)[:, None] - dy
    below = np.floor(y)
    index = (below.astype(np.intp) - 1) * scene.shape[1] + columns
    return _four_taps(scene.ravel(), index, scene.shape[1], y - below)


def _along_x(moved: _F4, left: int, dx: _F4) -> _F4:
    x = np.arange(left, left + dx.shape[1], dtype=np.float32) - dx
    below = np.floor(x)
    index = below.astype(np.intp) - 1 + np.arange(len(moved))[:, None] * moved.shape[1]
    return _four_taps(moved.ravel(), index, 1, x - below)


def _four_taps(flat: _F4, index: NDArray[np.intp], step: int, fraction: _F4) -> _F4:
    out = np.zeros(fraction.shape, np.float32)
    for weight in _cubic_weights(fraction):
        weight *= flat.take(index)
        out += weight
        index += step
    return out


def detect(rng: np.random.Generator, photons: _F4, gain: float, offset: float, read_noise: float) -> NDArray[np.int16]:
    """Turn light into the counts of a photomultiplier and its amplifier.

    The square of a Gaussian around the root of the intensity has exactly the mean and the variance of photons, and the
    skew of a photomultiplier whose pulses differ in height. It is six times faster than Poisson numbers. It includes
    the noise of the amplifier, so that variance = gain × (mean - offset) + read_noise².
    """
    spare = max((read_noise / gain) ** 2 - 0.125, 0.0)
    counts = rng.standard_normal(photons.shape, dtype=np.float32)
    counts *= np.float32(0.5)
    counts += np.sqrt(np.maximum(photons, 0) + np.float32(spare))
    counts *= counts
    counts *= np.float32(gain)
    counts += np.float32(offset - gain * (spare + 0.25))
    np.rint(counts, out=counts)
    return np.clip(counts, -32768, 32767, out=counts).astype(np.int16)
