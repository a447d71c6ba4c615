"""The smoothed convex hull of the dorsal brain surface: what the coverslip lies on.

What belongs here: making the mesh from an atlas, keeping it, reading one from a file. What does not: the coverslip
(``window``).
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ...errors import AtlasError, MesoWarning, MissingInputError
from ...storage.files.atomic import write_file
from ..atlas.grid import AtlasGrid, atlas_grid, describe_atlas
from ..atlas.rays import top_voxels
from ..settings import DEFAULT_CACHE
from .triangles import Floats, Ints

if TYPE_CHECKING:
    from iblatlas.atlas import BrainAtlas

Mesh = tuple[Floats, Ints]

#: Version of the recipe; part of the cache's key.
RECIPE = 1
#: Distance of the mesh's nodes, µm.
_NODE_UM = 100.0
#: Standard deviation of the Gaussian that smooths the hull's height, µm. Small against a window (2.5 mm and more),
#: and large against a facet of the hull; see docs/brain-location.md for what it does to heights and normals.
_SMOOTHING_UM = 150.0


def load_triangulation(
    atlas: BrainAtlas | None = None, *, path: str | Path | None = None, cache: str | Path = DEFAULT_CACHE
) -> Mesh:
    """Load the triangle mesh of the smoothed convex hull of the dorsal surface.

    Parameters
    ----------
    atlas
        ``iblatlas.atlas.BrainAtlas`` to make the mesh from. This is done once; the file is named after the atlas'
        content.
    path
        ``.npz`` with ``points`` (µm from bregma: ML, AP, DV) and ``connectivity_list`` (0-based), as ibllib's
        ``surface_triangulation.npz``; given instead of an atlas.
    cache
        Folder where meshes are kept.

    Returns
    -------
    points : ndarray, float64, shape (n_points, 3)
        Vertices: ML, AP, DV in µm from bregma.
    connectivity_list : ndarray of int, shape (n_triangles, 3)
        Vertex indices of each triangle, counter-clockwise seen from outside, so that normals point outwards.

    Raises
    ------
    AtlasError, MissingInputError
        If the mesh file is missing or holds no mesh, or the atlas has no tissue.

    Notes
    -----
    The uppermost tissue voxels of all (ML, AP) columns have an upper convex hull (scipy's qhull). Its height is sampled
    every 100 µm and smoothed by a Gaussian (σ 150 µm, within the brain's outline); each square of the grid is cut into
    two triangles.
    """
    if path is not None:
        return _read_mesh(Path(path))
    if atlas is None:
        raise AtlasError.at(
            "load_triangulation",
            expected="an atlas or a mesh file",
            found="neither",
            remedy="Give the atlas (load_atlas) or path=",
        )
    kept = Path(cache).expanduser() / f"surface_{describe_atlas(atlas).sha256[:16]}_{RECIPE}.npz"
    try:
        return _read_mesh(kept)
    except (MissingInputError, AtlasError):  # not there yet, or damaged: it can be made again
        points, connectivity = _make_mesh(atlas_grid(atlas), describe_atlas(atlas).name)
    buffer = io.BytesIO()
    np.savez(buffer, points=points, connectivity_list=connectivity)
    try:
        write_file(kept, buffer.getvalue())
    except OSError as error:  # the mesh is made in seconds: work goes on without keeping it
        warnings.warn(
            f"The surface mesh was made but could not be stored, so the next run makes it again ({error})",
            MesoWarning,
            stacklevel=2,
        )
    return points, connectivity


def _read_mesh(path: Path) -> Mesh:
    if not path.is_file():
        raise MissingInputError.at(
            path, expected="a surface mesh (.npz)", found="no such file", remedy="Check the mesh path"
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
    return AtlasError.at(
        where,
        expected="points (n, 3) in µm from bregma and connectivity_list (m, 3), 0-based, within the points",
        found=found,
        remedy="Give a mesh of the form that load_triangulation returns",
    )


def check_mesh(mesh: Mesh, where: str | Path = "mesh") -> None:
    """Refuse arrays that are no mesh in µm."""
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


def _make_mesh(grid: AtlasGrid, name: str) -> Mesh:
    from scipy.ndimage import gaussian_filter
    from scipy.spatial import ConvexHull

    top, _ = top_voxels(grid, area=False)
    at = np.argwhere(top >= 0)
    if len(at) < 16:
        raise AtlasError.at(
            name, expected="tissue in the volume", found=f"{len(at)} columns with tissue", remedy="Check the file"
        )
    ground = grid.origin_um[:2] + at * grid.voxel_um[:2]
    height_um = grid.origin_um[2] + grid.voxel_um[2] * top[at[:, 0], at[:, 1]]
    planes = _upper_planes(ConvexHull(np.c_[ground, height_um]).equations)
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
