"""The imaging window: the coverslip on the brain's surface, and the atlas below it.

What belongs here: the plane that touches the surface mesh at the window's centre, and the atlas seen through it. What
does not: FOVs and their pixels (``project``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import LocationError
from ..atlas.grid import AtlasGrid, AtlasInfo, atlas_grid, describe_atlas
from ..settings import Frame, LocationSettings, NormalRule
from .mesh import Mesh, check_mesh, load_triangulation
from .triangles import Floats, facet_normals, find_triangle

if TYPE_CHECKING:
    from iblatlas.atlas import BrainAtlas

#: Radius of the surface that the regional normal is averaged over, µm: that of the usual window.
WINDOW_RADIUS_UM = 1500.0
#: FOVs lie within this distance of the window's centre, µm.
_REACH_UM = 4000.0
#: How far tissue may rise above the smoothed hull, µm.
_MARGIN_UM = 60.0


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
        """Unit vectors of the plane along ML and AP.

        The AP vector has no ML part: windows tilt less along AP (pitch), so the ML vector stays close to the ML axis.
        """
        n = self.normal
        ap = np.array([0.0, n[2], -n[1]])
        ml = np.cross(ap, n)
        ml = ml / np.sqrt(ml @ ml) * np.sign(ml[0])
        ap = ap / np.sqrt(ap @ ap) * np.sign(ap[1])
        return ml, ap


def window_plane(mesh: Mesh, center_um: Floats, rule: NormalRule = NormalRule.REGION) -> WindowPlane:
    """Find the plane of the coverslip.

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
        raise LocationError.at(
            "imaging window",
            field="centerMM",
            expected="a centre on the dorsal surface: the mesh spans "
            f"ML {low[0] / 1e3:.2f} to {high[0] / 1e3:.2f} mm, AP {low[1] / 1e3:.2f} to {high[1] / 1e3:.2f} mm",
            found=f"ML {center_um[0] / 1e3:g}, AP {center_um[1] / 1e3:g} mm",
            remedy="Correct the window's centre (mm from bregma, ML positive to the right, AP to the front)",
        )
    corner, facet = points[connectivity[face, 0]], normals[face]
    dv = corner[2] - ((center_um - corner[:2]) @ facet[:2]) / facet[2]
    if rule is NormalRule.REGION:
        middle = points[connectivity].mean(axis=1)[:, :2]
        distance = ((middle - center_um) ** 2).sum(axis=1) / WINDOW_RADIUS_UM**2
        weight = np.clip(1 - distance, 0, None) ** 2
        facet = weight @ normals if weight.any() else facet
    return WindowPlane(np.array([center_um[0], center_um[1], dv]), facet / np.linalg.norm(facet), rule)


@dataclass(frozen=True, slots=True)
class WindowedAtlas:
    """An atlas with the window of a session laid on it, in one frame: everything that locating needs."""

    info: AtlasInfo
    frame: Frame
    grid: AtlasGrid
    plane: WindowPlane
    #: Where rays begin, µm along the inward normal from the plane: above all of the surface near the window.
    start_um: float


def windowed_atlas(
    atlas: BrainAtlas, center_um: Floats, settings: LocationSettings, mesh: Mesh | None = None
) -> WindowedAtlas:
    """Lay the window on the surface of an atlas, in the frame of the settings.

    Parameters
    ----------
    atlas
        Any ``iblatlas.atlas.BrainAtlas``.
    center_um
        ML and AP of the window's centre, µm from bregma.
    settings
        Give the normal rule, the frame, and where the mesh is.
    mesh
        Points and connectivity in CCF µm; None loads or makes the one of the settings.

    Raises
    ------
    AtlasError, LocationError
        If the mesh is unusable, or does not lie under the centre.
    """
    if mesh is None:
        mesh = load_triangulation(atlas, path=settings.mesh_path, cache=settings.cache_folder)
    check_mesh(mesh)
    points = mesh[0] * np.array(settings.frame.scale)
    plane = window_plane((points, mesh[1]), center_um, settings.normal_rule)
    grid = atlas_grid(atlas, settings.frame.scale)
    if settings.normal_rule is NormalRule.FACET:
        start_um = -grid.step_um
    else:  # the surface may rise above a plane that was fitted to a region of it
        near = points[((points[:, :2] - center_um) ** 2).sum(axis=1) < _REACH_UM**2]
        start_um = -(float(((near - plane.center_um) @ plane.normal).max(initial=0.0)) + _MARGIN_UM)
    return WindowedAtlas(describe_atlas(atlas), settings.frame, grid, plane, start_um)
