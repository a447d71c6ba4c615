"""Denoising of the binned movie before detection, in bounded memory.

What belongs here: the arithmetic of ``suite2p.detection.denoise.pca_denoise``, block by block.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Number of components as a share of the block's shorter side: that of suite2p.
_SHARE = 0.5


def denoise_blocks(movie: np.ndarray, block_size: Sequence[int]) -> np.ndarray:
    """Rebuild each block of a movie from its first principal components, and blend the blocks.

    The same numbers as suite2p's ``pca_denoise``, bit for bit: the same blocks, solver and order of summation. suite2p
    keeps all rebuilt blocks (overlapping, float64) until the end, about 5 MB per 512 × 512 frame of the binned movie,
    10 GB for an hour; here each block is blended as soon as it is rebuilt.

    Parameters
    ----------
    movie
        (n_bins, ny, nx) f4; its mean is taken out in place.
    block_size
        Rows and columns of a block, px.

    Returns
    -------
    numpy.ndarray
        (n_bins, ny, nx) f4.
    """
    from sklearn.decomposition import PCA
    from suite2p.registration.nonrigid import make_blocks, spatial_taper

    n_bins, ny, nx = movie.shape
    rows, columns, _, (height, width) = make_blocks(ny, nx, block_size=block_size)[:4]
    mean = movie.mean(axis=0)
    movie -= mean
    n_components = int(min(height * width, n_bins, min(height, width) * _SHARE))
    taper = spatial_taper(height // 4, height, width).numpy()
    weight = np.zeros((ny, nx), np.float32)
    rebuilt = np.zeros_like(movie)
    for row, column in zip(rows, columns, strict=True):
        place = (slice(row[0], row[-1]), slice(column[0], column[-1]))
        block = movie[(slice(None), *place)].reshape(-1, height * width)
        components = PCA(n_components=n_components, random_state=0).fit(block).components_
        approximated = ((block @ components.T) @ components).astype(np.float64).reshape(n_bins, height, width)
        approximated *= taper
        rebuilt[(slice(None), *place)] += approximated
        weight[place] += taper
    rebuilt /= weight
    rebuilt += mean
    return rebuilt
