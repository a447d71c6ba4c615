"""Where FOVs lie on the coverslip, as the imaging metadata say.

What belongs here: whether the window's centre and the FOVs' corners are possible in a mouse, and their outlines. What
does not: the brain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import MetadataError
from ...session import fov_name
from ...session.imaging import Fov, ImagingMetadata

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
    #: ML and AP in mm from bregma of the four corner pixels, shape (4, 2): top left, top right,
    #: bottom left, bottom right.
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


def window_center_mm(meta: ImagingMetadata) -> NDArray[np.float64]:
    """ML and AP of the window's centre in mm from bregma.

    Raises
    ------
    MetadataError
        If ``centerMM`` is not plausible in mm.
    """
    at = np.array([meta.window.ml_mm, meta.window.ap_mm])
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


def fov_geometries(meta: ImagingMetadata) -> tuple[FovGeometry, ...]:
    """Check every FOV's outline.

    Raises
    ------
    MetadataError
        If the corners of a FOV are not in mm, are no parallelogram, or span no area.
    """
    return tuple(_geometry(fov) for fov in meta.fovs)


def _geometry(fov: Fov) -> FovGeometry:
    corners, field = fov.mm.as_array(), f"FOV[{fov.index}].MM"
    if min(fov.shape) < 2:
        found = f"{fov.nx} columns and {fov.ny} rows"
        raise _bad(f"FOV[{fov.index}].nXnYnZ", "at least 2 by 2 pixels", found, "Correct it")
    if np.allclose(corners, fov.deg.as_array(), rtol=0, atol=1e-9) and corners.any():
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
    z = fov.depths_um[0] if fov.depths_um else None
    return FovGeometry(fov.index, corners, fov.ny, fov.nx, fov.roi_uuid or "", z)


def _bad(field: str, expected: str, found: str, remedy: str) -> MetadataError:
    fov = field.split("]")[0].removeprefix("FOV[") if field.startswith("FOV[") else ""
    where = f"{_WHERE} of {fov_name(int(fov))}" if fov else _WHERE
    return MetadataError.at(where, field=field, expected=expected, found=found, remedy=remedy)
