"""In which order cells stand in a raster.

What belongs here: the order. What does not: drawing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Rastermap puts clusters of cells in order; of fewer cells it makes none.
_FEWEST_CELLS, _CELLS_OF_A_CLUSTER = 60, 5
#: Clusters, components, and how much neighbours count against the whole (Stringer et al. 2025, Nat Neurosci 28, 201;
#: <https://github.com/MouseLand/rastermap>). Its time grows with the third power of clusters, and a raster of a page
#: shows no more of them.
_MOST_CLUSTERS, _MOST_COMPONENTS, _LOCALITY = 40, 128, 0.75
#: From so many cells and bins on, the first component is found step by step.
_MANY = 200
#: Rastermap seeds numpy's one generator, and its threads must not meet those of a second call.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class Order:
    """Cells in an order in which those that are active together are near to each other."""

    #: (n_cells,)
    cells: NDArray[np.intp]
    #: How they were put in order, as the end of a sentence.
    told: str


def in_order(cells: NDArray[np.float32]) -> Order:
    """Put cells in order: by rastermap where it is installed and there are enough, else by the first component.

    Parameters
    ----------
    cells
        (n_cells, n_bins), each with mean 0 and standard deviation 1, or 0 throughout.
    """
    if not has_rastermap():
        return Order(by_first_component(cells), "by their weight in the first principal component")
    if int(np.any(cells, axis=1).sum()) < _FEWEST_CELLS or cells.shape[1] < _FEWEST_CELLS:
        told = "by their weight in the first principal component, for rastermap needs more cells"
        return Order(by_first_component(cells), told)
    return Order(by_rastermap(cells), "by rastermap: cells that are active together are near to each other")


def has_rastermap() -> bool:
    """Whether the package is installed; a folder that its removal has left does not count."""
    try:
        version("rastermap")
    except PackageNotFoundError:
        return False
    return True


def by_rastermap(cells: NDArray[np.float32]) -> NDArray[np.intp]:
    """Sort cells by rastermap; those without activity come last.

    Parameters
    ----------
    cells
        As for :func:`in_order`.

    Returns
    -------
    ndarray of int
        (n_cells,). Of the two directions, the one in which the first component's weight falls.
    """
    from rastermap import Rastermap

    active = np.flatnonzero(np.any(cells, axis=1))
    silent = np.setdiff1d(np.arange(len(cells)), active)
    chosen: Mapping[str, object] = {
        "n_clusters": min(_MOST_CLUSTERS, len(active) // _CELLS_OF_A_CLUSTER),
        "n_PCs": min(_MOST_COMPONENTS, len(active) - 1, cells.shape[1] - 1),
        "locality": _LOCALITY,
        "random_state": 0,
        "verbose": False,
    }
    with _ONE_AT_A_TIME:
        before = np.random.get_state()
        try:
            order = np.asarray(Rastermap(**chosen).fit(np.ascontiguousarray(cells[active])).isort, np.intp)
        finally:
            np.random.set_state(before)
    place = np.empty(len(active), np.intp)
    place[by_first_component(cells[active])] = np.arange(len(active))
    falls = float(np.corrcoef(place[order], np.arange(len(active)))[0, 1]) >= 0
    return np.concatenate([active[order if falls else order[::-1]], silent])


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
    if len(cells) < 2 or not cells.any():
        return np.arange(len(cells))
    weights = _of_many(cells) if min(cells.shape) >= _MANY else _of_few(cells)
    weights = -weights if weights.sum() < 0 else weights
    return np.argsort(-weights, kind="stable")


def _of_few(cells: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    """Weights of cells in the first component, up to a factor."""
    from scipy.linalg import eigh

    small = cells.T @ cells if cells.shape[0] > cells.shape[1] else cells @ cells.T
    _, vectors = eigh(small.astype(np.float64), subset_by_index=(len(small) - 1, len(small) - 1))
    first = vectors[:, 0]
    return np.asarray(cells @ first if cells.shape[0] > cells.shape[1] else first)


def _of_many(cells: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    """As :func:`_of_few`, by Lanczos' method: of 1500 cells, a tenth of the time where they share activity."""
    from scipy.sparse.linalg import svds

    start = np.random.default_rng(0).standard_normal(min(cells.shape), np.float32)
    first, _, _ = svds(cells, k=1, v0=start, return_singular_vectors="u")
    return np.asarray(first[:, 0])
