"""The smoothed convex hull of the dorsal brain surface: what the coverslip lies on.

What belongs here: making the mesh from an atlas, keeping it, reading one from a file, and the plane that touches it
at a window. What does not: what is seen through the window (:mod:`meso_core.location.project.projection`).
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ...errors import AtlasError, LocationError, MesoWarning, MissingInputError, problem
from ...storage.hashing import write_atomically
from ..project.triangles import Floats, Ints, facet_normals, find_triangle
from ..settings import NormalRule, default_cache
from .loading import AtlasGrid, atlas_grid, describe_atlas

Mesh = tuple[Floats, Ints]

#: Version of the recipe; part of the cache's key.
RECIPE = 1
#: Distance of the mesh's nodes, µm.
_NODE_UM = 100.0
#: Standard deviation of the Gaussian that smooths the hull's height, µm. Small against a window (2.5 mm and more),
#: and large against a facet of the hull; see docs/brain-location.md for what it does to heights and normals.
_SMOOTHING_UM = 150.0
#: Radius of the surface that the regional normal looks at, µm: the usual window's.
WINDOW_RADIUS_UM = 1500.0


def load_triangulation(atlas: Any = None, *, path: str | Path | None = None, cache: str | Path | None = None) -> Mesh:
    """Load the triangle mesh of the smoothed convex hull of the dorsal surface.

    Parameters
    ----------
    atlas
        ``iblatlas.atlas.BrainAtlas`` from which the mesh is made, once: it is kept by the atlas' content.
    path
        ``.npz`` with ``points`` (µm from bregma: ML, AP, DV) and ``connectivity_list`` (0-based), as ibllib's
        ``surface_triangulation.npz``; given instead of an atlas.
    cache
        Folder where meshes are kept; None means the default.

    Returns
    -------
    points : ndarray, float64, shape (n_points, 3)
        Vertices: ML, AP, DV in µm from bregma.
    connectivity_list : ndarray of int, shape (n_triangles, 3)
        Vertex indices of each triangle, counter-clockwise seen from outside, so that normals point outwards.

    Raises
    ------
    AtlasError, MissingInputError
        If the mesh file is no mesh, or the atlas has no tissue.

    Notes
    -----
    The first tissue voxel of each (ML, AP) column is found, the upper convex hull of these points taken (scipy's
    qhull), its height sampled every 100 µm, smoothed by a Gaussian (σ 150 µm, within the brain's outline), and each
    square of the grid cut in two triangles.
    """
    if path is not None:
        return _read_mesh(Path(path))
    if atlas is None:
        raise AtlasError(
            problem(
                "load_triangulation",
                expected="an atlas or a mesh file",
                found="neither",
                remedy="Give the atlas (load_atlas) or path=",
            )
        )
    kept = Path(cache or default_cache()) / f"surface_{describe_atlas(atlas).sha256[:16]}_{RECIPE}.npz"
    if kept.is_file():
        return _read_mesh(kept)
    points, connectivity = _make_mesh(atlas_grid(atlas), describe_atlas(atlas).name)
    buffer = io.BytesIO()
    np.savez(buffer, points=points, connectivity_list=connectivity)
    try:
        write_atomically(kept, buffer.getvalue())
    except OSError as error:  # the mesh is made in seconds: work goes on without keeping it
        warnings.warn(
            f"{kept}: the surface mesh could not be kept ({error}); set MESO_CACHE", MesoWarning, stacklevel=2
        )
    return points, connectivity


def _read_mesh(path: Path) -> Mesh:
    if not path.is_file():
        raise MissingInputError(
            problem(path, expected="a surface mesh (.npz)", found="no such file", remedy="Check the mesh path")
        )
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            points = np.asarray(file["points"], dtype=np.float64)
            connectivity = np.asarray(file["connectivity_list"], dtype=np.intp)
    except (ValueError, OSError, KeyError, EOFError, BadZipFile) as error:
        raise _no_mesh(path, str(error)) from error
    check_mesh((points, connectivity), path)
    return points, connectivity


def _no_mesh(where: str | Path, found: str) -> AtlasError:
    return AtlasError(
        problem(
            where,
            expected="points (n, 3) in µm from bregma and connectivity_list (m, 3), 0-based, within the points",
            found=found,
            remedy="Give a mesh as load_triangulation returns it",
        )
    )


def check_mesh(mesh: Mesh, where: str | Path = "mesh") -> None:
    """Refuse what is no mesh in µm."""
    points, connectivity = np.asarray(mesh[0]), np.asarray(mesh[1])
    if points.ndim != 2 or points.shape[1] != 3 or connectivity.ndim != 2 or connectivity.shape[1] != 3:
        raise _no_mesh(where, f"shapes {points.shape} and {connectivity.shape}")
    if not np.isfinite(points).all() or not len(connectivity):
        raise _no_mesh(where, "points that are not finite, or no triangles")
    if connectivity.min() < 0 or connectivity.max() >= len(points):
        raise _no_mesh(where, f"indices {connectivity.min()} to {connectivity.max()} for {len(points)} points")
    span = float(np.ptp(points[:, :2], axis=0).max())
    if not 1e3 < span < 1e5:
        raise _no_mesh(where, f"points that span {span:g} (µm expected: a brain is about 10000 wide)")


def top_surface(grid: AtlasGrid) -> Floats:
    """DV in µm of the first tissue voxel of each (ML, AP) column; NaN where there is none."""
    n_ml, n_ap, n_dv = grid.label.shape
    top = np.full((n_ml, n_ap), np.nan)
    for ap in range(n_ap):  # a section at a time: the volume may be larger than memory
        tissue = grid.label[:, ap, ::-1] != 0
        first = tissue.argmax(axis=1)
        some = tissue[np.arange(n_ml), first]
        top[some, ap] = grid.origin_um[2] + grid.voxel_um[2] * (n_dv - 1 - first[some])
    return top


def _make_mesh(grid: AtlasGrid, name: str) -> Mesh:
    from scipy.ndimage import gaussian_filter
    from scipy.spatial import ConvexHull

    top = top_surface(grid)
    at = np.argwhere(np.isfinite(top))
    if len(at) < 16:
        raise AtlasError(
            problem(name, expected="tissue in the volume", found=f"{len(at)} columns with any", remedy="Check the file")
        )
    ground = grid.origin_um[:2] + at * grid.voxel_um[:2]
    planes = _upper_planes(ConvexHull(np.c_[ground, top[at[:, 0], at[:, 1]]]).equations)
    nodes = [np.arange(np.ceil(lo / _NODE_UM), np.floor(hi / _NODE_UM) + 1) * _NODE_UM for lo, hi in _span(ground)]
    ml, ap = np.meshgrid(*nodes, indexing="ij")
    height = np.full(ml.shape, np.inf)
    for a, b, c in planes:  # the upper hull is the lowest of its planes
        np.minimum(height, a * ml + b * ap + c, out=height)
    inside = np.ones(ml.shape, dtype=np.bool_)
    for a, b, c in ConvexHull(ground).equations:
        inside &= a * ml + b * ap + c <= 0
    sigma = _SMOOTHING_UM / _NODE_UM
    weight = gaussian_filter(inside.astype(float), sigma, mode="constant")
    smooth = gaussian_filter(np.where(inside, height, 0.0), sigma, mode="constant") / np.where(inside, weight, 1.0)
    return _triangulate(ml, ap, smooth, inside)


def _span(ground: Floats) -> list[tuple[float, float]]:
    return [(float(lo), float(hi)) for lo, hi in zip(ground.min(axis=0), ground.max(axis=0), strict=True)]


def _upper_planes(equations: Floats) -> Floats:
    """Rows a, b, c of the planes z = a x + b y + c that bound a hull from above."""
    up = np.unique(np.round(equations[equations[:, 2] > 1e-6], 9), axis=0)
    planes: Floats = -up[:, [0, 1, 3]] / up[:, 2:3]
    return planes


def _triangulate(ml: Floats, ap: Floats, dv: Floats, inside: NDArray[np.bool_]) -> Mesh:
    number = np.full(inside.shape, -1, dtype=np.intp)
    number[inside] = np.arange(inside.sum())
    points = np.c_[ml[inside], ap[inside], dv[inside]]
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    whole = (a >= 0) & (b >= 0) & (c >= 0) & (d >= 0)
    a, b, c, d = a[whole], b[whole], c[whole], d[whole]
    return points, np.concatenate([np.c_[a, b, c], np.c_[a, c, d]])


@dataclass(frozen=True, slots=True)
class WindowPlane:
    """The coverslip: a plane that touches the brain's surface at the window's centre."""

    #: Centre: ML, AP, DV in µm from bregma.
    center_um: Floats
    #: Unit normal, outwards (the craniotomy normal).
    normal: Floats
    rule: NormalRule

    @property
    def axes(self) -> tuple[Floats, Floats]:
        """Unit vectors of the plane along image ML and AP.

        AP first, without an ML part: windows tilt less along AP (pitch), which keeps the ML axis nearly true.
        """
        n = self.normal
        ap = np.array([0.0, n[2], -n[1]])
        ml = np.cross(ap, n)
        ml = ml / np.sqrt(ml @ ml) * np.sign(ml[0])
        ap = ap / np.sqrt(ap @ ap) * np.sign(ap[1])
        return ml, ap


def window_plane(mesh: Mesh, center_um: Floats, rule: NormalRule = NormalRule.REGION) -> WindowPlane:
    """Lay the coverslip on the surface.

    Parameters
    ----------
    mesh
        Points and connectivity, as :func:`load_triangulation` returns them.
    center_um
        ML and AP of the window's centre, µm from bregma.
    rule
        FACET: the normal of the triangle under the centre. REGION: the mean of the normals of the triangles within
        1.5 mm, weighted by area and by (1 - (d / 1.5 mm)²)².

    Raises
    ------
    LocationError
        If no upward triangle lies under the centre.
    """
    points, connectivity = mesh
    normals = facet_normals(points[connectivity])
    dorsal = normals[:, 2] > 0
    connectivity, normals = connectivity[dorsal], normals[dorsal]
    face = find_triangle(center_um, points, connectivity)
    if face == -1:
        low, high = points[connectivity].min(axis=(0, 1)), points[connectivity].max(axis=(0, 1))
        raise LocationError(
            problem(
                "imaging window",
                field="centerMM",
                expected="a centre on the dorsal surface: the mesh spans "
                f"ML {low[0] / 1e3:.2f} to {high[0] / 1e3:.2f} mm, AP {low[1] / 1e3:.2f} to {high[1] / 1e3:.2f} mm",
                found=f"ML {center_um[0] / 1e3:g}, AP {center_um[1] / 1e3:g} mm",
                remedy="Correct the window's centre (mm from bregma, ML positive to the right, AP to the front)",
            )
        )
    corner, facet = points[connectivity[face, 0]], normals[face]
    dv = corner[2] - ((center_um - corner[:2]) @ facet[:2]) / facet[2]
    if rule is NormalRule.REGION:
        middle = points[connectivity].mean(axis=1)[:, :2]
        distance = ((middle - center_um) ** 2).sum(axis=1) / WINDOW_RADIUS_UM**2
        weight = np.clip(1 - distance, 0, None) ** 2
        facet = weight @ normals if weight.any() else facet
    return WindowPlane(np.array([center_um[0], center_um[1], dv]), facet / np.linalg.norm(facet), rule)
