"""Where each pixel and each cell lies in the brain.

What belongs here: atlas and surface, projection of FOVs, provenance, ROI lookup, and pictures of all that. What does
not: reading ScanImage files, writing ALF files, talking to Alyx.

`load_atlas` → `load_triangulation` → `locate_fovs` (or `project_mlapdv`) → `roi_mlapdv`.
"""

from .atlas import AtlasInfo, describe_atlas, load_atlas
from .mesh import WindowPlane, load_triangulation, window_plane
from .projection import Projection, locate_fovs, project_mlapdv
from .provenance import Provenance, available_provenances, best_provenance, get_provenance
from .records import FovLocation, SessionLocations, read_locations
from .rois import roi_mlapdv
from .settings import Frame, LocationSettings, NormalRule
from .triangles import find_triangle, in_triangle, surface_normal

__all__ = [
    "AtlasInfo",
    "FovLocation",
    "Frame",
    "LocationSettings",
    "NormalRule",
    "Projection",
    "Provenance",
    "SessionLocations",
    "WindowPlane",
    "available_provenances",
    "best_provenance",
    "describe_atlas",
    "find_triangle",
    "get_provenance",
    "in_triangle",
    "load_atlas",
    "load_triangulation",
    "locate_fovs",
    "project_mlapdv",
    "read_locations",
    "roi_mlapdv",
    "surface_normal",
    "window_plane",
]
