"""The loops over voxels, compiled by numba.

What belongs here: following rays and columns through a label volume. Imports numba, so only functions import it,
nothing at start-up.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from .volumes import Volume

Floats = NDArray[np.float64]


def _march(
    label: Volume,
    kind: NDArray[np.uint8],
    origin: Floats,
    per_um: Floats,
    corners: Floats,
    normal: Floats,
    step: float,
    first: int,
    last: int,
    position: Floats,
    region: NDArray[np.int64],
) -> None:
    """Follow a ray from each pixel of an image along the inward normal to the first voxel with an area.

    Parameters
    ----------
    label
        Region indices (ML, AP, DV), axes increasing.
    kind
        uint8 per region index: 0 void (as index 0 always is), 1 root, 2 an area.
    origin, per_um
        Position of the first voxel's centre (3,) in µm, and voxels per µm (3,).
    corners
        Positions (2, 2, 3) in µm of the image's corner pixels: row, column, (ML, AP, DV).
    normal
        Outward unit normal (3,).
    step, first, last
        Samples lie at ``k * step`` µm along the inward normal for k = first … last - 1.
    position
        Out, (rows, columns, 3) float64: the sample inside the area, NaN where the ray meets none.
    region
        Out, (rows, columns): region index, that of root or void where the ray meets no area.
    """
    rows, columns = region.shape
    n0, n1, n2 = label.shape
    d0, d1, d2 = -normal[0], -normal[1], -normal[2]
    g0, g1, g2 = step * d0 * per_um[0], step * d1 * per_um[1], step * d2 * per_um[2]
    for i in range(rows):
        v = i / (rows - 1)
        for j in range(columns):
            u = j / (columns - 1)
            w00, w01, w10, w11 = (1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u
            c0 = w00 * corners[0, 0, 0] + w01 * corners[0, 1, 0] + w10 * corners[1, 0, 0] + w11 * corners[1, 1, 0]
            c1 = w00 * corners[0, 0, 1] + w01 * corners[0, 1, 1] + w10 * corners[1, 0, 1] + w11 * corners[1, 1, 1]
            c2 = w00 * corners[0, 0, 2] + w01 * corners[0, 1, 2] + w10 * corners[1, 0, 2] + w11 * corners[1, 1, 2]
            # in voxels; ceil(x - 1/2) is the nearest one, the lower of two as near, as in ibllib
            f0 = (c0 - origin[0]) * per_um[0] - 0.5
            f1 = (c1 - origin[1]) * per_um[1] - 0.5
            f2 = (c2 - origin[2]) * per_um[2] - 0.5
            area, hit = 0, last
            for k in range(first, last):
                x, y, z = int(np.ceil(f0 + k * g0)), int(np.ceil(f1 + k * g1)), int(np.ceil(f2 + k * g2))
                if x < 0 or y < 0 or z < 0 or x >= n0 or y >= n1 or z >= n2:
                    continue
                found = label[x, y, z]
                if found != 0 and kind[found] > 0:
                    area = found
                    if kind[found] == 2:
                        hit = k
                        break
            region[i, j] = area
            if hit < last:
                t = hit * step
                position[i, j, 0] = t * d0 + c0
                position[i, j, 1] = t * d1 + c1
                position[i, j, 2] = t * d2 + c2
            else:
                position[i, j, 0] = position[i, j, 1] = position[i, j, 2] = np.nan


def _first_from_above(
    label: Volume, kind: NDArray[np.uint8], least: int, top: NDArray[np.int64], region: NDArray[np.int64]
) -> None:
    """Find in each column the uppermost voxel of at least a kind.

    Parameters
    ----------
    label
        Region indices (ML, AP, DV), axes increasing.
    kind
        As for the march.
    least
        Kind to look for: 1 any tissue, 2 an area.
    top
        Out, (n_ap, n_ml): DV index of the voxel, -1 where a column has none.
    region
        Out, (n_ap, n_ml): region index of the voxel; that of root or void where a column has none.
    """
    n_ml, n_ap, n_dv = label.shape
    for j in range(n_ap):  # the order in which atlases lie in memory: AP, ML, DV
        for i in range(n_ml):
            top[j, i], region[j, i] = -1, 0
            for k in range(n_dv - 1, -1, -1):
                found = label[i, j, k]
                if found != 0 and kind[found] > 0:
                    region[j, i] = found
                    if kind[found] >= least:
                        top[j, i] = k
                        break


# the machine code is kept on disk, so that only a machine's first run compiles
march = numba.njit(nogil=True, cache=True)(_march)
first_from_above = numba.njit(nogil=True, cache=True)(_first_from_above)
