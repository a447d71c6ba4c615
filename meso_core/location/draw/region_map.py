"""The brain from above with the names of its areas, as a value that others draw on.

What belongs here: the map of areas, and borders as they are drawn. What does not: what is drawn on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..atlas.grid import atlas_grid
from ..settings import Frame
from ..surface.dorsal import dorsal_map
from .areas import AreaTable, borders

if TYPE_CHECKING:
    from iblatlas.atlas import BrainAtlas


@dataclass(frozen=True, slots=True)
class RegionMap:
    """Areas of the brain's surface, seen from above."""

    #: Position of the columns, µm from bregma, increasing: (n_ml,) and (n_ap,).
    ml_um: NDArray[np.float64]
    ap_um: NDArray[np.float64]
    #: Area number of each column, (n_ml, n_ap); 0 beside the brain.
    areas: NDArray[np.intp]
    table: AreaTable

    @property
    def border(self) -> NDArray[np.bool_]:
        """Columns at the border of an area, (n_ml, n_ap)."""
        return borders(self.areas)

    def acronyms(self, ids: NDArray[np.integer]) -> NDArray[np.str_]:
        """Acronym of the area (layers joined) of each Allen id; ``outside`` where there is none."""
        numbers = self.table.of_ids(ids)
        names = np.array(self.table.acronyms)[numbers]
        return np.where(numbers == 0, "outside", names)

    def layers(self, ids: NDArray[np.integer]) -> NDArray[np.str_]:
        """Full acronym (with the layer) of each Allen id; ``outside`` where there is none."""
        at = np.minimum(np.searchsorted(self.table.ids, ids), len(self.table.ids) - 1)
        known = (self.table.ids[at] == ids) & (np.asarray(ids) != 0)
        return np.where(known, np.array(self.table.full_acronyms)[at], "outside")


def region_map(atlas: BrainAtlas, frame: Frame) -> RegionMap:
    """Map the areas of an atlas from above.

    Parameters
    ----------
    atlas
        Any brain atlas.
    frame
        The frame in which positions are told.
    """
    table, dorsal = AreaTable.of(atlas), dorsal_map(atlas_grid(atlas, frame.scale))
    return RegionMap(dorsal.ml_um, dorsal.ap_um, table.of_ids(dorsal.ids), table)
