"""Locations from named points of the reference image.

What belongs here: reading and fitting points, and FUNCTIONAL and LANDMARK locations. What does not: points in focus on
the surface (``depth``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LocationError
from ...session.imaging import ImagingMetadata
from ..project.geometry import fov_geometries
from ..project.projection import Pixels, Projection, collect
from ..provenance import Provenance
from ..records import PointFitRecord
from ..surface.dorsal import dorsal_map
from ..surface.window import WindowedAtlas
from .reference_image import ReferenceImage, fov_objective_um, read_object

Floats = NDArray[np.float64]
#: Kinds of transform.
KINDS = ("affine", "thin_plate")
#: Points nearer to one line than this share of their spread do not span an image.
FLAT = 0.01


@dataclass(frozen=True, slots=True)
class PointFit:
    """A transform from reference image pixels to ML and AP, with how well it fits."""

    #: Maps pixels y, x (n, 2) to ML, AP (n, 2) in µm from bregma.
    transform: Callable[[Floats], Floats]
    record: PointFitRecord


def fit_points(points: Mapping[str, Any], *, kind: str = "affine", where: str | Path = "points") -> PointFit:
    """Fit the transform from named points.

    Parameters
    ----------
    points
        ``{"image": [[y, x], …], "mlap": [[ml, ap], …]}``: pixels of the reference image and µm from bregma;
        optionally ``"names"``.
    kind
        ``affine`` (3 points or more, least squares) or ``thin_plate`` (4 or more, through every point).
    where
        Name for messages.

    Returns
    -------
    PointFit

    Raises
    ------
    LocationError
        If there are too few points, equal points, points on one line, coordinates that are not in µm, or names for some
        points only.
    """
    image, mlap = _checked(points, where)
    names = tuple(str(n) for n in points.get("names", range(1, len(image) + 1)))
    if len(names) != len(image):
        raise bad_points(
            where, "names", f"{len(image)} names, one per point", f"{len(names)}", "Name all points, or none"
        )
    if kind not in KINDS:
        raise LocationError.at(
            where, field="kind", expected=" or ".join(KINDS), found=repr(kind), remedy="Choose one of them"
        )
    needed = 3 if kind == "affine" else 4
    if len(image) < needed:
        raise bad_points(
            where, "image", f"at least {needed} points for a {kind} transform", f"{len(image)}", "Add points"
        )
    fit = _affine if kind == "affine" else _thin_plate
    transform = fit(image, mlap)
    if kind == "affine":
        residuals = np.linalg.norm(transform(image) - mlap, axis=1)
    else:
        residuals = np.array([_left_out(fit, image, mlap, k) for k in range(len(image))])
    return PointFit(transform, PointFitRecord(kind, names, tuple(residuals.tolist())))


def load_points(path: Path, *, kind: str = "affine") -> PointFit:
    """Fit the points of a JSON file, as :func:`fit_points` describes them."""
    return fit_points(read_object(path), kind=kind, where=path)


def _left_out(
    fit: Callable[[Floats, Floats], Callable[[Floats], Floats]], image: Floats, mlap: Floats, k: int
) -> float:
    rest = np.arange(len(image)) != k
    if flatness(image[rest]) < FLAT:
        return float("nan")
    return float(np.linalg.norm(fit(image[rest], mlap[rest])(image[k : k + 1])[0] - mlap[k]))


def _affine(image: Floats, mlap: Floats) -> Callable[[Floats], Floats]:
    matrix, *_ = np.linalg.lstsq(np.c_[image, np.ones(len(image))], mlap, rcond=None)
    return lambda yx: np.c_[yx, np.ones(len(yx))] @ matrix


def _thin_plate(image: Floats, mlap: Floats) -> Callable[[Floats], Floats]:
    from scipy.interpolate import RBFInterpolator

    spline = RBFInterpolator(image, mlap, kernel="thin_plate_spline", degree=1)

    def transform(yx: Floats) -> Floats:
        at: Floats = spline(yx)
        return at

    return transform


def flatness(points: Floats) -> float:
    """Return how far points are from one line: least spread over largest, 0 on a line."""
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return float(spread[1] / spread[0]) if spread[0] > 0 else 0.0


def bad_points(where: str | Path, field: str, expected: str, found: str, remedy: str) -> LocationError:
    """Make the error for a file of points."""
    return LocationError.at(where, field=field, expected=expected, found=found, remedy=remedy)


def _checked(points: Mapping[str, Any], where: str | Path) -> tuple[Floats, Floats]:
    arrays = []
    for field, unit in (("image", "pixels y, x"), ("mlap", "µm ML, AP")):
        try:
            value = np.array(points[field], dtype=float)
        except (KeyError, TypeError, ValueError) as error:
            raise bad_points(
                where, field, f"a list of {unit}", f"{type(error).__name__}: {error}", "Correct the file"
            ) from None
        if value.ndim != 2 or value.shape[1] != 2 or not np.isfinite(value).all():
            raise bad_points(where, field, f"finite {unit} per point", f"shape {value.shape}", "Correct the file")
        arrays.append(value)
    image, mlap = arrays
    if len(image) != len(mlap):
        raise bad_points(
            where, "mlap", f"{len(image)} points, as in image", f"{len(mlap)}", "Give one ML, AP for each point"
        )
    if len(np.unique(image, axis=0)) < len(image):
        raise bad_points(where, "image", "different points", "a point twice", "Remove one of the two")
    for field, value in (("image", image), ("mlap", mlap)):
        if len(value) > 2 and flatness(value) < FLAT:
            raise bad_points(where, field, "points that span an area", "points on one line", "Add a point off the line")
    if np.abs(mlap).max() < 20 or np.abs(mlap).max() > 1e4:
        guess = "mm" if np.abs(mlap).max() < 20 else "neither µm nor mm"
        raise bad_points(
            where, "mlap", "µm from bregma", f"values up to {np.abs(mlap).max():g}: {guess}", "Convert to µm"
        )
    return image, mlap


def locate_from_points(
    meta: ImagingMetadata, window: WindowedAtlas, reference: ReferenceImage, fit: PointFit, provenance: Provenance
) -> Projection:
    """Locate FOVs by a transform from reference image pixels to ML and AP (FUNCTIONAL or LANDMARK).

    DV and the area are those of the first area below each (ML, AP).
    """
    dorsal = dorsal_map(window.grid)

    def locate(fov: int) -> Pixels:
        yx = reference.to_pixels(fov_objective_um(meta, fov))
        mlap = fit.transform(yx.reshape(-1, 2)).reshape(yx.shape)
        dv, ids = dorsal.at(mlap)
        at = np.concatenate([mlap, dv[..., None]], axis=-1)
        at[np.isnan(dv)] = np.nan
        return at, ids

    fovs = fov_geometries(meta)
    return collect(provenance, window, fovs, [locate(fov.fov) for fov in fovs], fit=fit.record, dorsal=dorsal)
