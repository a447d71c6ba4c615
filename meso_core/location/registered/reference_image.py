"""The reference image: the picture of the whole window that ties FOVs to points and to histology.

What belongs here: where its pixels lie in the objective's coordinates, and reading the files beside it. What does
not: fitting (:mod:`meso_core.location.registered.points`) and locating (:mod:`meso_core.location.registered.locate`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputFileError, MetadataError, MissingInputError, problem
from ..project.geometry import fov_corners_deg

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
        cls, meta: Mapping[str, Any], shape: tuple[int, int] | None = None, where: str = "referenceImage.meta.json"
    ) -> ReferenceImage:
        """Read the geometry from ``referenceImage.meta.json``.

        Parameters
        ----------
        meta
            Same form as the imaging metadata: ``FOV`` with ``Deg`` and ``nXnYnZ``, and ``scanImageParams``.
        shape
            Rows and columns of the image that is there; None takes them from the metadata.
        where
            Name for messages.

        Raises
        ------
        MetadataError
            If fields are missing, or the image's size disagrees with its metadata.
        """
        corners = fov_corners_deg(meta) * _objective_resolution(meta, where)
        pixels = np.array([fov["nXnYnZ"][:2] for fov in meta["FOV"]], dtype=int)
        expected = (int(pixels[:, 1].max()), int(pixels[:, 0].sum()))
        if shape is not None and tuple(shape) != expected:
            raise MetadataError(
                problem(
                    where,
                    field="nXnYnZ",
                    expected=f"an image of {expected[0]} rows and {expected[1]} columns, as the metadata say",
                    found=f"{shape[0]} rows and {shape[1]} columns",
                    remedy="Put the image and the metadata of the same acquisition together",
                )
            )
        low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
        manager = meta.get("scanImageParams", {}).get("hStackManager", {})
        z = np.ravel(manager.get("zs", [])).astype(float)
        return cls(expected, (low[0], low[1]), (high[0], high[1]), tuple(z.tolist()))

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


def fov_objective_um(meta: Mapping[str, Any], fov: int) -> Floats:
    """Objective x, y in µm of each pixel of a FOV, shape (nY, nX, 2), bilinear between its ``Deg`` corners."""
    tl, tr, bl, br = fov_corners_deg(meta)[fov] * _objective_resolution(meta, "imaging metadata")
    nx, ny = (int(n) for n in meta["FOV"][fov]["nXnYnZ"][:2])
    v, u = np.linspace(0, 1, ny)[:, None, None], np.linspace(0, 1, nx)[None, :, None]
    at: Floats = (1 - v) * ((1 - u) * tl + u * tr) + v * ((1 - u) * bl + u * br)
    return at


def _objective_resolution(meta: Mapping[str, Any], where: str) -> float:
    value = meta.get("scanImageParams", {}).get("objectiveResolution")
    if not isinstance(value, (int, float)) or not 1 < value < 1e4:
        raise MetadataError(
            problem(
                where,
                field="scanImageParams.objectiveResolution",
                expected="µm per degree of the scanner (about 150)",
                found=repr(value),
                remedy="Extract the metadata again from the tif",
            )
        )
    return float(value)


def read_json(path: Path) -> Any:
    """Read a JSON file that stands beside the reference image."""
    if not path.is_file():
        raise MissingInputError(
            problem(path, expected="the file", found="no such file", remedy="Put it beside the reference image")
        )
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise InputFileError(problem(path, expected="JSON", found=str(error), remedy="Save the file again")) from error
