"""What the true footprint of each cell measures in the movie: the cell, the light around it, the noise.

What belongs here: the best result that any mask can have, to compare found masks with. What does not: the movie.

A footprint measures the mean of its pixels, weighted by its own brightness, as suite2p's masks do. Units are the cell's
light at rest in that mean, so the fluorescence of a footprint is ``traces + background``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..files.rows import start_npy
from .movie import FovMovie
from .scene import MARGIN

#: Frames at a time.
_BLOCK = 512


def fov_masks(movie: FovMovie) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int16], NDArray[np.float32]]:
    """List the footprints inside the FOV at rest: cell, y, x, weight (photons at rest)."""
    ny, nx = movie.shape
    y, x = np.divmod(movie.scene.pixel, movie.scene.base.shape[1])
    y, x = y - MARGIN, x - MARGIN
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    return (movie.scene.cell[inside], y[inside].astype("i2"), x[inside].astype("i2"), movie.scene.photons[inside])


def write_background(movie: FovMovie, path: Path) -> NDArray[np.float32]:
    """Write the light in each footprint that comes from neuropil and other cells, without noise or motion.

    Parameters
    ----------
    movie
        The movie of a FOV.
    path
        npy file to write, f4 (n_frames, n_cells), relative to the cell's light at rest.

    Returns
    -------
    ndarray of float32, shape (n_cells,)
        Variance of the background over the frames; 0 for a cell outside the FOV.
    """
    from scipy.sparse import csr_matrix, diags_array

    cell, y, x, photons = fov_masks(movie)
    n = len(movie.rise)
    flat = (y.astype(int) + MARGIN) * movie.scene.base.shape[1] + x + MARGIN
    own = _own_light(cell, photons, n)
    reads = diags_array(1 / own) @ csr_matrix((photons, (cell, flat)), shape=(n, movie.scene.base.size))
    rest = reads @ movie.scene.base.ravel()
    fields = reads @ movie.scene.neuropil.reshape(len(movie.scene.neuropil), -1).T
    others = (reads @ movie.footprints).tolil()
    others.setdiag(0)
    others = others.tocsr()
    total = square = np.zeros(n)
    with path.open("wb") as file:
        start_npy(file, (movie.n_frames, n), "<f4")
        for first in range(0, movie.n_frames, _BLOCK):
            rows = slice(first, min(first + _BLOCK, movie.n_frames))
            light = (rest + movie.neuropil[rows] @ fields.T) * movie.light[rows, None]
            light += (others @ movie.traces.rows(rows.start, rows.stop).T).T
            file.write(light.astype("<f4").tobytes())
            away = light - rest  # small numbers, so that their squares keep their precision
            total, square = total + away.sum(axis=0), square + (away**2).sum(axis=0)
    return np.asarray(square / movie.n_frames - (total / movie.n_frames) ** 2, dtype=np.float32)


def peak_snr(movie: FovMovie, background: NDArray[np.float32] | float = 0.0) -> NDArray[np.float32]:
    """Compute the peak signal-to-noise ratio of each footprint, f4 (n_cells,).

    It is the cell's largest rise above its median, divided by the standard deviation over frames of everything else:
    photons, amplifier, and the background.

    Parameters
    ----------
    movie
        The movie of a FOV.
    background
        Variance of the background, from :func:`write_background`; 0 for photons and amplifier alone.
    """
    cell, y, x, photons = fov_masks(movie)
    n = len(movie.rise)
    flat = (y.astype(int) + MARGIN) * movie.scene.base.shape[1] + x + MARGIN
    light = movie.scene.base.ravel() + movie.footprints @ movie.rest
    variance = light[flat].astype(float) + (movie.config.read_noise / movie.config.gain) ** 2
    noise = np.bincount(cell, photons.astype(float) ** 2 * variance, n) / _own_light(cell, photons, n) ** 2
    seen = np.bincount(cell, minlength=n) > 0
    return np.asarray(np.where(seen, movie.rise / np.sqrt(np.where(seen, noise + background, 1)), 0), dtype=np.float32)


def _own_light(cell: NDArray[np.int32], photons: NDArray[np.float32], n: int) -> NDArray[np.float64]:
    """Sum the squared footprint of each cell, photons²; 1 for a cell outside the FOV."""
    own = np.bincount(cell, photons.astype(float) ** 2, n)
    return np.where(own > 0, own, 1.0)
