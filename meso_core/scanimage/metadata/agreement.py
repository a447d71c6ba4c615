"""Whether the fields of view of a metadata file are those that were imaged.

What belongs here: the comparison of FOVs, as the rig wrote them, with the ROIs and depths of the raw header in the same
file. What does not: the rule itself (``rois``), and lines and pages (``layout``).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ...errors import MesoWarning, MetadataError
from ...session.imaging import CORNERS, Fov, ImagingMetadata
from ..tiff.header import parse_si_header
from .rois import Place, SiHeader, imaged_places, same_depth

_REMEDY = "Move the metadata file away; it is made again from the tifs"


def check_imaged(meta: ImagingMetadata, where: str) -> None:
    """Compare FOVs with the ROIs and depths that were imaged.

    Parameters
    ----------
    meta
        Imaging metadata; where they hold no ROI groups or no depths, nothing is compared.
    where
        File, for messages.

    Raises
    ------
    MetadataError
        If a FOV was not imaged, or is elsewhere, or of another size.

    Warns
    -----
    MesoWarning
        If a ROI was imaged at a depth where no FOV is listed.
    """
    raw = _raw_header(meta.patched_json)
    artist, header = raw.get("Artist"), parse_si_header(raw["Software"])
    if not isinstance(artist, Mapping) or not artist.get("RoiGroups") or "SI.hStackManager.zs" not in header:
        return
    places = imaged_places(raw, SiHeader(header, where, _REMEDY))
    left = list(places)
    for fov in sorted(meta.fovs, key=lambda fov: (fov.slice_index, fov.line_indices[0])):
        place = _place_of(fov, places if fov.channel is not None else left)
        if place is None:
            here = _names([p for p in places if p.slice_id == fov.slice_index])
            expected = f"one of the ROIs imaged at slice {fov.slice_index}, once each: {here or 'none'}"
            raise _wrong(where, f"FOV[{fov.index}]", expected, f"ROI {fov.roi_uuid or 'without id'}")
        if place in left:
            left.remove(place)
        _compare(fov, place, where)
    if left:
        warnings.warn(f"{where}: imaged, but not listed as FOV: {_names(left)}", MesoWarning, stacklevel=4)


@lru_cache(maxsize=8)
def _raw_header(metadata_json: str) -> Mapping[str, Any]:
    """Read the raw header once: a bout is laid out for several results, one after the other."""
    raw: Mapping[str, Any] = json.loads(metadata_json)["rawScanImageMeta"]
    return raw


def _names(places: Sequence[Place]) -> str:
    return ", ".join(f"{p.roi.get('name', '')} {p.roi.get('roiUuid', '')} at {p.depths[0]:g} µm" for p in places)


def _place_of(fov: Fov, places: Sequence[Place]) -> Place | None:
    """Find the ROI of a FOV by its id; by its place on the page in files that have no ids."""
    here = [place for place in places if place.slice_id == fov.slice_index]
    if fov.roi_uuid is not None:
        here = [place for place in here if place.roi.get("roiUuid") == fov.roi_uuid]
    return here[0] if here else None


def _compare(fov: Fov, place: Place, where: str) -> None:
    name, field = f"FOV[{fov.index}]", place.field
    if fov.depths_um and not any(same_depth(fov.depths_um[0], z) for z in place.depths):
        raise _wrong(where, f"{name}.Zs", f"{place.depths} µm, as scanned", f"{fov.depths_um[0]:g} µm")
    if (fov.nx, fov.ny) != (field.nx, field.ny):
        expected = f"{field.nx} columns and {field.ny} rows, as the ROI has at {place.depths[0]:g} µm"
        raise _wrong(where, f"{name}.nXnYnZ", expected, f"{fov.nx} and {fov.ny}")
    corners = field.corners()
    apart = np.abs(fov.deg.as_array() - np.array([corners[corner] for corner in CORNERS])).max(axis=0)
    if (apart > np.divide(field.size, (field.nx, field.ny))).any():
        expected = f"the ROI's top left corner {_rounded(corners['topLeft'])} at {place.depths[0]:g} µm"
        expected += f" and its bottom right {_rounded(corners['bottomRight'])}"
        found = f"{_rounded(fov.deg.top_left)} and {_rounded(fov.deg.bottom_right)}"
        raise _wrong(where, f"{name}.Deg", expected, found)


def _rounded(point: Sequence[float]) -> str:
    return f"({point[0]:.4g}, {point[1]:.4g})"


def _wrong(where: str, field: str, expected: str, found: str) -> MetadataError:
    return MetadataError.at(where, field=field, expected=expected, found=found, remedy=_REMEDY)
