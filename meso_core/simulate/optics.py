"""From the scene to counts: displacement, photons, amplifier.

What belongs here: what happens to one frame. What does not: what is in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .scene import MARGIN

_F4 = NDArray[np.float32]


def _cubic_weights(t: _F4) -> tuple[_F4, _F4, _F4, _F4]:
    """Catmull-Rom weights of the four neighbours at fraction ``t``."""
    t2, t3 = t * t, t * t * t
    return (-0.5 * t + t2 - 0.5 * t3, 1 - 2.5 * t2 + 1.5 * t3, 0.5 * t + 2 * t2 - 1.5 * t3, -0.5 * t2 + 0.5 * t3)


def displace(scene: _F4, dy: _F4, dx: _F4) -> _F4:
    """Move a scene: pixel (y, x) of the result shows the scene at (y - dy, x - dx).

    Parameters
    ----------
    scene
        Image with a margin of ``MARGIN`` pixels, f4 (ny + 2 MARGIN, nx + 2 MARGIN).
    dy, dx
        Displacement of each pixel, f4 (ny, nx), px.
    """
    ny, nx = dy.shape
    width = scene.shape[1]
    limit = MARGIN - 3
    y = np.arange(MARGIN, MARGIN + ny, dtype="f4")[:, None] - np.clip(dy, -limit, limit)
    x = np.arange(MARGIN, MARGIN + nx, dtype="f4")[None, :] - np.clip(dx, -limit, limit)
    iy, ix = np.floor(y), np.floor(x)
    wy, wx = _cubic_weights(y - iy), _cubic_weights(x - ix)
    flat = scene.ravel()
    corner = (iy.astype(np.intp) - 1) * width + ix.astype(np.intp) - 1
    out = np.zeros((ny, nx), np.float32)
    for j in range(4):
        row = wx[0] * flat[corner]
        for i in range(1, 4):
            row += wx[i] * flat[corner + i]
        out += wy[j] * row
        corner += width
    return out


def detect(rng: np.random.Generator, photons: _F4, gain: float, offset: float, read_noise: float) -> NDArray[np.int16]:
    """Turn light into the counts of a photomultiplier and its amplifier.

    The square of a Gaussian around the root of the intensity has the photons' mean and variance exactly, and the
    skew of a multiplier whose pulses differ in height; it is drawn six times faster than Poisson numbers. The
    amplifier's noise is folded into it, so that variance = gain × (mean - offset) + read_noise².
    """
    spare = max((read_noise / gain) ** 2 - 0.125, 0.0)
    root = np.sqrt(np.maximum(photons, 0) + np.float32(spare))
    z = rng.standard_normal(photons.shape, dtype=np.float32)
    counts = (root + np.float32(0.5) * z) ** 2 - np.float32(spare + 0.25)
    counts = np.float32(gain) * counts + np.float32(offset)
    return np.asarray(np.clip(np.rint(counts), -32768, 32767), dtype=np.int16)
