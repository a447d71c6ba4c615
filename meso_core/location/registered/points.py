"""Named points of the reference image: a transform from pixels to ML and AP, and the tilt of the brain's surface.

What belongs here: reading and fitting points. What does not: what FOVs make of it
(:mod:`meso_core.location.registered.locate`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LocationError, problem
from .reference_image import ReferenceImage, read_json

Floats = NDArray[np.float64]
#: Kinds of transform.
KINDS = ("affine", "thin_plate")
#: Points nearer to one line than this share of their spread do not span an image.
_FLAT = 0.01


@dataclass(frozen=True, slots=True)
class PointFit:
    """A transform from reference image pixels to ML and AP, with how well it fits."""

    kind: str
    #: Maps pixels y, x (n, 2) to ML, AP (n, 2) in µm from bregma.
    transform: Callable[[Floats], Floats]
    names: tuple[str, ...]
    #: Distance in µm between each point and where the transform puts it; for ``thin_plate``, which passes through
    #: all its points, where a transform fitted without that point puts it.
    residuals_um: tuple[float, ...]

    @property
    def rms_um(self) -> float:
        """Root mean square of the residuals, µm."""
        return float(np.sqrt(np.mean(np.square(self.residuals_um))))


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
        If there are too few points, points on one line or twice, or coordinates that are not in µm.
    """
    image, mlap = _checked(points, where)
    names = tuple(str(n) for n in points.get("names", range(1, len(image) + 1)))
    if kind not in KINDS:
        raise LocationError(
            problem(where, field="kind", expected=" or ".join(KINDS), found=repr(kind), remedy="Choose one of them")
        )
    needed = 3 if kind == "affine" else 4
    if len(image) < needed:
        raise _bad(where, "image", f"at least {needed} points for a {kind} transform", f"{len(image)}", "Add points")
    fit = _affine if kind == "affine" else _thin_plate
    transform = fit(image, mlap)
    if kind == "affine":
        residuals = np.linalg.norm(transform(image) - mlap, axis=1)
    else:
        residuals = np.array([_left_out(fit, image, mlap, k) for k in range(len(image))])
    return PointFit(kind, transform, names, tuple(residuals.tolist()))


def load_points(path: Path, *, kind: str = "affine") -> PointFit:
    """Fit the points of a JSON file, as :func:`fit_points` describes them."""
    return fit_points(read_json(path), kind=kind, where=path)


def _left_out(
    fit: Callable[[Floats, Floats], Callable[[Floats], Floats]], image: Floats, mlap: Floats, k: int
) -> float:
    rest = np.arange(len(image)) != k
    if flatness(image[rest]) < _FLAT:
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


def _bad(where: str | Path, field: str, expected: str, found: str, remedy: str) -> LocationError:
    return LocationError(problem(where, field=field, expected=expected, found=found, remedy=remedy))


def _checked(points: Mapping[str, Any], where: str | Path) -> tuple[Floats, Floats]:
    arrays = []
    for field, unit in (("image", "pixels y, x"), ("mlap", "µm ML, AP")):
        try:
            value = np.array(points[field], dtype=float)
        except (KeyError, TypeError, ValueError) as error:
            raise _bad(
                where, field, f"a list of {unit}", f"{type(error).__name__}: {error}", "Correct the file"
            ) from None
        if value.ndim != 2 or value.shape[1] != 2 or not np.isfinite(value).all():
            raise _bad(where, field, f"finite {unit} per point", f"shape {value.shape}", "Correct the file")
        arrays.append(value)
    image, mlap = arrays
    if len(image) != len(mlap):
        raise _bad(where, "mlap", f"{len(image)} points, as in image", f"{len(mlap)}", "Pair the points")
    if len(np.unique(image, axis=0)) < len(image):
        raise _bad(where, "image", "each point once", "a point twice", "Remove it")
    for field, value in (("image", image), ("mlap", mlap)):
        if len(value) > 2 and flatness(value) < _FLAT:
            raise _bad(where, field, "points that span an area", "points on one line", "Add a point off the line")
    if np.abs(mlap).max() < 20 or np.abs(mlap).max() > 1e4:
        guess = "mm" if np.abs(mlap).max() < 20 else "neither µm nor mm"
        raise _bad(where, "mlap", "µm from bregma", f"values up to {np.abs(mlap).max():g}: {guess}", "Convert to µm")
    return image, mlap


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
        If there are fewer than three points, points on one line, or slices that the stack has not.
    """
    try:
        given = [p for p in points["points"] if p]
        xy = np.array([p["coords"] for p in given], dtype=float).reshape(len(given), 2)
        slices = np.array([p["stack_idx"] for p in given], dtype=int)
    except (KeyError, TypeError, ValueError) as error:
        raise _bad(
            where, "points", "coords [x, y] and stack_idx", f"{type(error).__name__}: {error}", "Mark again"
        ) from None
    if len(given) < 3:
        raise _bad(where, "points", "three points in focus on the surface", f"{len(given)}", "Mark three points")
    if not np.isfinite(xy).all() or (xy < 0).any() or (xy > 1).any():
        raise _bad(where, "coords", "shares of width and height, 0 to 1", f"{xy.tolist()}", "Mark the points again")
    if slices.min() < 0 or slices.max() >= len(reference.z_um):
        raise _bad(
            where, "stack_idx", f"slices 0 to {len(reference.z_um) - 1}", f"{slices.tolist()}", "Check the stack"
        )
    at = reference.to_um(xy[:, ::-1] * (np.array(reference.shape) - 1))
    if flatness(at) < _FLAT:
        raise _bad(where, "coords", "points that span an area", "points on one line", "Mark a point off the line")
    z = np.array(reference.z_um)[slices]
    a, b, c = np.linalg.lstsq(np.c_[np.ones(len(at)), at], z, rcond=None)[0]
    return SurfaceTilt(float(a), float(b), float(c))
