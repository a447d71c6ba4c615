"""Locations from histology: a reference image whose pixels were registered to the atlas.

What belongs here: reading the registration, and HISTOLOGY locations. What does not: how the registration was made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import LocationError
from ...opening import map_array
from ...session.imaging import ImagingMetadata
from ..atlas.grid import AtlasGrid
from ..atlas.rays import LOOK_ON_UM, first_area
from ..project.geometry import fov_geometries
from ..project.projection import Pixels, Projection, collect
from ..provenance import Provenance
from ..surface.window import WindowedAtlas
from .reference_image import ReferenceImage, fov_objective_um

if TYPE_CHECKING:
    from iblatlas.atlas import BrainAtlas

Floats = NDArray[np.float64]
HISTOLOGY_FILE = "referenceImage.mlapdv.npy"
#: Registered histology is in voxels; smoothing over this distance removes their steps, µm.
_SMOOTH_UM = 50.0


def load_registered(path: Path, reference_meta: ImagingMetadata) -> NDArray[np.int64]:
    """Load ``referenceImage.mlapdv.npy``: atlas indices (ML, AP, DV) per pixel, shape (h, w, 3).

    Raises
    ------
    InputFileError, LocationError, MetadataError
        If it is no such array, or its size is not that in the metadata.
    """
    indices = map_array(path, "Export the registration again")
    if indices.ndim != 3 or indices.shape[2] != 3 or indices.dtype.kind not in "iu":
        raise LocationError.at(
            path,
            expected="atlas indices (ML, AP, DV) per pixel: whole numbers, shape (h, w, 3)",
            found=f"shape {indices.shape}, dtype {indices.dtype}",
            remedy="Export the registration again",
        )
    ReferenceImage.from_meta(reference_meta, indices.shape[:2], where=str(path))
    whole: NDArray[np.int64] = indices.astype(np.int64)
    return whole


def locate_from_histology(
    meta: ImagingMetadata,
    atlas: BrainAtlas,
    window: WindowedAtlas,
    reference: ReferenceImage,
    indices: NDArray[np.int64],
) -> Projection:
    """Locate FOVs by a reference image that was registered to the atlas (HISTOLOGY).

    Parameters
    ----------
    meta
        Imaging metadata.
    atlas, window
        The atlas, and the same one with the window laid on it.
    reference
        Geometry of the reference image.
    indices
        Atlas indices (ML, AP, DV) as the label volume has them (AP from the front, DV from the top), per pixel of
        the reference image, (h, w, 3); pixels with all three 0 were not registered.

    Raises
    ------
    LocationError
        If indices lie outside the atlas.

    Notes
    -----
    Indices are converted to µm, smoothed by a Gaussian over 50 µm of the image (unregistered pixels excluded), and
    interpolated linearly at each FOV pixel's place in the objective's field. The area is the first one along the
    inward normal from there.
    """
    from scipy.ndimage import map_coordinates

    grid, normal = window.grid, window.plane.normal
    field = _smooth(_indices_to_um(grid, indices, atlas), (indices != 0).any(axis=2), reference)

    def locate(fov: int) -> Pixels:
        yx = np.moveaxis(reference.to_pixels(fov_objective_um(meta, fov)), -1, 0)
        layers = [map_coordinates(field[..., k], yx, order=1, mode="constant", cval=np.nan) for k in range(3)]
        at = np.stack(layers, axis=-1)
        above = at.reshape(-1, 3) + normal * grid.step_um
        _, found = first_area(grid, above, normal, within_um=LOOK_ON_UM)
        ids = found.reshape(at.shape[:2])
        at[ids == 0] = np.nan
        return at, ids

    fovs = fov_geometries(meta)
    return collect(Provenance.HISTOLOGY, window, fovs, [locate(fov.fov) for fov in fovs])


def _smooth(um: Floats, registered: NDArray[np.bool_], reference: ReferenceImage) -> Floats:
    """Smooth positions (h, w, 3) over registered pixels; NaN at the others."""
    from scipy.ndimage import gaussian_filter

    pixel_um = np.abs(np.subtract(reference.last_um, reference.first_um)) / (np.array(reference.shape[::-1]) - 1)
    sigma = _SMOOTH_UM / pixel_um[::-1]
    weight = gaussian_filter(registered.astype(float), sigma, mode="nearest")
    layers = [gaussian_filter(np.where(registered, um[..., k], 0.0), sigma, mode="nearest") for k in range(3)]
    smooth = np.stack(layers, axis=-1) / np.maximum(weight, 1e-9)[..., None]
    return np.where(registered[..., None], smooth, np.nan)


def _indices_to_um(grid: AtlasGrid, indices: NDArray[np.int64], atlas: BrainAtlas) -> Floats:
    """µm from bregma of volume indices (…, 3), which run in the volume's own direction along each axis."""
    registered = (indices != 0).any(axis=2)
    if not registered.any() or (indices[registered] >= grid.label.shape).any() or indices.min() < 0:
        raise LocationError.at(
            HISTOLOGY_FILE,
            expected=f"indices into an atlas of {grid.label.shape} voxels (ML, AP, DV)",
            found=f"values {indices.min()} to {indices.max()}",
            remedy="Set MESO_ATLAS_RESOLUTION_UM to that of the atlas that the registration was made with",
        )
    forward = np.sign(np.asarray(atlas.bc.dxyz)) > 0
    um: Floats = np.where(forward, grid.origin_um, grid.end_um) + indices * grid.voxel_um * np.where(forward, 1, -1)
    return um
