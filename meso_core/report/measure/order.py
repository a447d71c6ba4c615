"""In which order cells stand in a raster.

What belongs here: the order. What does not: drawing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def by_first_component(cells: NDArray[np.float32]) -> NDArray[np.intp]:
    """Sort cells by their weight in the first principal component, largest first.

    Parameters
    ----------
    cells
        (n_cells, n_bins), each with mean 0 and standard deviation 1.

    Returns
    -------
    ndarray of int
        (n_cells,). The sign of a component is arbitrary; here most of its weight is positive.
    """
    from scipy.linalg import eigh

    if len(cells) < 2:
        return np.arange(len(cells))
    small = cells.T @ cells if cells.shape[0] > cells.shape[1] else cells @ cells.T
    _, vectors = eigh(small.astype(np.float64), subset_by_index=(len(small) - 1, len(small) - 1))
    first = vectors[:, 0]
    weights = cells @ first if cells.shape[0] > cells.shape[1] else first
    weights = -weights if weights.sum() < 0 else weights
    return np.argsort(-weights, kind="stable")
