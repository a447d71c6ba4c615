"""MLAPDV and area of each ROI.

What belongs here: looking up the ROIs of a FOV in its pixel maps. What does not: making the maps (``projection``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import LocationError


def roi_mlapdv(
    stack_pos: ArrayLike, mlapdv: NDArray[np.float64], brain_location_ids: NDArray[np.integer], fov: str = "FOV"
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Look up MLAPDV and brain area of each ROI of one FOV.

    Parameters
    ----------
    stack_pos
        ``mpciROIs.stackPos``: whole pixels y, x (and z), shape (n_rois, 2 or 3).
    mlapdv
        ``mpciMeanImage.mlapdv*``: µm, shape (nY, nX, 3).
    brain_location_ids
        ``mpciMeanImage.brainLocationIds_ccf_2017*``: shape (nY, nX).
    fov
        Name of the FOV, for messages.

    Returns
    -------
    mlapdv : ndarray, float64, (n_rois, 3)
        µm from bregma; NaN where the pixel misses the brain.
    brain_location_ids : ndarray, int64, (n_rois,)
        Allen ids; 0 where the pixel misses the brain.

    Raises
    ------
    LocationError
        If an ROI lies outside the image, or the two maps have different sizes.
    """
    shape = mlapdv.shape[:2]
    if mlapdv.ndim != 3 or mlapdv.shape[2] != 3 or brain_location_ids.shape != shape:
        raise LocationError.at(
            fov,
            expected="maps (nY, nX, 3) and (nY, nX) of one image",
            found=f"shapes {mlapdv.shape} and {brain_location_ids.shape}",
            remedy="Run mean_image_mlapdv again",
        )
    positions = np.asarray(stack_pos)
    if positions.size == 0:
        return np.empty((0, 3)), np.empty(0, dtype=np.int64)
    y, x = _pixels(positions, shape, fov)
    at = np.asarray(mlapdv[y, x], dtype=np.float64)
    ids = np.where(np.isnan(at).any(axis=1), 0, brain_location_ids[y, x]).astype(np.int64)
    return at, ids


def _pixels(
    positions: NDArray[np.generic], shape: tuple[int, ...], fov: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    if positions.ndim != 2 or positions.shape[1] < 2 or positions.dtype.kind not in "iuf":
        raise LocationError.at(
            fov,
            field="mpciROIs.stackPos",
            expected="whole pixels y, x, z per ROI",
            found=f"shape {positions.shape}, dtype {positions.dtype}",
            remedy="Export the ROIs again",
        )
    yx = positions[:, :2]
    whole = np.where(np.isfinite(yx), yx, -1).astype(np.intp)
    outside = (whole < 0).any(axis=1) | (whole >= shape).any(axis=1) | (whole != yx).any(axis=1)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise LocationError.at(
            fov,
            field=f"mpciROIs.stackPos[{first}]",
            expected=f"a whole pixel within {shape[0]} rows and {shape[1]} columns",
            found=f"y, x = {yx[first].tolist()} ({int(outside.sum())} ROIs like it)",
            remedy="Check that the ROIs and the mean image are of the same FOV",
        )
    return whole[:, 0], whole[:, 1]
