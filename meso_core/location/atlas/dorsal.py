"""The brain from above: the first area of every column.

What belongs here: the dorsal map and looking points up in it. What does not: drawing it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..project.rays import cast_rays
from .loading import AtlasGrid

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
        """DV and id under points (…, 2) in µm, by the nearest column; NaN and 0 beside the map."""
        step = self.ml_um[1] - self.ml_um[0], self.ap_um[1] - self.ap_um[0]
        known = np.isfinite(mlap_um).all(axis=-1)
        i = np.rint((np.where(known, mlap_um[..., 0], 0.0) - self.ml_um[0]) / step[0]).astype(np.intp)
        j = np.rint((np.where(known, mlap_um[..., 1], 0.0) - self.ap_um[0]) / step[1]).astype(np.intp)
        known &= (i >= 0) & (j >= 0) & (i < len(self.ml_um)) & (j < len(self.ap_um))
        i, j = np.where(known, i, 0), np.where(known, j, 0)
        return np.where(known, self.dv_um[i, j], np.nan), np.where(known, self.ids[i, j], 0)


def dorsal_map(grid: AtlasGrid) -> DorsalMap:
    """Map the dorsal surface of an atlas: one vertical ray per column."""
    n_ml, n_ap, _ = grid.label.shape
    low, high = grid.origin_um, grid.end_um
    corners = np.array([[[ml, ap, high[2]] for ap in (low[1], high[1])] for ml in (low[0], high[0])])
    up = np.array([0.0, 0.0, 1.0])
    at, ids = cast_rays(grid, corners, up, (n_ml, n_ap), first_um=0.0, last_um=float(high[2] - low[2]))
    ml, ap = low[0] + grid.voxel_um[0] * np.arange(n_ml), low[1] + grid.voxel_um[1] * np.arange(n_ap)
    return DorsalMap(ml, ap, at[..., 2], ids)
