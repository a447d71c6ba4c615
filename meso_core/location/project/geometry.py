"""Where FOVs lie on the coverslip, as the imaging metadata say.

What belongs here: reading and checking ``centerMM`` and each FOV's corners. What does not: the brain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MetadataError, problem
from ...scanimage.metadata.fields import check_fields
from ...session import fov_name

#: Order of a FOV's corners in every array of this package (and in Alyx' FOV locations).
CORNERS = ("topLeft", "topRight", "bottomLeft", "bottomRight")
_WHERE = "imaging metadata"
#: A mouse brain from bregma, generously: |ML|, and AP behind and in front, mm.
_REACH_MM = (7.0, 9.0)
#: Below this a centre is taken for metres: nobody drills a window to 10 µm, and the brain ends at 0.009 m.
_METRES = 0.0095
#: Deviation from a parallelogram that is tolerated, as a fraction of the longer diagonal.
_SKEW = 0.01


@dataclass(frozen=True, slots=True)
class FovGeometry:
    """One FOV on the coverslip."""

    fov: int
    #: ML and AP in mm from bregma of the four corner pixels, in the order of :data:`CORNERS`, shape (4, 2).
    corners_mm: NDArray[np.float64]
    #: Rows and columns of the image.
    ny: int
    nx: int
    #: Lateral planes share one outline; ScanImage's ROI and z say which plane this is.
    roi_uuid: str
    z: float | None

    @property
    def size_mm(self) -> tuple[float, float]:
        """Height (along rows) and width (along columns) in mm."""
        tl, tr, bl, _ = self.corners_mm
        return float(np.linalg.norm(bl - tl)), float(np.linalg.norm(tr - tl))


def window_center_mm(meta: Mapping[str, Any]) -> NDArray[np.float64]:
    """ML and AP of the window's centre in mm from bregma.

    Raises
    ------
    MetadataError
        If ``centerMM`` is missing, not finite, or not plausible in mm.
    """
    center = meta.get("centerMM")
    found = sorted(center) if isinstance(center, Mapping) else repr(center)
    if not isinstance(center, Mapping) or "ML" not in center or "AP" not in center:
        raise _bad("centerMM", "keys ML and AP, mm from bregma", f"{found}", "Add the window's centre as drilled")
    try:
        at = np.array([float(center["ML"]), float(center["AP"])])
    except (TypeError, ValueError, OverflowError):
        at = np.full(2, np.nan)
    if not np.isfinite(at).all():
        raise _bad("centerMM", "two numbers", f"ML {center['ML']}, AP {center['AP']}", "Enter the window's centre")
    _plausible_mm("centerMM", at[np.newaxis])
    if at.any() and np.abs(at).max() < _METRES:
        raise _bad(
            "centerMM", "mm from bregma", f"ML {at[0]:g}, AP {at[1]:g}, which look like metres", "Multiply them by 1000"
        )
    return at


def _plausible_mm(field: str, at: NDArray[np.float64]) -> None:
    beyond = (np.abs(at) > _REACH_MM).any(axis=1)
    if not beyond.any():
        return
    worst = at[beyond][0]
    size = float(np.abs(worst).max())
    guess = "µm" if size > 100 else "degrees of the scanner, or AP and ML exchanged"
    raise _bad(
        field,
        f"mm from bregma (|ML| up to {_REACH_MM[0]:g}, |AP| up to {_REACH_MM[1]:g})",
        f"{worst.tolist()}, which look like {guess}",
        "Enter mm: ML positive to the right, AP positive to the front",
    )


def fov_geometries(meta: Mapping[str, Any]) -> tuple[FovGeometry, ...]:
    """Read and check every FOV's outline.

    Raises
    ------
    MetadataError
        If there are no FOVs, or one's corners are missing, not finite, not in mm, no parallelogram, or span no area.
    """
    fovs = _fovs(meta)
    return tuple(_geometry(i, fov) for i, fov in enumerate(fovs))


def _fovs(meta: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    fovs = meta.get("FOV")
    if not isinstance(fovs, Sequence) or not fovs or not all(isinstance(fov, Mapping) for fov in fovs):
        raise _bad("FOV", "a list of fields of view", repr(fovs), "Extract the metadata again")
    check_fields({"FOV": fovs}, _WHERE, ())
    return fovs


def _geometry(i: int, fov: Mapping[str, Any]) -> FovGeometry:
    nx, ny = _pixels(i, fov)
    corners = _corners(i, fov, "MM")
    field = f"FOV[{i}].MM"
    if "Deg" in fov and np.allclose(corners, _corners(i, fov, "Deg"), rtol=0, atol=1e-9) and corners.any():
        raise _bad(field, "corners in mm", "the same numbers as Deg: degrees of the scanner", "Apply coordsTF to Deg")
    _plausible_mm(field, corners)
    tl, tr, bl, br = corners
    diagonal = max(float(np.linalg.norm(br - tl)), float(np.linalg.norm(bl - tr)))
    skew = float(np.linalg.norm(tl + br - tr - bl))
    area = abs(float((tr - tl)[0] * (bl - tl)[1] - (tr - tl)[1] * (bl - tl)[0]))
    if area == 0 or diagonal < 0.005:
        raise _bad(
            field,
            "four corners in mm that span an area",
            f"a FOV of {np.linalg.norm(bl - tl):g} by {np.linalg.norm(tr - tl):g} (area {area:g})",
            "Check the ROI in ScanImage; values below 0.005 are usually metres",
        )
    if skew > _SKEW * diagonal:
        raise _bad(
            field,
            "a parallelogram (topLeft + bottomRight = topRight + bottomLeft)",
            f"corners {corners.tolist()} that miss it by {skew:g} mm",
            "Check the order and the values of the corners",
        )
    z = np.ravel(fov.get("Zs", np.nan)).astype(float)
    return FovGeometry(
        i, corners, ny, nx, str(fov.get("roiUUID", "")), float(z[0]) if np.isfinite(z[:1]).all() else None
    )


def fov_corners_deg(meta: Mapping[str, Any]) -> NDArray[np.float64]:
    """Corners of all FOVs in degrees of the scanner (x, y), shape (n_fovs, 4, 2), in the order of :data:`CORNERS`."""
    fovs = _fovs(meta)
    for i, fov in enumerate(fovs):
        _pixels(i, fov)
    return np.array([_corners(i, fov, "Deg") for i, fov in enumerate(fovs)])


def _pixels(i: int, fov: Mapping[str, Any]) -> tuple[int, int]:
    n = fov.get("nXnYnZ")
    if not isinstance(n, Sequence) or len(n) < 2 or not all(float(k) == int(k) and k > 1 for k in n[:2]):
        raise _bad(
            f"FOV[{i}].nXnYnZ", "numbers of columns, rows and planes, at least 2 by 2 pixels", repr(n), "Correct it"
        )
    return int(n[0]), int(n[1])


def _corners(i: int, fov: Mapping[str, Any], key: str) -> NDArray[np.float64]:
    given = fov.get(key)
    field = f"FOV[{i}].{key}"
    if not isinstance(given, Mapping) or not set(CORNERS) <= set(given):
        raise _bad(field, f"the corners {', '.join(CORNERS)}", repr(given), "Extract the metadata again")
    try:
        corners = np.array([[float(v) for v in given[c]] for c in CORNERS])
    except (TypeError, ValueError, OverflowError):
        corners = np.full((4, 2), np.nan)
    if corners.shape != (4, 2) or not np.isfinite(corners).all():
        raise _bad(field, "two finite numbers (ML, AP) per corner", repr(given), "Correct the FOV's coordinates")
    return corners


def _bad(field: str, expected: str, found: str, remedy: str) -> MetadataError:
    fov = field.split("]")[0].removeprefix("FOV[") if field.startswith("FOV[") else ""
    where = f"{_WHERE} of {fov_name(int(fov))}" if fov else _WHERE
    return MetadataError(problem(where, field=field, expected=expected, found=found, remedy=remedy))
