"""Outlines of ROIs: smooth curves around weighted masks, as paths of an SVG.

What belongs here: from weights to curves. What does not: colours, and which ROIs are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: A closed ring of x and y, px, (n_points, 2).
Ring: TypeAlias = NDArray[np.float64]

#: Width of the blur, px, and the share of a blurred mask's largest value at which its outline runs.
BLUR_PX, LEVEL = 0.8, 0.4
#: Pixels around a mask, for the blur.
_MARGIN = 4
#: Points of an outline that lie nearer than this to the line between their neighbours are left out, px.
_TOLERANCE = 0.12
#: Masks that are traced at a time.
_AT_A_TIME = 100
#: Units of a path per pixel.
UNITS = 10


def roi_outlines(masks: Any, n_rois: int) -> Iterator[list[Ring]]:  # noqa: ANN401  sparse stack
    """Trace each ROI.

    Parameters
    ----------
    masks
        (n_rois, nY, nX) sparse stack of weights, ``mpciROIs.masks``.
    n_rois
        Number of ROIs.

    Yields
    ------
    list of ndarray
        Closed rings (n_points, 2) of x and y, px, the centre of the first pixel at (0, 0); empty where a mask is.
    """
    coordinates = masks.tocoo() if hasattr(masks, "tocoo") else masks
    roi, y, x = (np.asarray(c) for c in coordinates.coords)
    weight = np.asarray(coordinates.data, np.float32)
    order = np.argsort(roi, kind="stable")
    ends = np.searchsorted(roi[order], np.arange(n_rois + 1))
    own = [order[first:last] for first, last in pairwise(ends)]
    for start in range(0, n_rois, _AT_A_TIME):
        yield from outlines([(y[one], x[one], weight[one]) for one in own[start : start + _AT_A_TIME]])


def outlines(masks: Sequence[tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]]) -> list[list[Ring]]:
    """Trace some masks, each given by its pixels y, x and their weights.

    An outline is the level line of the blurred weights at :data:`LEVEL` of their largest value. A mask that falls into
    pieces gives several rings; those of less than 4 px² are left out unless none is larger. The masks are traced side
    by side in one picture, for each call costs more than a mask.
    """
    from contourpy import contour_generator
    from scipy.ndimage import gaussian_filter

    rings: list[list[Ring]] = [[] for _ in masks]
    corners = [(y.min() - _MARGIN, x.min() - _MARGIN) if len(y) else (0, 0) for y, x, _ in masks]
    side = max((int(max(np.ptp(y), np.ptp(x))) for y, x, _ in masks if len(y)), default=0) + 2 * _MARGIN + 1
    picture = np.zeros((side, len(masks), side), np.float32)
    for k, ((y, x, weight), (top, left)) in enumerate(zip(masks, corners, strict=True)):
        picture[y - top, k, x - left] = weight
    blurred = gaussian_filter(picture.reshape(side, -1), BLUR_PX).reshape(picture.shape)
    blurred /= np.maximum(blurred.max(axis=(0, 2), keepdims=True), 1e-12)
    for found in contour_generator(z=blurred.reshape(side, -1), name="serial").lines(LEVEL):
        ring = np.asarray(found)
        if len(ring) > 3:
            k = int(ring[0, 0] // side)
            top, left = corners[k]
            rings[k].append(ring + np.array([left - k * side, top]))
    return [[_simpler(ring) for ring in _worth(found)] for found in rings]


def _worth(rings: list[Ring]) -> list[Ring]:
    return [ring for ring in rings if abs(area(ring)) >= 4] or sorted(rings, key=lambda ring: -abs(area(ring)))[:1]


def area(ring: NDArray[np.float64]) -> float:
    """Signed area of a closed ring (n_points, 2), px²."""
    x, y = ring.T
    return float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2


def svg_path(rings: list[NDArray[np.float64]]) -> str:
    """Write rings as a path of whole numbers, :data:`UNITS` per pixel; pixel centres are at half pixels."""
    parts = []
    for ring in rings:
        units = np.rint((ring[:-1] + 0.5) * UNITS).astype(int)
        if len(units) < 3:
            continue
        steps = np.diff(units, axis=0)
        numbers = " ".join(f"{dx} {dy}" for dx, dy in steps.tolist())
        parts.append(f"M{units[0, 0]} {units[0, 1]}l{numbers.replace(' -', '-')}z")
    return "".join(parts)


def _simpler(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out points that lie on the line between their neighbours, twice."""
    for _ in range(2):
        if len(ring) < 12:
            return ring
        before, here, after = ring[:-2], ring[1:-1], ring[2:]
        along = after - before
        length = np.hypot(*along.T)
        off = np.abs(along[:, 0] * (here - before)[:, 1] - along[:, 1] * (here - before)[:, 0])
        straight = off < _TOLERANCE * np.maximum(length, 1e-9)
        straight[1::2] = False  # neighbours are not left out together
        ring = ring[np.concatenate([[True], ~straight, [True]])]
    return ring
