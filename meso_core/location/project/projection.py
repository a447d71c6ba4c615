"""From the coverslip to the brain: MLAPDV and area of every pixel.

What belongs here: the projection of FOVs along the window's normal (the ESTIMATE), and the pixels of a session as one
value. What does not: other sources of locations (``registered``), and how results are stored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...machine import cores_at_hand
from ...progress import Progress, silent
from ...scanimage import as_imaging_metadata
from ...session.imaging import ImagingMetadata
from ..atlas.rays import cast_rays
from ..provenance import Provenance
from ..records import PointFitRecord, SessionLocations, fov_location
from ..settings import LocationSettings
from ..surface.dorsal import DorsalMap
from ..surface.mesh import Mesh
from ..surface.window import WindowedAtlas, windowed_atlas
from .geometry import FovGeometry, fov_geometries, window_center_mm

if TYPE_CHECKING:
    from iblatlas.atlas import BrainAtlas

Floats = NDArray[np.float64]
#: Positions (nY, nX, 3) and Allen ids (nY, nX) of the pixels of one FOV.
Pixels = tuple[Floats, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Projection:
    """MLAPDV and area of every pixel of every FOV, and how they were found."""

    #: By FOV number: (nY, nX, 3) float64, µm from bregma; NaN outside the brain.
    mlapdv: dict[int, Floats]
    #: By FOV number: (nY, nX) int64 Allen ids, the same on both sides; 0 or root outside the brain.
    brain_location_ids: dict[int, NDArray[np.int64]]
    locations: SessionLocations
    #: The brain from above, if the source needed it; drawing then need not make it again.
    dorsal: DorsalMap | None = None

    @property
    def datasets(self) -> dict[str, dict[str, NDArray[np.generic]]]:
        """ALF datasets ``mpciMeanImage.*`` by folder name of the FOV."""
        return self.locations.datasets("mpciMeanImage", self.mlapdv, self.brain_location_ids)

    def without(self, fovs: Collection[str]) -> Projection:
        """Leave out fields of view, by folder name."""
        locations = replace(self.locations, fovs=tuple(fov for fov in self.locations.fovs if fov.name not in fovs))
        stay = [fov.fov for fov in locations.fovs]
        ids = {fov: self.brain_location_ids[fov] for fov in stay}
        return Projection({fov: self.mlapdv[fov] for fov in stay}, ids, locations, self.dorsal)


def collect(
    provenance: Provenance,
    window: WindowedAtlas,
    fovs: Sequence[FovGeometry],
    pixels: Sequence[Pixels],
    *,
    fit: PointFitRecord | None = None,
    dorsal: DorsalMap | None = None,
) -> Projection:
    """Put the pixels of all FOVs together, with the records of how they were found."""
    records = tuple(fov_location(fov, *of_fov) for fov, of_fov in zip(fovs, pixels, strict=True))
    locations = SessionLocations(provenance, window.info, window.frame, window.plane, records, fit)
    numbers = [fov.fov for fov in fovs]
    mlapdv = dict(zip(numbers, (of_fov[0] for of_fov in pixels), strict=True))
    return Projection(mlapdv, dict(zip(numbers, (of_fov[1] for of_fov in pixels), strict=True)), locations, dorsal)


def project_mlapdv(
    meta: Mapping[str, Any] | ImagingMetadata,
    atlas: BrainAtlas,
    mesh: Mesh | None = None,
    *,
    settings: LocationSettings | None = None,
    progress: Progress = silent,
) -> tuple[dict[int, Floats], dict[int, NDArray[np.int64]]]:
    """Find MLAPDV and brain area of each pixel of the mean images.

    The coverslip touches the smoothed hull of the dorsal surface at the window's centre (``centerMM``). A pixel's place
    on it is interpolated bilinearly between the FOV's corners (``MM``). From there a ray goes along the inward normal,
    in steps of one voxel, to the first voxel whose label is neither void nor root.

    Parameters
    ----------
    meta
        Imaging metadata: ``centerMM`` (ML, AP) and, per ``FOV``, ``MM`` (corners, mm from bregma) and ``nXnYnZ``.
    atlas
        Any ``iblatlas.atlas.BrainAtlas``.
    mesh
        Points and connectivity in CCF µm; None makes or loads the atlas' own.
    settings
        Normal rule, frame and cache folder; ``atlas`` itself is the one given above.
    progress
        Called after each FOV.

    Returns
    -------
    mlapdv : dict of int to ndarray, float64, (nY, nX, 3)
        By FOV number: ML, AP, DV in µm from bregma; NaN where a pixel misses the brain.
    brain_location_ids : dict of int to ndarray, int64, (nY, nX)
        Allen ids, positive on both sides (the sign of ML tells the hemisphere); 0 where a ray meets nothing, 997 (root)
        where it meets only tissue without area.

    Raises
    ------
    MetadataError
        If coordinates in the metadata are missing or impossible.
    LocationError
        If the window's centre lies outside the mesh.
    AtlasError
        If the mesh is unusable.
    """
    result = locate_fovs(meta, atlas, mesh, settings=settings, progress=progress)
    return result.mlapdv, result.brain_location_ids


def locate_fovs(
    meta: Mapping[str, Any] | ImagingMetadata,
    atlas: BrainAtlas,
    mesh: Mesh | None = None,
    *,
    settings: LocationSettings | None = None,
    progress: Progress = silent,
) -> Projection:
    """Project like :func:`project_mlapdv`, and record the window, the atlas, and corners and centre of each FOV."""
    meta = as_imaging_metadata(meta)
    center_um, fovs = window_center_mm(meta) * 1e3, fov_geometries(meta)
    return estimate(fovs, windowed_atlas(atlas, center_um, settings or LocationSettings(), mesh), progress)


def estimate(fovs: Sequence[FovGeometry], window: WindowedAtlas, progress: Progress = silent) -> Projection:
    """Locate FOVs by the coordinates of the window and of the FOVs on it (ESTIMATE)."""
    pixels: list[Pixels] = []
    with ThreadPoolExecutor(min(len(fovs), cores_at_hand())) as pool:  # the compiled loop lets go of the GIL
        for of_fov in pool.map(lambda fov: _project(fov, window), fovs):
            pixels.append(of_fov)
            progress(len(pixels), len(fovs), "FOVs located")
    return collect(Provenance.ESTIMATE, window, fovs, pixels)


def _project(fov: FovGeometry, window: WindowedAtlas) -> Pixels:
    offset = fov.corners_mm * 1e3 - window.plane.center_um[:2]
    along_ml, along_ap = window.plane.axes
    corners = np.outer(offset[:, 0], along_ml) + np.outer(offset[:, 1], along_ap) + window.plane.center_um
    shape, start_um = (fov.ny, fov.nx), window.start_um
    return cast_rays(window.grid, corners.reshape(2, 2, 3), window.plane.normal, shape, first_um=start_um)
