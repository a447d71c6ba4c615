"""Rays through an atlas.

What belongs here: casting rays from patches, from points and down columns, to the first voxel that belongs to an area.
What does not: which patches (``project``), and the loops themselves (``compiled``).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ...machine import cores_at_hand
from .grid import ROOT_ID, AtlasGrid

Floats = NDArray[np.float64]
#: How far below the coverslip a ray looks for the brain, µm.
_DEPTH_UM = 3000.0
#: How far a ray from a point inside the brain looks for an area (atlases have void in vessels and cracks), µm.
LOOK_ON_UM = 300.0


def region_kinds(grid: AtlasGrid) -> NDArray[np.uint8]:
    """Tell void (0), root (1) and areas (2) apart, by region index."""
    kind = np.full(len(grid.ids), 2, dtype=np.uint8)
    kind[grid.ids == 0] = 0
    kind[grid.ids == ROOT_ID] = 1
    return kind


def first_area(
    grid: AtlasGrid, points_um: Floats, normal: Floats, *, within_um: float
) -> tuple[Floats, NDArray[np.int64]]:
    """Follow rays from points along the inward normal to the first voxel with an area.

    Parameters
    ----------
    grid
        Atlas.
    points_um
        Where rays begin, (n, 3); NaN stays NaN.
    normal
        Outward unit normal, (3,).
    within_um
        How far a ray looks.

    Returns
    -------
    points : ndarray, float64, (n, 3)
        First sample in an area, the point itself where it lies in one; NaN where the ray meets none.
    ids : ndarray, int64, (n,)
        Allen ids; 0 where the ray meets none.
    """
    kind, shape = region_kinds(grid), np.array(grid.label.shape)
    found, ids = np.full(points_um.shape, np.nan), np.zeros(len(points_um), dtype=np.int64)
    looking = np.flatnonzero(np.isfinite(points_um).all(axis=1))
    for k in range(int(np.ceil(within_um / grid.step_um)) + 1):
        at = points_um[looking] - k * grid.step_um * normal
        voxel = np.ceil((at - grid.origin_um) / grid.voxel_um - 0.5).astype(np.intp)
        inside = ((voxel >= 0) & (voxel < shape)).all(axis=1)
        voxel[~inside] = 0
        region = np.where(inside, grid.label[tuple(voxel.T)], 0)
        hit = kind[region] == 2
        found[looking[hit]], ids[looking[hit]] = at[hit], grid.ids[region[hit]]
        looking = looking[~hit]
        if not len(looking):
            break
    return found, ids


def cast_rays(
    grid: AtlasGrid, corners_um: Floats, normal: Floats, shape: tuple[int, int], *, first_um: float
) -> tuple[Floats, NDArray[np.int64]]:
    """Cast parallel rays from a patch along the inward normal to the first voxel with an area.

    Parameters
    ----------
    grid
        Atlas.
    corners_um
        Positions (2, 2, 3) of the patch's corner pixels; the others lie bilinearly between.
    normal
        Outward unit normal, (3,).
    shape
        Rows and columns, at least 2.
    first_um
        Where samples begin, µm along the inward normal from the patch; they lie on multiples of the voxel.

    Returns
    -------
    position : ndarray, float64, (rows, columns, 3)
        Sample in the area; NaN where a ray meets none.
    ids : ndarray, int64, (rows, columns)
        Allen ids; 0 or root where a ray meets no area.
    """
    from .compiled import march

    step = grid.step_um
    position = np.empty((*shape, 3))
    region = np.empty(shape, dtype=np.int64)
    first, last = int(np.floor(first_um / step)), int(np.ceil(_DEPTH_UM / step))
    march(
        np.asarray(grid.label), region_kinds(grid), grid.origin_um, 1 / grid.voxel_um, np.ascontiguousarray(corners_um),
        np.asarray(normal, dtype=float), step, first, last, position, region,
    )  # fmt: skip
    return position, grid.ids[region]


def top_voxels(grid: AtlasGrid, *, area: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the uppermost voxel of each column that belongs to an area, or to any tissue.

    Parameters
    ----------
    grid
        Atlas.
    area
        True passes root tissue, as rays do; False stops at any tissue.

    Returns
    -------
    index : ndarray, int64, (n_ml, n_ap)
        DV index of the voxel; -1 where a column has none.
    ids : ndarray, int64, (n_ml, n_ap)
        Allen id of the voxel; 0 or root where a column has none.
    """
    from .compiled import first_from_above

    n_ml, n_ap, _ = grid.label.shape
    top, region = (np.empty((n_ap, n_ml), dtype=np.int64) for _ in range(2))
    kind, least, label = region_kinds(grid), 2 if area else 1, np.asarray(grid.label)
    strips = np.array_split(np.arange(n_ap), min(n_ap, cores_at_hand()))

    def fill(strip: NDArray[np.intp]) -> None:
        part = slice(strip[0], strip[-1] + 1)
        first_from_above(label[:, part], kind, least, top[part], region[part])

    with ThreadPoolExecutor(len(strips)) as pool:  # the compiled loop lets go of the GIL
        list(pool.map(fill, strips))
    return top.T, grid.ids[region.T]
