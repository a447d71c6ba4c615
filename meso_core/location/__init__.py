"""Where each pixel and each cell lies in the brain.

What belongs here: atlas and surface, projection of FOVs, provenance, ROI lookup, and pictures of all that. What does
not: reading ScanImage files, writing ALF files, talking to Alyx.

`load_atlas` → `locate_session` (the best source there is; `project_mlapdv` for the plain estimate) → `roi_mlapdv`.
"""

from .atlas.dorsal import DorsalMap, dorsal_map
from .atlas.loading import AtlasInfo, describe_atlas, load_atlas
from .atlas.mesh import WindowPlane, load_triangulation, window_plane
from .checks import check_locations
from .draw.pictures import Picture, draw_dorsal, draw_fov, draw_inline, draw_slices
from .project.projection import Projection, locate_fovs, project_mlapdv
from .project.rois import roi_mlapdv
from .project.triangles import find_triangle, in_triangle, surface_normal
from .provenance import Provenance, available_provenances, best_provenance, get_provenance
from .records import LOCATIONS_FILE, FovLocation, SessionLocations, add_to_meta, read_locations
from .registered.locate import (
    available_sources,
    below_surface,
    find_reference,
    locate_from_histology,
    locate_from_points,
    locate_session,
)
from .registered.points import PointFit, SurfaceTilt, fit_points, load_points, surface_tilt
from .registered.reference_image import ReferenceImage
from .settings import Frame, LocationSettings, NormalRule

__all__ = [
    "LOCATIONS_FILE",
    "AtlasInfo",
    "DorsalMap",
    "FovLocation",
    "Frame",
    "LocationSettings",
    "NormalRule",
    "Picture",
    "PointFit",
    "Projection",
    "Provenance",
    "ReferenceImage",
    "SessionLocations",
    "SurfaceTilt",
    "WindowPlane",
    "add_to_meta",
    "available_provenances",
    "available_sources",
    "below_surface",
    "best_provenance",
    "check_locations",
    "describe_atlas",
    "dorsal_map",
    "draw_dorsal",
    "draw_fov",
    "draw_inline",
    "draw_slices",
    "find_reference",
    "find_triangle",
    "fit_points",
    "get_provenance",
    "in_triangle",
    "load_atlas",
    "load_points",
    "load_triangulation",
    "locate_fovs",
    "locate_from_histology",
    "locate_from_points",
    "locate_session",
    "project_mlapdv",
    "read_locations",
    "roi_mlapdv",
    "surface_normal",
    "surface_tilt",
    "window_plane",
]
