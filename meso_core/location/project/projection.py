"""From the coverslip to the brain: MLAPDV and area of every pixel.

What belongs here: the projection of FOVs along the window's normal. What does not: where the metadata, the atlas
and the mesh come from, and how results are stored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...progress import Progress, silent
from ..atlas.loading import AtlasGrid, atlas_grid, describe_atlas
from ..atlas.mesh import Mesh, WindowPlane, check_mesh, load_triangulation, window_plane
from ..provenance import Provenance
from ..records import FovLocation, SessionLocations, fov_location
from ..settings import LocationSettings, NormalRule
from .geometry import FovGeometry, fov_geometries, window_center_mm
from .rays import cast_rays

Floats = NDArray[np.float64]
#: FOVs lie within this distance of the window's centre, µm.
_REACH_UM = 4000.0
#: How far tissue may rise above the smoothed hull, µm.
_MARGIN_UM = 60.0


@dataclass(frozen=True, slots=True)
class Projection:
    """MLAPDV and area of every pixel of every FOV, and how they were found."""

    #: By FOV number: (nY, nX, 3) float64, µm from bregma; NaN outside the brain.
    mlapdv: dict[int, Floats]
    #: By FOV number: (nY, nX) int64 Allen ids, the same on both sides; 0 or root outside the brain.
    brain_location_ids: dict[int, NDArray[np.int64]]
    locations: SessionLocations


def project_mlapdv(
    meta: Mapping[str, Any],
    atlas: Any,
    mesh: Mesh | None = None,
    *,
    settings: LocationSettings | None = None,
    progress: Progress = silent,
) -> tuple[dict[int, Floats], dict[int, NDArray[np.int64]]]:
    """Find MLAPDV and brain area of each pixel of the mean images.

    The coverslip touches the smoothed hull of the dorsal surface at the window's centre (``centerMM``). Each pixel
    is placed on it by bilinear interpolation of the FOV's corners (``MM``), and followed along the inward normal, in
    steps of one voxel, to the first voxel whose label is neither void nor root.

    Parameters
    ----------
    meta
        Imaging metadata: ``centerMM`` (ML, AP) and, per ``FOV``, ``MM`` (corners, mm from bregma) and ``nXnYnZ``.
    atlas
        Any ``iblatlas.atlas.BrainAtlas``.
    mesh
        Points and connectivity in CCF µm; None makes or loads the atlas' own.
    settings
        Gives the normal rule, the frame and the cache; the atlas is taken as given.
    progress
        Told about FOVs.

    Returns
    -------
    mlapdv : dict of int to ndarray, float64, (nY, nX, 3)
        By FOV number: ML, AP, DV in µm from bregma; NaN where a pixel misses the brain.
    brain_location_ids : dict of int to ndarray, int64, (nY, nX)
        Allen ids, positive on both sides (the sign of ML tells the hemisphere); 0 where a ray meets nothing, that of
        root (997) where it meets only tissue without area.

    Raises
    ------
    MetadataError
        If the metadata's coordinates are missing or impossible.
    LocationError
        If the window's centre lies outside the mesh.
    """
    result = locate_fovs(meta, atlas, mesh, settings=settings, progress=progress)
    return result.mlapdv, result.brain_location_ids


def locate_fovs(
    meta: Mapping[str, Any],
    atlas: Any,
    mesh: Mesh | None = None,
    *,
    settings: LocationSettings | None = None,
    progress: Progress = silent,
) -> Projection:
    """Project like :func:`project_mlapdv`, and say how: window, normal, atlas, corners and centre of each FOV."""
    settings = settings or LocationSettings()
    center_um = window_center_mm(meta) * 1e3
    fovs = fov_geometries(meta)
    if mesh is None:
        mesh = load_triangulation(atlas, path=settings.mesh_path, cache=settings.cache_folder)
    check_mesh(mesh)
    scale = np.array(settings.frame.scale)
    plane = window_plane((mesh[0] * scale, mesh[1]), center_um, settings.normal_rule)
    start_um = _start(settings.normal_rule, plane, mesh[0] * scale)
    grid = atlas_grid(atlas, settings.frame.scale)

    def locate(fov: FovGeometry) -> tuple[Floats, NDArray[np.int64], FovLocation]:
        at, ids = project_fov(fov, grid, plane, start_um)
        return at, ids, fov_location(fov, at, ids)

    mlapdv, brain_location_ids = {}, {}
    records: list[FovLocation] = []
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:  # the march lets go of the GIL
        for fov, (at, ids, record) in zip(fovs, pool.map(locate, fovs), strict=True):
            mlapdv[fov.fov], brain_location_ids[fov.fov] = at, ids
            records.append(record)
            progress(fov.fov + 1, len(fovs), "FOVs located")
    locations = SessionLocations(Provenance.ESTIMATE, describe_atlas(atlas), settings.frame, plane, tuple(records))
    return Projection(mlapdv, brain_location_ids, locations)


def project_fov(
    fov: FovGeometry, grid: AtlasGrid, plane: WindowPlane, start_um: float | None = None
) -> tuple[Floats, NDArray[np.int64]]:
    """Project one FOV through a window.

    Parameters
    ----------
    fov, grid, plane
        Outline, atlas and coverslip.
    start_um
        Where rays begin, µm along the inward normal from the coverslip; None means one voxel above it.

    Returns
    -------
    mlapdv : ndarray, float64, (nY, nX, 3)
    brain_location_ids : ndarray, int64, (nY, nX)
    """
    offset = fov.corners_mm * 1e3 - plane.center_um[:2]
    along_ml, along_ap = plane.axes
    corners = np.outer(offset[:, 0], along_ml) + np.outer(offset[:, 1], along_ap) + plane.center_um
    start_um = -grid.step_um if start_um is None else start_um
    return cast_rays(grid, corners.reshape(2, 2, 3), plane.normal, (fov.ny, fov.nx), first_um=start_um)


def _start(rule: NormalRule, plane: WindowPlane, points: Floats) -> float | None:
    """Where rays begin: above all of the surface, which may rise above a plane that was fitted to a region of it."""
    if rule is NormalRule.FACET:
        return None
    near = points[((points[:, :2] - plane.center_um[:2]) ** 2).sum(axis=1) < _REACH_UM**2]
    rise = float(((near - plane.center_um) @ plane.normal).max(initial=0.0))
    return -(rise + _MARGIN_UM)
