"""The reference image: the picture of the whole window that ties FOVs to points and to histology.

What belongs here: where its pixels lie in the objective's coordinates, and reading the files beside it. What does
not: fitting (:mod:`meso_core.location.registered.points`) and locating (:mod:`meso_core.location.registered.locate`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputFileError, MetadataError
from ...opening import read_json
from ...scanimage import as_imaging_metadata
from ...session.imaging import ImagingMetadata

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ReferenceImage:
    """Geometry of a reference image (a mosaic of ScanImage ROIs side by side)."""

    #: Rows and columns.
    shape: tuple[int, int]
    #: x and y in µm of the objective's field, of the first and of the last pixel's centre.
    first_um: tuple[float, float]
    last_um: tuple[float, float]
    #: Depth of each slice of the stack, µm, larger is deeper.
    z_um: tuple[float, ...]

    @classmethod
    def from_meta(
        cls,
        meta: Mapping[str, Any] | ImagingMetadata,
        shape: tuple[int, int] | None = None,
        where: str = "referenceImage.meta.json",
    ) -> ReferenceImage:
        """Read the geometry from ``referenceImage.meta.json``.

        Parameters
        ----------
        meta
            Same form as the imaging metadata; the FOVs' scan angles and pixels are used.
        shape
            Rows and columns of the image that is there; None takes them from the metadata.
        where
            Name for messages.

        Raises
        ------
        MetadataError
            If fields are missing, or the image's size disagrees with its metadata.
        """
        meta = as_imaging_metadata(meta, where)
        corners = np.array([fov.deg.as_array() for fov in meta.fovs]) * meta.objective_um_per_deg
        expected = (max(fov.ny for fov in meta.fovs), sum(fov.nx for fov in meta.fovs))
        if shape is not None and tuple(shape) != expected:
            raise MetadataError.at(
                where,
                field="nXnYnZ",
                expected=f"an image of {expected[0]} rows and {expected[1]} columns, as the metadata say",
                found=f"{shape[0]} rows and {shape[1]} columns",
                remedy="Put the image and the metadata of the same acquisition together",
            )
        low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
        return cls(expected, (low[0], low[1]), (high[0], high[1]), meta.stack_depths_um or ())

    def to_um(self, yx: Floats) -> Floats:
        """Objective x, y in µm of pixels (…, 2) given as y, x."""
        low, high = np.array(self.first_um), np.array(self.last_um)
        share = yx[..., ::-1] / (np.array(self.shape[::-1]) - 1)
        at: Floats = low + share * (high - low)
        return at

    def to_pixels(self, xy_um: Floats) -> Floats:
        """Pixels y, x (not rounded) of points (…, 2) given as objective x, y in µm."""
        low, high = np.array(self.first_um), np.array(self.last_um)
        at: Floats = ((xy_um - low) / (high - low) * (np.array(self.shape[::-1]) - 1))[..., ::-1]
        return at


def fov_objective_um(meta: ImagingMetadata, fov: int) -> Floats:
    """Objective x, y in µm of each pixel of a FOV, shape (nY, nX, 2), bilinear between its ``Deg`` corners."""
    own = meta.fovs[fov]
    tl, tr, bl, br = own.deg.as_array() * meta.objective_um_per_deg
    v, u = np.linspace(0, 1, own.ny)[:, None, None], np.linspace(0, 1, own.nx)[None, :, None]
    at: Floats = (1 - v) * ((1 - u) * tl + u * tr) + v * ((1 - u) * bl + u * br)
    return at


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file of the reference folder; an object is expected."""
    remedy = "Save the file again"
    content = read_json(path, remedy)
    if isinstance(content, dict):
        return content
    raise InputFileError.at(path, expected="a JSON object", found=type(content).__name__, remedy=remedy)
