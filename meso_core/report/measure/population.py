"""Numbers over the cells of a session: counts, sizes, distances, doubles.

What belongs here: formulas. What does not: drawing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Cells of two depths are counted as one seen twice where they are nearer to each other than this, µm, and their
#: activity is correlated by more than this.
DOUBLE_UM, DOUBLE_CORRELATION = 8.0, 0.6


@dataclass(frozen=True, slots=True)
class Doubles:
    """Cells of two fields at neighbouring depths that look like one."""

    first: str
    second: str
    n_pairs: int
    #: Of the field that has fewer cells.
    share: float


def count_by(labels: Sequence[NDArray[np.str_]]) -> dict[str, int]:
    """Count labels, the most frequent first; equal counts in the order of names."""
    names, counts = np.unique(np.concatenate([np.zeros(0, "U1"), *labels]), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {str(names[i]): int(counts[i]) for i in order}


def nearest_um(centres_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each cell to its nearest neighbour, µm; (n, 2) → (n,). Empty for fewer than two cells."""
    from scipy.spatial import cKDTree

    if len(centres_um) < 2:
        return np.zeros(0)
    distances, _ = cKDTree(centres_um).query(centres_um, k=2)
    return np.asarray(distances[:, 1])


def doubles(
    places_um: Mapping[str, NDArray[np.float64]], activity: Mapping[str, NDArray[np.float32]], first: str, second: str
) -> Doubles:
    """Count pairs of cells of two fields that lie above each other and are active together.

    Parameters
    ----------
    places_um
        Field → (n_cells, 2), places across the optical axis in one frame for all fields, µm.
    activity
        Field → (n_cells, n_bins), each row with mean 0 and standard deviation 1, in the same bins of time.
    first, second
        The fields.
    """
    from scipy.spatial import cKDTree

    a, b = places_um[first], places_um[second]
    if not len(a) or not len(b):
        return Doubles(first, second, 0, 0.0)
    distance, partner = cKDTree(b).query(a)
    near = np.flatnonzero(distance < DOUBLE_UM)
    together = (activity[first][near] * activity[second][partner[near]]).mean(axis=1)
    n = len(np.unique(partner[near[together > DOUBLE_CORRELATION]]))
    return Doubles(first, second, n, n / min(len(a), len(b)))
