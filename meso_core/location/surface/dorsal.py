"""The brain from above: the first area of every column.

What belongs here: the dorsal map and looking points up in it. What does not: drawing it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..atlas.grid import AtlasGrid
from ..atlas.rays import top_voxels

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DorsalMap:
    """First voxel with an area in each column, seen along DV."""

    #: Position of the columns, µm from bregma, increasing: (n_ml,) and (n_ap,).
    ml_um: Floats
    ap_um: Floats
    #: DV of the first area, µm, shape (n_ml, n_ap); NaN where a column has none.
    dv_um: Floats
    #: Allen ids, shape (n_ml, n_ap); 0 (or root) where a column has none.
    ids: NDArray[np.int64]

    def at(self, mlap_um: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """Look up DV and id under points (…, 2) in µm, by the nearest column; NaN and 0 beside the map."""
        first = np.array([self.ml_um[0], self.ap_um[0]])
        step = np.array([self.ml_um[1], self.ap_um[1]]) - first
        known = np.asarray(np.isfinite(mlap_um).all(axis=-1))
        column = np.rint((np.where(known[..., None], mlap_um, first) - first) / step).astype(np.intp)
        known &= ((column >= 0) & (column < self.ids.shape)).all(axis=-1)
        i, j = np.moveaxis(np.where(known[..., None], column, 0), -1, 0)
        return np.where(known, self.dv_um[i, j], np.nan), np.where(known, self.ids[i, j], 0)


def dorsal_map(grid: AtlasGrid) -> DorsalMap:
    """Map the dorsal surface of an atlas."""
    top, ids = top_voxels(grid, area=True)
    ml, ap = (grid.origin_um[k] + grid.voxel_um[k] * np.arange(n) for k, n in enumerate(top.shape))
    return DorsalMap(ml, ap, np.where(top >= 0, grid.origin_um[2] + grid.voxel_um[2] * top, np.nan), ids)
