"""Checks of locations.

What belongs here: QC of locations. What does not: how results are shown, and gates.
"""

from __future__ import annotations

import numpy as np

from ..qc import QCResult, Verdict, judge, judged
from .atlas.grid import ROOT_ID
from .records import FovLocation, SessionLocations

_ORIGIN = "meso_core.location"
#: Length in the brain over length on the coverslip. A tilted surface makes it larger; nothing makes it smaller.
STRETCH = (0.9, 1.5)
#: A 0.7 mm FOV holds a few areas (times layers, if it is tilted); many more are a sign of a wrong scale.
AREAS = 25


def check_locations(locations: SessionLocations) -> tuple[QCResult, ...]:
    """Check that FOVs lie inside the brain, near the window, have the right size and a plausible number of areas.

    Returns
    -------
    tuple of QCResult
        Four checks per FOV; per session one of the atlas, and one of the fit if points were fitted.
    """
    results = [_atlas(locations)]
    if locations.fit is not None:
        residuals = np.array(locations.fit.residuals_um)
        rms = float(np.sqrt(np.nanmean(residuals**2)))
        worst = locations.fit.names[int(np.nanargmax(residuals))]
        message = (
            f"Named points are {rms:.0f} µm from the fit (root mean square). Check {worst!r} first: it is furthest."
        )
        results.append(judge("points_fit", rms, message, _ORIGIN))
    for fov in locations.fovs:
        results += [_outside(fov), _size(fov), _areas(fov), _distance(fov, locations)]
    return tuple(results)


def _result(
    check: str, passed: bool, value: float | int | str, threshold: float | int | str, message: str,
    fov: FovLocation | None = None,
) -> QCResult:  # fmt: skip
    verdict = Verdict.PASS if passed else Verdict.WARNING
    return QCResult(check, verdict, value, threshold, message, _ORIGIN, None if fov is None else fov.name)


def _atlas(locations: SessionLocations) -> QCResult:
    message = (
        "Located in the made-up phantom brain, so this is no anatomy. Set atlas to mri_toronto or allen."
        if locations.phantom
        else f"Located in {locations.atlas.caption}, frame {locations.frame.value}."
    )
    return _result("atlas_is_anatomy", not locations.phantom, locations.atlas.name, "a real brain", message)


def _outside(fov: FovLocation) -> QCResult:
    share = fov.fraction_outside
    message = f"{share:.1%} of the pixels miss the brain. If there are many, check centerMM and the FOV's corners."
    return judge("fov_inside_brain", share, message, _ORIGIN, fov.name)


def _size(fov: FovLocation) -> QCResult:
    tl, tr, bl, br = fov.corners_um
    height = np.array([np.linalg.norm(bl - tl), np.linalg.norm(br - tr)])
    width = np.array([np.linalg.norm(tr - tl), np.linalg.norm(br - bl)])
    if not (np.isfinite(height).any() and np.isfinite(width).any()):
        message = "The corners miss the brain, so the size is not known. Check centerMM and the FOV's corners."
        return _result("fov_size", False, "corners outside the brain", STRETCH[1], message, fov)
    stretch = (float(np.nanmean(height)) / fov.size_mm[0] / 1e3, float(np.nanmean(width)) / fov.size_mm[1] / 1e3)
    value = max(stretch) if max(stretch) > STRETCH[1] else min(stretch)
    message = (
        f"Lengths in the brain are {stretch[0]:.2f} (rows) and {stretch[1]:.2f} (columns) times those on the "
        "coverslip. If they differ much, check the objective's µm per degree."
    )
    return _result(
        "fov_size", STRETCH[0] <= min(stretch) and max(stretch) <= STRETCH[1], value, STRETCH[1], message, fov
    )


def _areas(fov: FovLocation) -> QCResult:
    number = len(set(fov.brain_location_ids) - {0, ROOT_ID})
    message = f"{number} brain regions in this FOV. If there are far too many, check the FOV's size."
    return _result("fov_number_of_areas", 1 <= number <= AREAS, number, AREAS, message, fov)


def _distance(fov: FovLocation, locations: SessionLocations) -> QCResult:
    center = fov.center_um if np.isfinite(fov.center_um).all() else _finite(fov.corners_um).mean(axis=0)
    away = float(np.linalg.norm((center - locations.window.center_um)[:2]))
    message = (
        f"The centre is {away / 1e3:.2f} mm from the window's. A 5 mm window ends at 2.5 mm: if it is far, check both."
    )
    if not np.isfinite(away):
        return judged(QCResult("fov_near_window", Verdict.FAIL, None, None, message, _ORIGIN, fov.name))
    return judge("fov_near_window", away, message, _ORIGIN, fov.name)


def _finite(corners: np.ndarray) -> np.ndarray:
    some = corners[np.isfinite(corners).all(axis=1)]
    return some if len(some) else np.full((1, 3), np.inf)
