"""From ScanImage's ROIs and depths to fields of view.

What belongs here: which ROI is imaged at which slice, where its corners are and which lines of a page it has. What
does not: the other fields of the metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import MetadataError, brief, problem
from ...matlab import as_list
from ..scanner import fly_to_lines, stack_frames
from .fields import is_number

_CORNERS = {"topLeft": (-1, -1), "topRight": (1, -1), "bottomLeft": (-1, 1), "bottomRight": (1, 1)}


class SiHeader:
    """Parsed header whose errors name the missing field.

    Parameters
    ----------
    values
        As :func:`~meso_core.scanimage.tiff.pages.header.parse_si_header` gives them.
    where
        File that they are from, for messages.
    """

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values, self.where = values, where

    def get(self, name: str, default: object = None) -> object:
        """Value of ``SI.name``, or the default."""
        return self.values.get("SI." + name, default)

    def number(self, name: str) -> float:
        """Value of ``SI.name``, which must be a finite number."""
        value = self[name]
        if not is_number(value):
            raise self.wrong("SI." + name, "a number", brief(value))
        return float(value)

    def __getitem__(self, name: str) -> object:
        try:
            return _flat(self.values["SI." + name])
        except KeyError:
            raise self.wrong("SI." + name, "a value", "none") from None

    def wrong(self, name: str, expected: str, found: str) -> MetadataError:
        """Make the error for a field that cannot be."""
        remedy = "Check that the tif is of a mesoscope recording, and copy it again"
        return MetadataError(problem(self.where, field=name, expected=expected, found=found, remedy=remedy))


def _flat(value: object) -> object:
    """Column vectors as plain lists, as MATLAB writes them to JSON."""
    if isinstance(value, list) and value and all(isinstance(v, list) and len(v) == 1 for v in value):
        return [v[0] for v in value]
    return value


@dataclass(frozen=True, slots=True)
class _Place:
    """A ROI at a slice."""

    roi: dict[str, Any]
    scanfield: dict[str, Any]
    slice_id: int
    #: Depth; two where a ROI is imaged at two depths at once.
    zs: Any


def fov_records(
    raw: dict[str, Any], header: SiHeader, center_deg: Sequence[float], transform: npt.NDArray[np.float64]
) -> list[dict[str, Any]]:
    """Make the FOV records of the metadata, slice by slice, and in a slice in the order of the ROIs.

    Parameters
    ----------
    raw
        ``rawScanImageMeta``.
    header
        Its parsed Software.
    center_deg
        Window centre in scan angles, degrees.
    transform
        ``coordsTF``, shape (3, 2).

    Raises
    ------
    MetadataError
        If the ROIs do not fit the depths, or the lines of the FOVs do not fit the page.
    """
    places = _places(raw, header)
    starts = _start_rows(places, header, raw["Height"], raw["Width"])
    fovs = []
    for place, start in zip(places, starts, strict=True):
        field_ = place.scanfield
        nx, ny = (int(n) for n in field_["pixelResolutionXY"])
        deg = {name: _corner(field_, signs) for name, signs in _CORNERS.items()}
        mm = {name: (np.array([*(np.array(xy) - center_deg), 1.0]) @ transform).tolist() for name, xy in deg.items()}
        fovs.append(
            {
                "slice_id": place.slice_id,
                "roiUUID": place.roi["roiUuid"],
                "Zs": place.zs,
                "Deg": deg,
                "MM": mm,
                "lineIdx": list(range(start + 1, start + ny + 1)),
                "nXnYnZ": [nx, ny, len(as_list(place.zs))],
            }
        )
    return fovs


def _corner(scanfield: dict[str, Any], signs: tuple[int, int]) -> list[float]:
    """Corner of a scanfield in degrees; rotated ones by their affine transform."""
    center = np.array(scanfield["centerXY"], float)
    if scanfield.get("rotationDegrees", 0):
        linear = np.array(scanfield["affine"], float)[:2, :2]
        return list((center + linear @ (np.array(signs) / 2)).tolist())
    return list((center + np.array(scanfield["sizeXY"], float) * signs / 2).tolist())


def _places(raw: dict[str, Any], header: SiHeader) -> list[_Place]:
    """Which enabled ROI is imaged at which slice."""
    rois = [roi for roi in as_list(raw["Artist"]["RoiGroups"]["imagingRoiGroup"]["rois"]) if roi.get("enable", True)]
    slices = _slices(header)
    places = []
    for slice_id, depths in enumerate(slices):
        for roi in rois:
            at = _depths_of(roi, depths)
            if at:
                scanfield = _scanfield(roi, at[0])
                places.append(_Place(roi, scanfield, slice_id, at[0] if len(at) == 1 else at))
    if not places:
        raise header.wrong("RoiGroups", f"ROIs at the depths {slices}", f"none of the {len(rois)} ROIs")
    return places


def _slices(header: SiHeader) -> list[list[float]]:
    """Depths of each slice in the order of acquisition; two where two planes are imaged at once."""
    zs = as_list(header["hStackManager.zs"])
    n_slices, _ = stack_frames(header.values)
    if not header.get("hStackManager.enable", False):
        zs = zs[:1]
    if header.get("hStackManager.enable", False) and n_slices != len(zs):
        raise header.wrong("SI.hStackManager.zs", f"{n_slices} depths as in numFramesPerVolume", f"{len(zs)}")
    actuators = header.get("hStackManager.zsAllActuators", zs)
    rows = actuators if isinstance(actuators, list) and actuators and isinstance(actuators[0], list) else [actuators]
    if len(rows) != len(zs):
        return [[z] for z in zs]
    return [_distinct([z, *as_list(row)]) for z, row in zip(zs, rows, strict=True)]


def _distinct(values: list[float]) -> list[float]:
    return list(dict.fromkeys(values))


def _depths_of(roi: dict[str, Any], depths: list[float]) -> list[float]:
    """Depths of a slice at which a ROI is imaged.

    A ROI that is not bound to discrete planes is imaged in every slice, at the depth of the remote focus.
    """
    if not roi.get("discretePlaneMode", 0):
        return depths[:1]
    own = as_list(roi["zs"])
    return [z for z in depths if z in own]


def _scanfield(roi: dict[str, Any], z: float) -> dict[str, Any]:
    """Scanfield of a ROI at a depth; between given depths the first holds."""
    fields: list[dict[str, Any]] = as_list(roi["scanfields"])
    zs = as_list(roi.get("zs", []))
    return fields[zs.index(z)] if z in zs and len(zs) == len(fields) else fields[0]


def _start_rows(places: list[_Place], header: SiHeader, height: int, width: int) -> list[int]:
    """First row (0-based) of each FOV, from the fly-to time, checked against the height of the page.

    The slice with most lines fills the page; a shorter one leaves rows empty at its end.
    """
    gap = fly_to_lines(header.number("hScan2D.flytoTimePerScanfield"), header.number("hRoiManager.linePeriod"))
    starts: list[int] = []
    used: dict[int, int] = {}
    for place in places:
        nx, ny = (int(n) for n in place.scanfield["pixelResolutionXY"])
        if nx != width:
            raise header.wrong(f"ROI {place.roi.get('name', '')!r}", f"{width} px a line, as the pages", f"{nx} px")
        starts.append(used[place.slice_id] + gap if place.slice_id in used else 0)
        used[place.slice_id] = starts[-1] + ny
    tallest = max(used.values())
    if tallest != height:
        n = max(sum(p.slice_id == s for p in places) for s in used)
        expected = f"{tallest} rows ({n} FOVs, {gap} fly-to lines between two)"
        raise header.wrong("page height", expected, f"{height} rows")
    return starts
