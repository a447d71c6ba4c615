"""What is kept of a projection: per FOV the corners and the centre, and how they were found.

What belongs here: the records, and ``fovs.locations.json``. What does not: arrays of pixels (ALF datasets), and the
computing.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputFileError, LocationError, MissingInputError, problem
from ..session import fov_name
from ..storage.hashing import write_atomically
from .atlas.loading import AtlasInfo
from .atlas.mesh import WindowPlane
from .project.geometry import CORNERS, FovGeometry
from .provenance import Provenance
from .settings import Frame, NormalRule

#: Name of the file below ``alf/``.
LOCATIONS_FILE = "fovs.locations.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class PointFitRecord:
    """How named points were fitted (FUNCTIONAL and LANDMARK locations)."""

    kind: str
    names: tuple[str, ...]
    #: Distance in µm between each point and its fit.
    residuals_um: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FovLocation:
    """Where one FOV lies in the brain."""

    fov: int
    #: (rows, columns) of the image.
    shape: tuple[int, int]
    #: MLAPDV in µm of the corner pixels, shape (4, 3): topLeft, topRight, bottomLeft, bottomRight; NaN off the brain.
    corners_um: NDArray[np.float64]
    #: Allen ids of the corner pixels, in the same order.
    corner_ids: tuple[int, int, int, int]
    #: MLAPDV in µm of the centre pixel (``round(n / 2) - 1`` along both axes), shape (3,).
    center_um: NDArray[np.float64]
    center_id: int
    #: All Allen ids in the FOV, sorted.
    brain_location_ids: tuple[int, ...]
    #: Share of pixels that miss the brain, 0 to 1.
    fraction_outside: float
    #: Height and width of the FOV on the coverslip, mm.
    size_mm: tuple[float, float]
    #: ScanImage's ROI (FOVs of one ROI at several depths form a stack) and depth.
    roi_uuid: str
    z: float | None
    #: Mean depth below the brain's surface, µm, and share of pixels above it; None where the tilt is not known.
    depth_um: float | None = None
    fraction_above: float | None = None

    @property
    def name(self) -> str:
        """Name of the ALF folder, as in ``FOV_00``."""
        return fov_name(self.fov)


@dataclass(frozen=True, slots=True)
class SessionLocations:
    """Where the FOVs of a session lie, and how that was found."""

    provenance: Provenance
    atlas: AtlasInfo
    frame: Frame
    #: Centre and unit normal of the window (the craniotomy).
    window: WindowPlane
    fovs: tuple[FovLocation, ...]
    #: Fit of named points, where these were used.
    fit: PointFitRecord | None = None
    #: Angle between optical axis and surface normal, degrees, where points in focus were marked.
    tilt_deg: float | None = None

    @property
    def phantom(self) -> bool:
        """True if the brain is procedural: the numbers are no anatomy, and never go to Alyx."""
        return self.atlas.phantom

    def to_json(self) -> str:
        """Text of ``fovs.locations.json``; NaN is written as null."""
        content = {
            "version": _VERSION,
            "provenance": self.provenance.name,
            "phantom": self.phantom,
            "unit": "um",
            "frame": self.frame.value,
            "atlas": {
                "name": self.atlas.name,
                "resolution_um": self.atlas.resolution_um,
                "sha256": self.atlas.sha256,
                "source": self.atlas.source,
            },
            "window": {
                "center_mlapdv": _plain(self.window.center_um),
                "surface_normal_unit_vector": _plain(self.window.normal),
                "normal_rule": self.window.rule.value,
            },
            "fit": None if self.fit is None else _fit_to_dict(self.fit),
            "tilt_deg": self.tilt_deg,
            "fovs": [_fov_to_dict(f) for f in self.fovs],
        }
        return json.dumps(content, indent=1, allow_nan=False) + "\n"

    def write(self, alf_folder: Path) -> Path:
        """Write ``fovs.locations.json`` into a folder, whole or not at all; return its path."""
        path = Path(alf_folder) / LOCATIONS_FILE
        write_atomically(path, self.to_json().encode())
        return path


def add_to_meta(meta_path: Path, locations: SessionLocations) -> Path:
    """Put corners and centres into an imaging metadata file, for tools that look for them there.

    The file is read, ``MLAPDV`` and ``brainLocationIds`` are added to each FOV (null where a pixel misses the brain),
    and the new text replaces it by renaming. The rig's own file is kept beside it, with ``.rig`` appended, the first
    time.

    Parameters
    ----------
    meta_path
        ``_ibl_rawImagingData.meta.json``.
    locations
        Locations of the same FOVs.

    Returns
    -------
    Path
        The rig's file as it was.

    Raises
    ------
    LocationError
        If the FOVs are not those of the file, or the atlas is the phantom.
    MissingInputError, InputFileError
        If the file is missing or no JSON.
    """
    if not meta_path.is_file():
        raise MissingInputError(
            problem(meta_path, expected="imaging metadata", found="no such file", remedy="Check the path")
        )
    original, delivered = meta_path.read_bytes(), meta_path.stat()
    try:
        meta = json.loads(original)
        fovs = meta["FOV"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputFileError(
            problem(meta_path, expected="imaging metadata with FOV", found=str(error), remedy="Extract them again")
        ) from error
    if len(fovs) != len(locations.fovs) or locations.phantom:
        found = "the phantom atlas" if locations.phantom else f"{len(locations.fovs)} of them"
        raise LocationError(
            problem(
                meta_path, field="FOV", expected=f"locations of {len(fovs)} FOVs in a real atlas", found=found,
                remedy="Locate this session with a real atlas first",
            )
        )  # fmt: skip
    for fov, location in zip(fovs, locations.fovs, strict=True):
        values = _fov_to_dict(location)
        fov["MLAPDV"], fov["brainLocationIds"] = values["MLAPDV"], values["brainLocationIds"]
    kept = meta_path.with_name(meta_path.name + ".rig")
    if not kept.exists():
        write_atomically(kept, original)
        os.utime(kept, ns=(delivered.st_atime_ns, delivered.st_mtime_ns))
    write_atomically(meta_path, json.dumps(meta).encode())
    return kept


def read_locations(path: Path) -> SessionLocations:
    """Read ``fovs.locations.json`` back.

    Raises
    ------
    MissingInputError, InputFileError
        If it is not there, or is no such file.
    """
    if not path.is_file():
        raise MissingInputError(
            problem(path, expected="locations of the FOVs", found="no such file", remedy="Run mean_image_mlapdv")
        )
    try:
        content = json.loads(path.read_bytes())
        atlas, window = content["atlas"], content["window"]
        return SessionLocations(
            Provenance[content["provenance"]],
            AtlasInfo(atlas["name"], atlas["resolution_um"], atlas["sha256"], atlas["source"], content["phantom"]),
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
    except (ValueError, KeyError, TypeError) as error:
        raise InputFileError(
            problem(
                path,
                expected=f"{LOCATIONS_FILE}, version {_VERSION}",
                found=f"{type(error).__name__}: {error}",
                remedy="Run mean_image_mlapdv again",
            )
        ) from error


def fov_location(fov: FovGeometry, mlapdv: NDArray[np.float64], ids: NDArray[np.int64]) -> FovLocation:
    """Condense a FOV's pixels to its record."""
    center = (round(fov.ny / 2) - 1, round(fov.nx / 2) - 1)
    ends = np.ix_((0, -1), (0, -1))
    a, b, c, d = (int(i) for i in ids[ends].ravel())
    return FovLocation(
        fov.fov,
        (fov.ny, fov.nx),
        mlapdv[ends].reshape(4, 3),
        (a, b, c, d),
        mlapdv[center],
        int(ids[center]),
        tuple(int(i) for i in np.unique(ids)),
        float(np.isnan(mlapdv[..., 0]).mean()),
        fov.size_mm,
        fov.roi_uuid,
        fov.z,
    )


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
