"""From ScanImage's ROIs and depths to fields of view.

What belongs here: which ROI is imaged at which slice, where its corners are and which lines of a page it has. What
does not: the other fields of the metadata.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import MetadataError, brief
from ...matlab import as_list
from ..scanner import fly_to_lines, read_stack
from ..tiff.header import OTHER_HEADER
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
    remedy
        What a person does about a field that cannot be.
    """

    def __init__(self, values: dict[str, Any], where: str, remedy: str = OTHER_HEADER) -> None:
        self.values, self.where, self.remedy = values, where, remedy

    def get(self, name: str, default: object = None) -> object:
        """Value of ``SI.name``, or the default."""
        return self.values.get("SI." + name, default)

    def has(self, name: str) -> bool:
        """Whether the header has ``SI.name``."""
        return "SI." + name in self.values

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
        return MetadataError.at(self.where, field=name, expected=expected, found=found, remedy=self.remedy)


def _flat(value: object) -> object:
    """Column vectors as plain lists, as MATLAB writes them to JSON."""
    if isinstance(value, list) and value and all(isinstance(v, list) and len(v) == 1 for v in value):
        return [v[0] for v in value]
    return value


@dataclass(frozen=True, slots=True)
class Field:
    """A ROI's cross-section at a depth."""

    #: Centre and size (x, y) in degrees, and rotation in degrees.
    center: tuple[float, float]
    size: tuple[float, float]
    rotation: float
    #: Pixels per line, and lines.
    nx: int
    ny: int

    def corners(self) -> dict[str, list[float]]:
        """Corners (x, y) in degrees by name; ScanImage turns a field around its centre."""
        center, size = np.array(self.center, float), np.array(self.size, float)
        if not self.rotation:
            return {name: (center + size * signs / 2).tolist() for name, signs in _CORNERS.items()}
        angle = math.radians(self.rotation)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        return {name: (center + turn @ (size * signs / 2)).tolist() for name, signs in _CORNERS.items()}


@dataclass(frozen=True, slots=True)
class Place:
    """A ROI at a slice: a field of view."""

    roi: dict[str, Any]
    field: Field
    slice_id: int
    #: Depths; two where a ROI is imaged at two depths at once.
    depths: list[float]


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
    places = imaged_places(raw, header)
    starts = _start_rows(places, header, raw["Height"], raw["Width"])
    fovs = []
    for place, start in zip(places, starts, strict=True):
        field = place.field
        deg = field.corners()
        mm = {name: (np.array([*(np.array(xy) - center_deg), 1.0]) @ transform).tolist() for name, xy in deg.items()}
        fovs.append(
            {
                "slice_id": place.slice_id,
                **({"roiUUID": place.roi["roiUuid"]} if "roiUuid" in place.roi else {}),
                "Zs": place.depths[0] if len(place.depths) == 1 else place.depths,
                "Deg": deg,
                "MM": mm,
                "lineIdx": list(range(start + 1, start + field.ny + 1)),
                "nXnYnZ": [field.nx, field.ny, len(place.depths)],
            }
        )
    return fovs


def imaged_places(raw: Mapping[str, Any], header: SiHeader) -> list[Place]:
    """Tell which ROI is imaged at which slice, and where its field is there.

    Parameters
    ----------
    raw
        ``rawScanImageMeta``.
    header
        Its parsed Software.

    Raises
    ------
    MetadataError
        If no ROI is imaged, a ROI has not as many depths as scanfields, or these are no ROIs of a mesoscope.
    """
    try:
        return _imaged_places(raw, header)
    except MetadataError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise header.wrong("RoiGroups", "imaging ROIs, each with scanfields", found) from error


def _imaged_places(raw: Mapping[str, Any], header: SiHeader) -> list[Place]:
    rois = [roi for roi in as_list(raw["Artist"]["RoiGroups"]["imagingRoiGroup"]["rois"]) if roi.get("enable", True)]
    slices = _slices(header)
    places = []
    for slice_id, depths in enumerate(slices):
        for roi in rois:
            at = [(z, field) for z in depths if (field := field_at(roi, z, header)) is not None]
            # a ROI that is not bound to planes is there once, at the depth of the first focus
            at = at if roi.get("discretePlaneMode") else at[:1] if at and at[0][0] == depths[0] else []
            if at:
                places.append(Place(roi, at[0][1], slice_id, [z for z, _ in at]))
    if not places:
        raise header.wrong("RoiGroups", f"ROIs at the depths {slices}", f"none of the {len(rois)} ROIs")
    return places


