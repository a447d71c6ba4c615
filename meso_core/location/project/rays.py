"""Rays through an atlas.

What belongs here: casting rays from patches and from points, to the first voxel that belongs to an area. What does
not: which patches (``projection``), the compiled loop (``ray_march``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..atlas.loading import AtlasGrid

Floats = NDArray[np.float64]
#: Allen id of root: tissue that belongs to no area.
ROOT_ID = 997
#: How deep below the coverslip a ray looks for the brain, µm.
_DEPTH_UM = 3000.0


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
    grid: AtlasGrid,
    corners_um: Floats,
    normal: Floats,
    shape: tuple[int, int],
    *,
    first_um: float,
    last_um: float = _DEPTH_UM,
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
    first_um, last_um
        Where samples begin and end, µm along the inward normal from the patch; they lie on multiples of the voxel.

    Returns
    -------
    position : ndarray, float64, (rows, columns, 3)
        Sample in the area; NaN where a ray meets none.
    ids : ndarray, int64, (rows, columns)
        Allen ids; 0 or root where a ray meets no area.
    """
    from .ray_march import march

    step = grid.step_um
    position = np.empty((*shape, 3))
    region = np.empty(shape, dtype=np.int64)
    first, last = int(np.floor(first_um / step)), int(np.ceil(last_um / step))
    march(
        np.asarray(grid.label), region_kinds(grid), grid.origin_um, 1 / grid.voxel_um, np.ascontiguousarray(corners_um),
        np.asarray(normal, dtype=float), step, first, last, position, region,
    )  # fmt: skip
    return position, grid.ids[region]
