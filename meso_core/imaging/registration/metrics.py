"""How well a movie is registered: what still moves in its principal components.

What belongs here: suite2p's registration metrics (``tPC``, ``regPC``, ``regDX``) in bounded memory. What does not: a
verdict (``quality``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

#: suite2p measures nothing in shorter movies.
MIN_FRAMES_FOR_METRICS = 1500
#: Frames that components are found in; suite2p takes 2000, and 5000 of movies of at least 5000 frames.
_SAMPLE = 2000
_N_COMPONENTS = 30
#: Frames averaged at either end of a component.
_N_EXTREME = 300
_ROWS = 16


def registration_metrics(
    registered: np.ndarray, yrange: Sequence[int], xrange: Sequence[int], reg: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find principal components of a registered movie and how far their extremes are shifted to each other.

    As suite2p's ``get_pc_metrics``, with two differences: components come from the eigenvectors of the frames'
    products, summed over rows of pixels, which needs 0.1 GB where suite2p's PCA takes 6 GB and a random start; and
    never more than 2000 frames are sampled.

    Parameters
    ----------
    registered
        (n_frames, ny, nx) int16.
    yrange, xrange
        First and last valid row and column.
    reg
        suite2p's ``settings["registration"]``.

    Returns
    -------
    tPC
        (n_samples, 30) weights of the components over time.
    regPC
        (2, 30, height, width) f4: mean frames at the bottom and at the top of each component.
    regDX
        (30, 4) px: rigid, mean non-rigid, max non-rigid, mean total shift between them.
    """
    import torch
    from scipy.linalg import eigh
    from suite2p.registration.metrics import pc_register

    picked = np.linspace(0, len(registered) - 1, min(_SAMPLE, len(registered))).astype(int)
    rows, columns = slice(yrange[0], yrange[-1]), slice(xrange[0], xrange[-1])
    products = _frame_products(registered, picked, rows, columns)
    n = len(picked)
    _, vectors = eigh(products, subset_by_index=(n - _N_COMPONENTS, n - 1))
    weights = vectors[:, ::-1]
    order = np.argsort(weights, axis=0)
    n_extreme = min(_N_EXTREME, n // 2)
    ends = np.stack(
        [
            np.stack([_mean_frame(registered, picked[part[:, i]], rows, columns) for i in range(_N_COMPONENTS)])
            for part in (order[:n_extreme], order[-n_extreme:])
        ]
    )
    names = ("smooth_sigma", "block_size", "maxregshift", "maxregshiftNR", "snr_thresh", "spatial_taper")
    shifts = pc_register(torch.from_numpy(ends[0]), torch.from_numpy(ends[1]), **{name: reg[name] for name in names})
    return weights, ends, np.asarray(shifts)


def _frame_products(registered: np.ndarray, picked: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """Products of all pairs of frames, after the mean over frames and the mean over pixels are taken out."""
    total = np.zeros((len(picked), len(picked)))
    sums, n_pixels = np.zeros(len(picked)), 0
    for start in range(rows.start, rows.stop, _ROWS):
        band = registered[picked, start : min(start + _ROWS, rows.stop), columns].reshape(len(picked), -1)
        part = band.astype(np.float32)
        part -= part.mean(axis=0)
        total += part @ part.T
        sums += part.sum(axis=1, dtype=np.float64)
        n_pixels += part.shape[1]
    return np.asarray(total - np.outer(sums, sums) / n_pixels)


def _mean_frame(registered: np.ndarray, picked: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    total = np.zeros((rows.stop - rows.start, columns.stop - columns.start))
    for index in picked:
        total += registered[index, rows, columns]
    return (total / len(picked)).astype(np.float32)
