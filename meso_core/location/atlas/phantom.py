"""A procedural brain for work without the atlas download.

What belongs here: the shape, areas and layers of the phantom. It has the CCF's axes, extent, bregma and region ids,
a curved dorsal surface, a midline fissure and layered dorsal cortex; it is no anatomy. What does not: the atlas object
(``loading``) and the file on disk (``volumes``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...progress import Progress, silent
from .annotation import BREGMA_UM

if TYPE_CHECKING:
    from iblatlas.regions import BrainRegions

#: Version of the recipe: part of the cache key, raised whenever a voxel changes.
RECIPE = 2

#: Seeds of the dorsal areas, µm from bregma (|ML|, AP), near their places in the CCF. A column belongs to the area of
#: the nearest seed.
_SEEDS = {
    "MOs": (900, 2000),
    "MOp": (1900, 1200),
    "FRP": (1000, 3300),
    "ACAd": (250, 900),
    "SSp-m": (3300, 1200),
    "SSp-n": (3500, 0),
    "SSp-ul": (2300, -100),
    "SSp-ll": (1700, -700),
    "SSp-tr": (1700, -1500),
    "SSp-bfd": (3200, -1500),
    "SSp-un": (2500, -900),
    "SSs": (4200, -700),
    "AUDd": (4200, -2600),
    "AUDp": (4500, -2200),
    "VISa": (1900, -2050),
    "VISam": (1400, -2500),
    "VISpm": (1500, -3200),
    "VISp": (2500, -3600),
    "VISrl": (3000, -2500),
    "VISal": (3500, -2900),
    "VISl": (3900, -3700),
    "RSPagl": (800, -2700),
    "RSPd": (350, -2300),
    "RSPv": (250, -3900),
}
#: Lower borders of the cortical layers, µm below the surface, then white matter; below lies the core.
_LAYERS = (("1", 110.0), ("2/3", 300.0), ("4", 420.0), ("5", 670.0), ("6a", 900.0), ("6b", 960.0))
_WHITE_MATTER_UM = 1100.0
#: Half width of the strip of root tissue at the midline, µm.
_MIDLINE_UM = 60.0


def surface_dv_um(ml: NDArray[np.float64], ap: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dorsal surface of the phantom without its fissure: DV in µm; NaN outside the brain.

    A dome like the mouse's: flat over dorsal cortex, 1.2 mm lower two millimetres in front of bregma.
    """
    u = np.abs(ml) / 5200.0
    v = np.abs(ap + 2600.0) / np.where(ap > -2600.0, 7700.0, 5000.0)
    r = u**2.6 + v**2.4
    return np.where(r < 1, -50.0 + 5000.0 * (np.sqrt(np.clip(1 - r, 0, None)) - 1), np.nan)


def phantom_ids(regions: BrainRegions) -> tuple[NDArray[np.intp], list[str]]:
    """Region index of each (area, layer), and the areas' names.

    Returns
    -------
    table : ndarray (n_areas + 2, 9)
        Columns: void, the six layers, white matter, core. The last two rows are olfactory bulb and cerebellum.
        Indices are those of the right hemisphere.
    names : list of str
    """
    index = {str(a): i for i, a in reversed(list(enumerate(regions.acronym)))}
    names = [*_SEEDS, "MOB", "CB"]
    rows = []
    for area in _SEEDS:
        layers = [index.get(f"{area}{layer}") for layer, _ in _LAYERS]
        layers[2] = layers[3] if layers[2] is None else layers[2]  # agranular cortex has no layer 4
        rows.append([0, *layers, index["cc"], index["TH"]])
    rows += [[0] + [index["MOB"]] * 8, [0] + [index["CUL4"]] * 6 + [index["arb"]] * 2]
    return np.array(rows, dtype=np.intp), names


def fill_phantom(
    label: NDArray[np.uint16], resolution_um: int, regions: BrainRegions, progress: Progress = silent
) -> None:
    """Write the phantom into a label volume, one coronal section after the other.

    Parameters
    ----------
    label
        uint16, shape (AP, ML, DV) of the CCF at this resolution; written in place.
    resolution_um
        Voxel size.
    regions
        ``iblatlas.regions.BrainRegions``; the left hemisphere gets its mirrored indices.
    progress
        Called after every 64 coronal sections.
    """
    n_ap, n_ml, n_dv = label.shape
    ml = np.arange(n_ml, dtype=np.float64) * resolution_um - BREGMA_UM[0]
    dv = BREGMA_UM[2] - np.arange(n_dv) * float(resolution_um)
    table, _ = phantom_ids(regions)
    mirror = np.array([np.flatnonzero(regions.id == -i)[0] for i in regions.id[table.ravel()]]).reshape(table.shape)
    tables = np.stack([table, mirror]).astype(np.uint16)
    left = (np.arange(n_ml) < int(BREGMA_UM[0] / resolution_um)).astype(np.intp)
    root = np.array([np.flatnonzero(regions.id == i)[0] for i in (997, -997)], dtype=np.uint16)
    depth_code = _depth_code(resolution_um, n_dv)
    for i in range(n_ap):
        ap: NDArray[np.float64] = np.full(n_ml, BREGMA_UM[1] - i * float(resolution_um))
        outer = surface_dv_um(ml, ap)
        inside = np.isfinite(outer)
        fissure = 300.0 * np.exp(-((ml / 120.0) ** 2))
        top = np.searchsorted(-dv, -np.where(inside, outer - fissure, dv[-1] - 1.0))
        bottom_um = np.where(inside, -5050.0 - 0.3 * (np.nan_to_num(outer) + 5050.0), dv[0] + 1.0)
        code = depth_code[np.arange(n_dv)[np.newaxis, :] - top[:, np.newaxis]]  # negative: above, void
        code[dv[np.newaxis, :] < bottom_um[:, np.newaxis]] = 0
        section = tables[left, _area(ml, float(ap[0]))][np.arange(n_ml)[:, np.newaxis], code]
        midline = (np.abs(ml) <= _MIDLINE_UM)[:, np.newaxis] & (code > 0)
        section = np.where(midline, root[left][:, np.newaxis], section)
        label[i] = section
        if i % 64 == 63 or i == n_ap - 1:
            progress(i + 1, n_ap, "sections of the phantom")


def _depth_code(resolution_um: int, n_dv: int) -> NDArray[np.intp]:
    """Column of the region table by voxels below the surface; negative indices (void above) wrap to zeros."""
    depth = np.arange(n_dv) * float(resolution_um)
    borders = [lower for _, lower in _LAYERS] + [_WHITE_MATTER_UM]
    below = 1 + np.searchsorted(borders, depth, side="right")
    return np.concatenate([below, np.zeros(n_dv + 1, dtype=np.intp)])


def _area(ml: NDArray[np.float64], ap: float) -> NDArray[np.intp]:
    """Row of the region table for each ML at this AP: the nearest seed, or bulb and cerebellum."""
    if ap > 4000.0:
        return np.full(len(ml), len(_SEEDS), dtype=np.intp)
    if ap < -5400.0:
        return np.full(len(ml), len(_SEEDS) + 1, dtype=np.intp)
    seeds = np.array(list(_SEEDS.values()), dtype=float)
    distance = (np.abs(ml)[:, np.newaxis] - seeds[:, 0]) ** 2 + (ap - seeds[:, 1]) ** 2
    nearest: NDArray[np.intp] = distance.argmin(axis=1)
    return nearest
