"""Where each pixel and each ROI lies in the brain.

What belongs here: atlas and surface, projection of FOVs, provenance, ROI lookup, and pictures of all that. What does
not: reading ScanImage files, writing ALF files, talking to Alyx.

`load_atlas` → `locate_session` (the best source there is; `project_mlapdv` for the plain estimate) → `locate_rois`.
The rooms, each of which knows only those before it: ``atlas``, ``surface``, ``project``, ``registered``, ``draw``.
Outsiders import from here alone.
"""

from .atlas.grid import AtlasInfo, atlas_grid, brain_atlas, describe_atlas
from .atlas.loading import load_atlas
from .checks import check_locations
from .draw.pictures import LocationPictures, draw_locations
from .draw.region_map import RegionMap, region_map
from .locations_file import LOCATIONS_FILE, locations_to_json, read_locations
from .project.projection import Projection, locate_fovs, project_mlapdv
from .project.rois import roi_mlapdv
from .provenance import Provenance, get_provenance
from .records import FovLocation, SessionLocations
from .registered.locate import find_reference, locate_session
from .roi_locations import RoiLocations, locate_rois
from .settings import Frame, LocationSettings, NormalRule
from .surface.dorsal import dorsal_map
from .surface.mesh import load_triangulation
from .surface.triangles import find_triangle, in_triangle, surface_normal
from .surface.window import WindowPlane

__all__ = [
    "LOCATIONS_FILE",
    "AtlasInfo",
    "FovLocation",
    "Frame",
    "LocationPictures",
    "LocationSettings",
    "NormalRule",
    "Projection",
    "Provenance",
    "RegionMap",
    "RoiLocations",
    "SessionLocations",
    "WindowPlane",
    "atlas_grid",
    "brain_atlas",
    "check_locations",
    "describe_atlas",
    "dorsal_map",
    "draw_locations",
    "find_reference",
    "find_triangle",
    "get_provenance",
    "in_triangle",
    "load_atlas",
    "load_triangulation",
    "locate_fovs",
    "locate_rois",
    "locate_session",
    "locations_to_json",
    "project_mlapdv",
    "read_locations",
    "region_map",
    "roi_mlapdv",
    "surface_normal",
]
