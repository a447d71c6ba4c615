"""Locations as a file: ``fovs.locations.json``.

What belongs here: writing and reading locations as JSON. What does not: what they mean (``records``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputFileError
from ..json_text import json_text
from ..opening import TABLE_BYTES, read_json
from ..session.imaging import CORNERS
from .atlas.grid import AtlasInfo
from .provenance import Provenance
from .records import FovLocation, PointFitRecord, SessionLocations
from .settings import Frame, NormalRule
from .surface.window import WindowPlane

#: Name of the file below ``alf/``.
LOCATIONS_FILE = "fovs.locations.json"
_VERSION = 1
_ATLAS_FIELDS = ("name", "resolution_um", "sha256", "source")


def locations_to_json(locations: SessionLocations) -> str:
    """Make the text of ``fovs.locations.json``; NaN is written as null."""
    content = {
        "version": _VERSION,
        "provenance": locations.provenance.name,
        "phantom": locations.phantom,
        "unit": "um",
        "frame": locations.frame.value,
        "atlas": {field: getattr(locations.atlas, field) for field in _ATLAS_FIELDS},
        "window": {
            "center_mlapdv": _plain(locations.window.center_um),
            "surface_normal_unit_vector": _plain(locations.window.normal),
            "normal_rule": locations.window.rule.value,
        },
        "fit": None if locations.fit is None else _fit_to_dict(locations.fit),
        "tilt_deg": locations.tilt_deg,
        "fovs": [_fov_to_dict(f) for f in locations.fovs],
    }
    return json_text(content, indent=1) + "\n"


def read_locations(path: Path) -> SessionLocations:
    """Read ``fovs.locations.json``.

    Raises
    ------
    MissingInputError, InputFileError
        If it is not there, or is damaged.
    """
    content = read_json(path, "Run mean_image_mlapdv again", TABLE_BYTES)
    try:
        window = content["window"]
        return SessionLocations(
            Provenance[content["provenance"]],
            AtlasInfo(**{k: content["atlas"][k] for k in _ATLAS_FIELDS}, phantom=content["phantom"]),
            Frame(content["frame"]),
            WindowPlane(
                _array(window["center_mlapdv"]),
                _array(window["surface_normal_unit_vector"]),
                NormalRule(window["normal_rule"]),
            ),
            tuple(_fov_from_dict(f) for f in content["fovs"]),
            None if content["fit"] is None else _fit_from_dict(content["fit"]),
            content["tilt_deg"],
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputFileError.at(
            path,
            expected=f"{LOCATIONS_FILE}, version {_VERSION}",
            found=f"{type(error).__name__}: {error}",
            remedy="Run mean_image_mlapdv again",
        ) from error


def _fit_to_dict(fit: PointFitRecord) -> dict[str, Any]:
    residuals = _plain(np.array(fit.residuals_um, dtype=float))
    return {"kind": fit.kind, "names": list(fit.names), "residuals_um": residuals}


def _fit_from_dict(content: Mapping[str, Any]) -> PointFitRecord:
    return PointFitRecord(content["kind"], tuple(content["names"]), tuple(_array(content["residuals_um"]).tolist()))


def _fov_to_dict(fov: FovLocation) -> dict[str, Any]:
    places = (*CORNERS, "center")
    return {
        "name": fov.name,
        "index": fov.fov,
        "shape": list(fov.shape),
        "MLAPDV": dict(zip(places, [*map(_plain, fov.corners_um), _plain(fov.center_um)], strict=True)),
        "brainLocationIds": dict(zip(places, [*fov.corner_ids, fov.center_id], strict=True)),
        "allBrainLocationIds": list(fov.brain_location_ids),
        "fractionOutside": fov.fraction_outside,
        "sizeMM": list(fov.size_mm),
        "roiUUID": fov.roi_uuid,
        "z": fov.z,
        "depth_um": fov.depth_um,
        "fractionAbove": fov.fraction_above,
    }


def _fov_from_dict(content: Mapping[str, Any]) -> FovLocation:
    at, ids = content["MLAPDV"], content["brainLocationIds"]
    a, b, c, d = (int(ids[k]) for k in CORNERS)
    ny, nx = content["shape"]
    height, width = content["sizeMM"]
    return FovLocation(
        content["index"],
        (ny, nx),
        np.array([_array(at[k]) for k in CORNERS]),
        (a, b, c, d),
        _array(at["center"]),
        int(ids["center"]),
        tuple(content["allBrainLocationIds"]),
        content["fractionOutside"],
        (height, width),
        content["roiUUID"],
        content["z"],
        content["depth_um"],
        content["fractionAbove"],
    )


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(v) else v for v in values.tolist()]


def _array(values: list[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if v is None else v for v in values], dtype=float)
