"""Questions asked of every location, with thresholds.

What belongs here: QC of locations. What does not: how results are shown, and gates.
"""

from __future__ import annotations

import numpy as np

from ..qc import QCResult, Verdict
from .records import FovLocation, SessionLocations

_ORIGIN = "meso_core.location"
#: Share of pixels outside the brain that is tolerated, and that fails.
OUTSIDE = (0.02, 0.25)
#: Length in the brain over length on the coverslip: a surface that tilts against it stretches, nothing shrinks.
STRETCH = (0.9, 1.5)
#: Distance of a FOV's centre from the window's, µm: a 5 mm window ends at 2500.
DISTANCE_UM = (2500.0, 4000.0)
#: Root mean square of the residuals of fitted points, µm.
RESIDUAL_UM = 100.0
#: A 0.7 mm FOV spans a few areas (times layers where it tilts); many more mean a wrong scale.
AREAS = 25


def check_locations(locations: SessionLocations) -> tuple[QCResult, ...]:
    """Check where FOVs lie: inside the brain, of the right size, near the window, in a sensible number of areas.

    Returns
    -------
    tuple of QCResult
        Per FOV four checks; per session whether the atlas is a real one, and the fit of points if there is one.
    """
    results = [_atlas(locations)]
    if locations.fit is not None:
        residuals = np.array(locations.fit.residuals_um)
        rms = float(np.sqrt(np.nanmean(residuals**2)))
        worst = locations.fit.names[int(np.nanargmax(residuals))]
        message = f"Named points miss the fit by {rms:.0f} µm (root mean square), most of all {worst!r}."
        results.append(_result("points_fit", rms <= RESIDUAL_UM, rms, RESIDUAL_UM, message))
    for fov in locations.fovs:
        results += [_outside(fov), _size(fov), _areas(fov), _distance(fov, locations)]
    return tuple(results)


def _result(
    check: str, passed: bool, value: float | int | str, threshold: float | int | str, message: str,
    fov: FovLocation | None = None, otherwise: Verdict = Verdict.WARNING,
) -> QCResult:  # fmt: skip
    verdict = Verdict.PASS if passed else otherwise
    return QCResult(check, verdict, value, threshold, message, _ORIGIN, None if fov is None else fov.name)


def _atlas(locations: SessionLocations) -> QCResult:
    message = (
        "Made with the procedural phantom: no anatomy, never sent to Alyx. Set atlas to mri_toronto or allen."
        if locations.phantom
        else f"Located in {locations.atlas.caption}, frame {locations.frame.value}."
    )
    return _result("atlas_is_anatomy", not locations.phantom, locations.atlas.name, "a real brain", message)


def _outside(fov: FovLocation) -> QCResult:
    share = fov.fraction_outside
    verdict = Verdict.FAIL if share > OUTSIDE[1] else Verdict.WARNING
    message = f"{share:.1%} of the pixels miss the brain; check centerMM and the FOV's corners if many do."
    return _result("fov_inside_brain", share <= OUTSIDE[0], share, OUTSIDE[0], message, fov, verdict)


def _size(fov: FovLocation) -> QCResult:
    tl, tr, bl, br = fov.corners_um
    height = np.array([np.linalg.norm(bl - tl), np.linalg.norm(br - tr)])
    width = np.array([np.linalg.norm(tr - tl), np.linalg.norm(br - bl)])
    if not (np.isfinite(height).any() and np.isfinite(width).any()):
        return _result("fov_size", False, "corners outside the brain", STRETCH[1], "Size cannot be told.", fov)
    stretch = (float(np.nanmean(height)) / fov.size_mm[0] / 1e3, float(np.nanmean(width)) / fov.size_mm[1] / 1e3)
    value = max(stretch) if max(stretch) > STRETCH[1] else min(stretch)
    message = f"Lengths in the brain are {stretch[0]:.2f} (rows) and {stretch[1]:.2f} (columns) times the FOV's mm."
    return _result(
        "fov_size", STRETCH[0] <= min(stretch) and max(stretch) <= STRETCH[1], value, STRETCH[1], message, fov
    )


def _areas(fov: FovLocation) -> QCResult:
    number = len([i for i in fov.brain_location_ids if i not in (0, 997)])
    message = f"{number} brain regions in this FOV."
    return _result("fov_number_of_areas", 1 <= number <= AREAS, number, AREAS, message, fov)


def _distance(fov: FovLocation, locations: SessionLocations) -> QCResult:
    center = fov.center_um if np.isfinite(fov.center_um).all() else _finite(fov.corners_um).mean(axis=0)
    away = float(np.linalg.norm((center - locations.window.center_um)[:2]))
    verdict = Verdict.FAIL if not away <= DISTANCE_UM[1] else Verdict.WARNING
    message = f"Centre {away / 1e3:.2f} mm from the window's centre; a 5 mm window ends at 2.5 mm."
    return _result("fov_near_window", away <= DISTANCE_UM[0], away, DISTANCE_UM[0], message, fov, verdict)


def _finite(corners: np.ndarray) -> np.ndarray:
    some = corners[np.isfinite(corners).all(axis=1)]
    return some if len(some) else np.full((1, 3), np.inf)