def _slices(header: SiHeader) -> list[list[float]]:
    """Depths of each slice in the order of acquisition; two where two planes are imaged at once."""
    stack = read_stack(header.values, header.where)
    depths = list(stack.depths_um or as_list(header["hStackManager.zs"])[:1])
    actuators = header.get("hStackManager.zsAllActuators", [])
    rows = actuators if isinstance(actuators, list) and actuators and isinstance(actuators[0], list) else [actuators]
    if len(rows) == stack.n_slices * stack.frames_per_slice:
        rows = rows[:: stack.frames_per_slice]
    if len(rows) != len(depths):
        return [[z] for z in depths]
    return [list(dict.fromkeys([z, *as_list(row)])) for z, row in zip(depths, rows, strict=True)]


def field_at(roi: Mapping[str, Any], z: float, header: SiHeader) -> Field | None:
    """Cross-section of a ROI at a depth; None where it is not imaged.

    A ROI with one scanfield reaches through all depths. One with several is interpolated linearly between them, and is
    not there above the first and below the last. A ROI in discrete-plane mode is at the depths of its scanfields only.

    Notes
    -----
    ScanImage, "Scanfields, ROIs, ROI Groups". Centre, size and rotation (the shorter way round) are interpolated;
    pixel counts too, rounded to the nearest even number. The header prints depths with six digits and the ROIs with
    ten, so two depths are the same if they differ by no more than that rounding.
    """
    fields, zs = as_list(roi["scanfields"]), as_list(roi.get("zs", []))
    is_discrete = bool(roi.get("discretePlaneMode"))
    if len(zs) != len(fields) and (is_discrete or len(fields) != 1):
        name = f"ROI {roi.get('name', '')!r}"
        raise header.wrong(name, f"a depth for each of its {len(fields)} scanfields", f"{len(zs)} depths")
    own = [field for field, at in zip(fields, zs, strict=False) if same_depth(at, z)]
    if own or is_discrete:
        return _field(own[0]) if own else None
    if len(fields) == 1:
        return _field(fields[0])
    ordered = sorted(zip(zs, fields, strict=True), key=lambda pair: pair[0])
    for (above, first), (below, second) in itertools.pairwise(ordered):
        if above < z < below:
            return _between(_field(first), _field(second), (z - above) / (below - above))
    return None


def same_depth(a: float, b: float) -> bool:
    """Whether two depths are the same but for rounding to six digits."""
    largest = max(abs(a), abs(b))
    half_a_digit = 0.5 * 10.0 ** (math.floor(math.log10(largest)) - 5) if largest > 0 else 0.0
    return abs(a - b) <= half_a_digit * (1 + 1e-6) + 1e-9


def _field(scanfield: Mapping[str, Any]) -> Field:
    (x, y), (width, height) = scanfield["centerXY"], scanfield["sizeXY"]
    nx, ny = (int(n) for n in scanfield["pixelResolutionXY"])
    return Field((x, y), (width, height), float(scanfield.get("rotationDegrees", 0) or 0), nx, ny)


def _between(a: Field, b: Field, share: float) -> Field:
    """Field at a share of the way from one to another."""

    def mix(p: float, q: float) -> float:
        return p + (q - p) * share

    def even(p: int, q: int) -> int:
        return 2 * math.floor(mix(p, q) / 2 + 0.5)  # half up, as MATLAB rounds

    return Field(
        (mix(a.center[0], b.center[0]), mix(a.center[1], b.center[1])),
        (mix(a.size[0], b.size[0]), mix(a.size[1], b.size[1])),
        a.rotation + ((b.rotation - a.rotation + 180) % 360 - 180) * share,
        even(a.nx, b.nx),
        even(a.ny, b.ny),
    )


def _start_rows(places: list[Place], header: SiHeader, height: int, width: int) -> list[int]:
    """First row (0-based) of each FOV, from the fly-to time, checked against rows and columns of the page.

    The slice with most lines fills the page; a shorter one leaves rows empty at its end. The widest field fills its
    columns; a narrower one leaves columns empty at the right.
    """
    widest = max(place.field.nx for place in places)
    if widest != width:
        wide = [f"{p.roi.get('name', '')!r} {p.field.nx} px" for p in places]
        raise header.wrong("page width", f"{widest} columns, those of the widest ROI ({', '.join(wide)})", f"{width}")
    in_slice = Counter(place.slice_id for place in places)
    gap = 0
    if max(in_slice.values()) > 1:
        gap = fly_to_lines(header.number("hScan2D.flytoTimePerScanfield"), header.number("hRoiManager.linePeriod"))
    starts: list[int] = []
    used: dict[int, int] = {}
    for place in places:
        starts.append(used[place.slice_id] + gap if place.slice_id in used else 0)
        used[place.slice_id] = starts[-1] + place.field.ny
    tallest = max(used.values())
    if tallest != height:
        expected = f"{tallest} rows ({max(in_slice.values())} FOVs, {gap} fly-to lines between two)"
        raise header.wrong("page height", expected, f"{height} rows")
    return starts
