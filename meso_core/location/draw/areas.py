"""Areas of an atlas for pictures: number, acronym and colour of each, and the borders between them.

What belongs here: cortical layers grouped to areas, colour images of them. What does not: axes and figures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..atlas.grid import ROOT_ID

if TYPE_CHECKING:
    from iblatlas.atlas import BrainAtlas


@dataclass(frozen=True, slots=True)
class AreaTable:
    """Areas (without layers) of an atlas; an area's number is a region index."""

    #: Allen ids of all regions, increasing from 0 (void), and the area number of each.
    ids: NDArray[np.int64]
    areas: NDArray[np.intp]
    #: By area number.
    acronyms: tuple[str, ...]
    #: By place in ``ids``: acronym with the layer, as in ``VISp2/3``.
    full_acronyms: tuple[str, ...] = field(kw_only=True)
    #: Colours 0 to 1 by area number, (n, 3).
    colors: NDArray[np.float64]

    @classmethod
    def of(cls, atlas: BrainAtlas) -> AreaTable:
        """Group the regions of an atlas by iblatlas' Beryl mapping, which joins the layers of cortex; if it has one."""
        regions = atlas.regions
        index = np.arange(len(regions.id))
        area = np.asarray(regions.mappings.get("Beryl", index)) if hasattr(regions, "mappings") else index
        area = np.where(np.abs(regions.id[area]) == ROOT_ID, index, area)  # Beryl leaves some out: they keep their name
        right = np.flatnonzero(regions.id > 0)  # the left hemisphere's ids are negative, and published as positive
        right = right[np.argsort(regions.id[right])]
        ids, areas = np.r_[0, regions.id[right]], np.r_[0, area[right]]
        names = tuple(str(a) for a in regions.acronym)
        full = ("void", *(names[i] for i in right))
        return cls(ids, areas, names, np.asarray(regions.rgb, dtype=float) / 255, full_acronyms=full)

    def of_ids(self, ids: NDArray[np.integer]) -> NDArray[np.intp]:
        """Area numbers of an array of Allen ids; 0 for an id that is not in the atlas."""
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, self.areas[at], 0)

    def paint(self, areas: NDArray[np.intp], strength: float = 0.45) -> NDArray[np.float64]:
        """Colour image (…, 3) of area numbers; void is white."""
        image = 1 - strength * (1 - self.colors[areas])
        image[areas == 0] = 1.0
        return image


def borders(areas: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour belongs to another area."""
    edge = np.zeros(areas.shape, dtype=bool)
    edge[:-1] |= areas[:-1] != areas[1:]
    edge[:, :-1] |= areas[:, :-1] != areas[:, 1:]
    return edge
