"""Depth of FOVs below the brain's surface, from points of the reference stack that are in focus on it.

What belongs here: the tilt of the surface, and moving pixels to their depth. What does not: where the surface is.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LocationError, MesoWarning
from ...session import fov_name
from ...session.imaging import ImagingMetadata
from ..atlas.rays import LOOK_ON_UM, first_area
from ..project.geometry import fov_geometries
from ..project.projection import Projection
from ..records import fov_location
from ..surface.window import WindowedAtlas
from .points import FLAT, bad_points, flatness
from .reference_image import ReferenceImage, fov_objective_um

Floats = NDArray[np.float64]
FOCUS_FILE = "referenceImage.points.json"


@dataclass(frozen=True, slots=True)
class SurfaceTilt:
    """The brain's surface as a plane in the objective's coordinates: z = a + b x + c y, µm, z downwards."""

    a: float
    b: float
    c: float

    @property
    def angle_deg(self) -> float:
        """Angle between the optical axis and the surface's normal, degrees."""
        return float(np.degrees(np.arctan(np.hypot(self.b, self.c))))

    def depth_um(self, xy_um: Floats, z_um: float) -> Floats:
        """Depth below the surface, along its normal, of points (…, 2) at z; negative above it."""
        surface = self.a + self.b * xy_um[..., 0] + self.c * xy_um[..., 1]
        depth: Floats = (z_um - surface) * np.cos(np.radians(self.angle_deg))
        return depth


def surface_tilt(points: Mapping[str, Any], reference: ReferenceImage, where: str | Path = "points") -> SurfaceTilt:
    """Find the surface's tilt from points of the reference stack that are in focus on it.

    Parameters
    ----------
    points
        ``referenceImage.points.json``: ``{"points": [{"coords": [x, y], "stack_idx": k}, …]}`` with x and y as shares
        (0 to 1) of the image's width and height, and the number of the slice in focus. Three or more.
    reference
        The image and its slices' depths.
    where
        Name for messages.

    Raises
    ------
    LocationError
        If there are fewer than three points, points on one line, or slices that are not in the stack.
    """
    try:
        given = [p for p in points["points"] if p]
        xy = np.array([p["coords"] for p in given], dtype=float).reshape(len(given), 2)
        slices = np.array([p["stack_idx"] for p in given], dtype=int)
    except (KeyError, TypeError, ValueError) as error:
        raise bad_points(
            where, "points", "coords [x, y] and stack_idx", f"{type(error).__name__}: {error}", "Mark the points again"
        ) from None
    if len(given) < 3:
        raise bad_points(where, "points", "three points in focus on the surface", f"{len(given)}", "Mark three points")
    if not np.isfinite(xy).all() or (xy < 0).any() or (xy > 1).any():
        raise bad_points(
            where, "coords", "shares of width and height, 0 to 1", f"{xy.tolist()}", "Mark the points again"
        )
    if slices.min() < 0 or slices.max() >= len(reference.z_um):
        raise bad_points(
            where,
            "stack_idx",
            f"slices 0 to {len(reference.z_um) - 1}",
            f"{slices.tolist()}",
            "Mark the points again in this stack",
        )
    at = reference.to_um(xy[:, ::-1] * (np.array(reference.shape) - 1))
    if flatness(at) < FLAT:
        raise bad_points(where, "coords", "points that span an area", "points on one line", "Mark a point off the line")
    z = np.array(reference.z_um)[slices]
    a, b, c = np.linalg.lstsq(np.c_[np.ones(len(at)), at], z, rcond=None)[0]
    return SurfaceTilt(float(a), float(b), float(c))


def below_surface(found: Projection, meta: ImagingMetadata, window: WindowedAtlas, tilt: SurfaceTilt) -> Projection:
    """Move pixels from the surface to the depth they were imaged at, along the inward normal.

    The depth is that of the FOV's z below the surface plane, which is tilted against the optical axis. Ids are looked
    up there.

    Raises
    ------
    LocationError
        If a FOV's z is not known.

    Warns
    -----
    MesoWarning
        If part of a FOV lies above the surface plane; its depth counts as 0.
    """
    normal = window.plane.normal
    mlapdv, ids, records = {}, {}, []
    for fov in fov_geometries(meta):
        if fov.z is None:
            raise LocationError.at(
                    "imaging metadata", field=f"FOV[{fov.fov}].Zs", expected="the FOV's depth, µm", found="none",
                    remedy=f"Extract the metadata again, or move {FOCUS_FILE} away",
                )  # fmt: skip
        depth = tilt.depth_um(fov_objective_um(meta, fov.fov), fov.z)
        if (above := float((depth < 0).mean())) > 0:
            warnings.warn(
                f"{fov_name(fov.fov)}: {above:.0%} of the pixels lie above the surface (z {fov.z:g} µm). "
                f"Their depth is set to 0. Check the points in {FOCUS_FILE}",
                MesoWarning,
                stacklevel=2,
            )
        at = found.mlapdv[fov.fov] - np.clip(depth, 0, None)[..., None] * normal
        _, region = first_area(window.grid, at.reshape(-1, 3), normal, within_um=LOOK_ON_UM)
        ids[fov.fov] = region.reshape(depth.shape)
        at[ids[fov.fov] == 0] = np.nan
        mlapdv[fov.fov] = at
        record = fov_location(fov, at, ids[fov.fov])
        records.append(replace(record, depth_um=float(depth.mean()), fraction_above=above))
    locations = replace(found.locations, fovs=tuple(records), tilt_deg=tilt.angle_deg)
    return Projection(mlapdv, ids, locations, found.dorsal)
