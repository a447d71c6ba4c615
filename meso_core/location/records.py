"""What is kept about the locations of a session: corners and centre of each FOV, and how they were found.

What belongs here: the records. What does not: arrays of pixels (``project.projection``), files (``locations_file``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..session import fov_name
from .atlas.grid import AtlasInfo
from .project.geometry import FovGeometry
from .provenance import Provenance
from .settings import Frame
from .surface.window import WindowPlane


@dataclass(frozen=True, slots=True)
class PointFitRecord:
    """How named points were fitted (FUNCTIONAL and LANDMARK locations)."""

    #: ``affine`` or ``thin_plate``.
    kind: str
    names: tuple[str, ...]
    #: Distance in µm between each point and where the transform puts it. A ``thin_plate`` passes through all its
    #: points, so for each point it is fitted again without that point.
    residuals_um: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FovLocation:
    """Where one FOV lies in the brain."""

    fov: int
    #: (rows, columns) of the image.
    shape: tuple[int, int]
    #: MLAPDV in µm of the corner pixels, shape (4, 3): topLeft, topRight, bottomLeft, bottomRight; NaN off the brain.
    corners_um: NDArray[np.float64]
    #: Allen ids of the corner pixels, in the same order.
    corner_ids: tuple[int, int, int, int]
    #: MLAPDV in µm of the centre pixel (``round(n / 2) - 1`` along both axes), shape (3,).
    center_um: NDArray[np.float64]
    center_id: int
    #: All Allen ids in the FOV, sorted.
    brain_location_ids: tuple[int, ...]
    #: Share of pixels that miss the brain, 0 to 1.
    fraction_outside: float
    #: Height and width of the FOV on the coverslip, mm.
    size_mm: tuple[float, float]
    #: ScanImage's ROI (FOVs of one ROI at several depths form a stack) and depth.
    roi_uuid: str
    z: float | None
    #: Mean depth below the brain's surface, µm, and share of pixels above it; None where the tilt is not known.
    depth_um: float | None = None
    fraction_above: float | None = None

    @property
    def name(self) -> str:
        """Name of the ALF folder, as in ``FOV_00``."""
        return fov_name(self.fov)


@dataclass(frozen=True, slots=True)
class SessionLocations:
    """Where the FOVs of a session lie, and how that was found."""

    provenance: Provenance
    atlas: AtlasInfo
    frame: Frame
    #: Centre and unit normal of the window (the craniotomy).
    window: WindowPlane
    fovs: tuple[FovLocation, ...]
    #: Fit of named points, where these were used.
    fit: PointFitRecord | None = None
    #: Angle between optical axis and surface normal, degrees, where points in focus were marked.
    tilt_deg: float | None = None

    @property
    def phantom(self) -> bool:
        """True if the brain is procedural: the numbers are no anatomy and are never sent to Alyx."""
        return self.atlas.phantom

    def dataset_names(self, alf_object: str) -> tuple[str, str]:
        """Names of the ALF datasets of positions and of regions, as in ``mpciROIs.mlapdv_estimate``."""
        positions, regions = (self.provenance.attribute(name) for name in ("mlapdv", "brainLocationIds_ccf_2017"))
        return f"{alf_object}.{positions}", f"{alf_object}.{regions}"

    def datasets(
        self, alf_object: str, mlapdv: Mapping[int, NDArray[np.float64]], ids: Mapping[int, NDArray[np.int64]]
    ) -> dict[str, dict[str, NDArray[np.generic]]]:
        """Name positions and regions, given by FOV number: folder of the FOV → dataset name → array."""
        positions, regions = self.dataset_names(alf_object)
        return {fov_name(fov): {positions: mlapdv[fov], regions: ids[fov]} for fov in mlapdv}


def fov_location(fov: FovGeometry, mlapdv: NDArray[np.float64], ids: NDArray[np.int64]) -> FovLocation:
    """Make the record of a FOV from its pixels."""
    center = (round(fov.ny / 2) - 1, round(fov.nx / 2) - 1)
    ends = np.ix_((0, -1), (0, -1))
    a, b, c, d = (int(i) for i in ids[ends].ravel())
    return FovLocation(
        fov.fov,
        (fov.ny, fov.nx),
        mlapdv[ends].reshape(4, 3),
        (a, b, c, d),
        mlapdv[center],
        int(ids[center]),
        tuple(int(i) for i in np.unique(ids)),
        float(np.isnan(mlapdv[..., 0]).mean()),
        fov.size_mm,
        fov.roi_uuid,
        fov.z,
    )
