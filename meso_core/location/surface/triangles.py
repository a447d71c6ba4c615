"""Triangles: their normals, and which triangle of a mesh holds a point.

What belongs here: plane geometry on bare arrays. What does not: the surface that a mesh describes (``mesh``).
"""

from __future__ import annotations

from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import LocationError

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Relative tolerance on areas within which a point counts as on an edge.
_EDGE_TOLERANCE = 1e-9


def facet_normals(triangles: Floats) -> Floats:
    """Return normals (n, 3) of triangles (n, 3, 3); each is as long as twice the area, zero for points on one line."""
    return np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])


def surface_normal(triangle: ArrayLike) -> Floats:
    """Return the unit normal of one or more triangles, by the right-hand rule over the order of their vertices.

    Parameters
    ----------
    triangle
        Vertices, shape (3, 3) or (n_triangles, 3, 3), a row per vertex.

    Returns
    -------
    ndarray
        Unit vector(s), float64, shape (3,) for one triangle, else (n_triangles, 3).

    Raises
    ------
    LocationError
        If the shape is a different one, or three vertices lie on one line.
    """
    given = np.asarray(triangle, dtype=float)
    triangles = given[np.newaxis] if given.ndim == 2 else given
    if triangles.ndim != 3 or triangles.shape[1:] != (3, 3):
        raise LocationError.at(
            "surface_normal",
            field="triangle",
            expected="an array of shape (3, 3) or (n, 3, 3)",
            found=f"shape {given.shape}",
            remedy="Give x, y and z of three vertices",
        )
    normals = facet_normals(triangles)
    length = np.linalg.norm(normals, axis=1)
    flat = ~(length > 0)
    if flat.any():
        first = int(np.flatnonzero(flat)[0])
        raise LocationError.at(
            "surface_normal",
            field=f"triangle[{first}]",
            expected="three points that are not on one line",
            found=f"{triangles[first].tolist()}",
            remedy="Choose points that span a plane",
        )
    unit: Floats = normals / length[:, np.newaxis]
    return unit.squeeze()


def _inside(a: Floats, b: Floats, c: Floats, p: Floats) -> NDArray[np.bool_]:
    """Tell for each row whether the point p lies in the triangle a, b, c (all (n, 2)); edges are inside."""

    def area(u: Floats, v: Floats, w: Floats) -> Floats:
        area: Floats = np.abs(
            u[:, 0] * (v[:, 1] - w[:, 1]) + v[:, 0] * (w[:, 1] - u[:, 1]) + w[:, 0] * (u[:, 1] - v[:, 1])
        )
        return area

    whole = area(a, b, c)
    parts = area(p, b, c) + area(a, p, c) + area(a, b, p)
    inside: NDArray[np.bool_] = np.abs(parts - whole) <= _EDGE_TOLERANCE * whole
    return inside


@overload
def in_triangle(triangle: ArrayLike, point: tuple[float, float]) -> bool: ...
@overload
def in_triangle(triangle: ArrayLike, point: ArrayLike) -> bool | NDArray[np.bool_]: ...
def in_triangle(triangle: ArrayLike, point: ArrayLike) -> bool | NDArray[np.bool_]:
    """Tell whether a point lies in a triangle. Edges and vertices belong to it.

    Parameters
    ----------
    triangle
        x and y of the vertices, shape (3, 2); a third column is ignored.
    point
        Point (2,), or points (n, 2).

    Returns
    -------
    bool or ndarray of bool, shape (n,)
        True where the three areas that the point spans with the edges add up to that of the triangle, to 1e-9.

    Raises
    ------
    LocationError
        If the shapes are different ones.
    """
    corners = np.asarray(triangle, dtype=float)
    points = np.asarray(point, dtype=float)
    if corners.ndim != 2 or corners.shape[0] != 3 or corners.shape[1] < 2 or points.shape[-1:] != (2,):
        raise LocationError.at(
            "in_triangle",
            expected="a triangle (3, 2) and point(s) (2,) or (n, 2)",
            found=f"shapes {corners.shape} and {points.shape}",
            remedy="Give x and y of the three vertices and of the point",
        )
    flat = points.reshape(-1, 2)
    a, b, c = (np.broadcast_to(corners[k, :2], flat.shape) for k in range(3))
    inside = _inside(a, b, c, flat)
    return bool(inside[0]) if points.ndim == 1 else inside


def _pairs_by_cell(lower: Ints, upper: Ints, n_columns: int) -> tuple[Ints, Ints]:
    """List (cell, triangle) for every grid cell that a triangle's bounding box touches, sorted by cell."""
    wide, high = (upper - lower + 1).T
    count = wide * high
    triangle = np.repeat(np.arange(len(count)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    column = lower[triangle, 0] + within % wide[triangle]
    row = lower[triangle, 1] + within // wide[triangle]
    cell = row * n_columns + column
    order = np.argsort(cell, kind="stable")
    return cell[order], triangle[order]


def find_triangle(point: ArrayLike, vertices: ArrayLike, connectivity_list: ArrayLike) -> int | Ints:
    """Find the triangle of a mesh that holds a point, seen along the third axis.

    Triangles are sorted into a grid of square cells first, so that a point is compared with the few triangles near it.

    Parameters
    ----------
    point
        x and y, shape (2,), or (n, 2) for many points.
    vertices
        Mesh vertices (n_vertices, 2 or 3); a third column is ignored.
    connectivity_list
        Vertex indices of the triangles, shape (n_triangles, 3), 0-based.

    Returns
    -------
    int or ndarray of int, shape (n,)
        Index into ``connectivity_list`` of the first triangle that holds the point (edges belong to it),
        -1 where none does.
    """
    points = np.asarray(point, dtype=float)
    flat = points.reshape(-1, 2)
    corners = np.asarray(vertices, dtype=float)[:, :2][np.asarray(connectivity_list, dtype=np.intp)]
    found = _find(flat, corners) if len(corners) else np.full(len(flat), -1, dtype=np.intp)
    return int(found[0]) if points.ndim == 1 else found


def _find(points: Floats, corners: Floats) -> Ints:
    """Return the lowest index of the triangles (n, 3, 2) that hold each point (m, 2), or -1."""
    found = np.full(len(points), len(corners), dtype=np.intp)
    low, high = corners.min(axis=1), corners.max(axis=1)
    origin, end = low.min(axis=0), high.max(axis=0)
    margin = 1e-6 * max(float((end - origin).max()), np.finfo(float).tiny)
    usable = np.flatnonzero(((points >= origin - margin) & (points <= end + margin)).all(axis=1))
    if len(usable):
        size = max(float(np.median(high - low)), float((end - origin).max()) / 512, margin)
        columns, rows = ((end - origin + 2 * margin) // size).astype(np.intp) + 1

        def cell_of(xy: Floats) -> Ints:
            cell: Ints = np.clip(((xy - origin) // size).astype(np.intp), 0, (columns - 1, rows - 1))
            return cell

        cells, triangles = _pairs_by_cell(cell_of(low - margin), cell_of(high + margin), columns)
        at = cell_of(points[usable])
        key = at[:, 1] * columns + at[:, 0]
        first, last = np.searchsorted(cells, key, "left"), np.searchsorted(cells, key, "right")
        count = last - first
        who = np.repeat(usable, count)
        nth = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        candidate = triangles[np.repeat(first, count) + nth]
        a, b, c = (corners[candidate, k] for k in range(3))
        hit = _inside(a, b, c, points[who])
        np.minimum.at(found, who[hit], candidate[hit])
    found[found == len(corners)] = -1
    return found
