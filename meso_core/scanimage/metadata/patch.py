"""Older versions of the imaging metadata, brought up to date.

What belongs here: the history of ``_ibl_rawImagingData.meta.json``. What does not: how it is made today.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import MesoWarning, MetadataError
from ...matlab import as_list
from ...session import IMAGING_META_FILE
from ...session.imaging import CORNERS
from ..scanner import read_stack
from ..tiff.header import parse_si_header
from .extract import coords_transform
from .fields import check_fields, lacks, wrong
from .rois import same_depth

#: Version that patched metadata have: that of the newest change of the format.
PATCHED_VERSION = "0.2.2"
_NEWEST = (0, 2, 2)
#: What those who read the metadata ask for, not those who bring them up to date.
_FOR_READERS = ("channelSaved", *(f"FOV[].{unit}.{corner}" for unit in ("Deg", "MM") for corner in CORNERS))
#: What the corners are computed from again.
_OF_AXES = (
    "FOV[].Deg",
    "scanImageParams",
    "scanImageParams.objectiveResolution",
    *("centerMM", "centerMM.ML", "centerMM.AP", "centerDeg", "centerDeg.x", "centerDeg.y"),
    *("imageOrientation.positiveML", "imageOrientation.positiveAP", "coordsTF"),
)


def patch_imaging_meta(meta: Mapping[str, Any], where: str = IMAGING_META_FILE) -> dict[str, Any]:
    """Bring imaging metadata of any version up to date.

    What a file does not tell (which channels were saved, which slices there are) stays unknown: those who read the
    metadata (:func:`parse_imaging_metadata` and all that call it) name what they need and do not find.

    Parameters
    ----------
    meta
        Content of ``_ibl_rawImagingData.meta.json``. It is not changed.
    where
        File that it is from, for messages.

    Returns
    -------
    dict
        A patched copy, with the newest version number. Patching it again changes nothing.

    Raises
    ------
    MetadataError
        If ``FOV`` is missing, or ``nFrames`` as before May 2023, or what the corners are computed from again; or if a
        field that is looked at holds what it must not.

    Warns
    -----
    MesoWarning
        If the version is newer than this code. The fields were checked and are used as they are, but their meaning may
        have changed.

    Notes
    -----
    ========== ==========================================================================================
    before     change
    ========== ==========================================================================================
    (none)     ``channelSaved`` was ``FOV[…].channelIdx``; corners were ``topLeftDeg``, ``topLeftMM`` …; FOVs had no
               ``slice_id``, ``Zs``, ``roiUUID``
    0.1.1      ``roiUUID`` was ``roiUuid``
    0.1.5      ``coordsTF`` and MM were made with the image's axes exchanged; they are computed again
    0.2.2      ``MLAPDV`` and ``brainLocationIds`` had no provenance; they were estimates
    ========== ==========================================================================================
    """
    return bring_up_to_date(copy.deepcopy(meta), where)


def bring_up_to_date(meta: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Do the same with metadata that nobody else holds: entries of them may change."""
    if isinstance(meta, Mapping) and isinstance(meta.get("FOV"), Mapping):
        meta = {**meta, "FOV": [meta["FOV"]]}  # MATLAB writes a list of one without brackets
    check_fields(meta, where, ("nFrames", "FOV"), unchecked=_FOR_READERS)
    version = _version(meta, where)
    patched = dict(meta)
    try:
        if version == (0, 0, 0):
            _name_corners(patched)
            _number_slices(patched, where)
        if version < (0, 1, 1):
            _name_roi_ids(patched)
        if version < (0, 1, 5) and patched.get("imageOrientation") is not None:
            check_fields(patched, where, _OF_AXES, unchecked=_FOR_READERS)
            _transform_axes(patched, where)
    except KeyError as e:
        raise lacks(str(e.args[0]), where) from e
    if version < _NEWEST:
        _nest_provenance(patched)
        patched["version"] = PATCHED_VERSION
    return patched


def _version(meta: Mapping[str, Any], where: str) -> tuple[int, ...]:
    text = meta.get("version")
    if text in (None, ""):
        return (0, 0, 0)
    try:
        version = tuple(int(part) for part in text.split("."))
    except (AttributeError, ValueError) as e:
        remedy = "Move the metadata file away; it is made again from the tifs"
        raise MetadataError.at(where, field="version", expected="three numbers", found=repr(text), remedy=remedy) from e
    if version > _NEWEST:
        warnings.warn(
            f"{where}: version {text} is newer than {PATCHED_VERSION}, the newest that is known here; its fields are "
            "used as they are. Check that their meaning has not changed, or update meso",
            MesoWarning,
            stacklevel=3,
        )
    return version


def _name_corners(meta: dict[str, Any]) -> None:
    """May 2023: channelSaved at the top; corners by unit, ``Deg['topLeft']`` instead of ``topLeftDeg``."""
    if "channelSaved" not in meta:
        header = parse_si_header((meta.get("rawScanImageMeta") or {}).get("Software") or "")
        saved = header.get("SI.hChannels.channelSave", [])
        meta["channelSaved"] = next((fov["channelIdx"] for fov in meta["FOV"] if "channelIdx" in fov), saved)
    for fov in meta["FOV"]:
        for unit in ("Deg", "MM"):
            if unit not in fov:
                fov[unit] = {corner: fov.pop(corner + unit) for corner in CORNERS if corner + unit in fov}


def _number_slices(meta: dict[str, Any], where: str) -> None:
    """Give each FOV its slice, depth and ROI; before there were numbers, FOVs came in the order of the ROIs."""
    if not meta["FOV"] or all("slice_id" in fov for fov in meta["FOV"]):
        return
    header = parse_si_header((meta.get("rawScanImageMeta") or {}).get("Software") or "")
    known = ((meta.get("scanImageParams") or {}).get("hStackManager") or {}).get("zs")
    listed = [] if known is None else np.ravel(known).tolist()
    # with several frames per slice the list has the depth of each frame
    zs = list(read_stack(header, where, len(listed) or 1).depths_um or listed)
    rois = [roi for roi in _rois(meta, where) if roi.get("enable", True)]
    named = rois if len(rois) == len(meta["FOV"]) else [{}] * len(meta["FOV"])
    for fov, roi in zip(meta["FOV"], named, strict=True):
        depths = as_list(roi["zs"]) if roi.get("discretePlaneMode") else zs
        depth = depths[0] if depths else None
        slices = [i for i, z in enumerate(zs) if depth is not None and same_depth(z, depth)]
        if len(zs) > 1 and (len(slices) != 1 or not roi.get("discretePlaneMode")):
            raise KeyError("FOV.slice_id")
        if depth is not None:
            fov.setdefault("slice_id", slices[0] if slices else 0)
            fov.setdefault("Zs", depth)
        if "roiUuid" in roi and "roiUuid" not in fov:
            fov.setdefault("roiUUID", roi["roiUuid"])


def _rois(meta: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """Entries of the header's ROI groups; none where it has no groups."""
    at, value = "rawScanImageMeta", meta.get("rawScanImageMeta") or {}
    for name in ("Artist", "RoiGroups", "imagingRoiGroup", "rois"):
        if not isinstance(value, dict):
            raise wrong(at, where, f"a table with {name}", value)
        at, value = f"{at}.{name}", value.get(name) or {}
    rois = as_list(value) if value else []
    if not all(isinstance(roi, dict) for roi in rois):
        raise wrong(at, where, "ROIs", value)
    return rois


def _name_roi_ids(meta: dict[str, Any]) -> None:
    for fov in meta["FOV"]:
        if "roiUuid" in fov:
            fov["roiUUID"] = fov.pop("roiUuid")


def _transform_axes(meta: dict[str, Any], where: str) -> None:
    """September 2024: the unit vectors of the image's axes are transformed to ML and AP, not rotated twice."""
    orientation, center = meta["imageOrientation"], meta["centerMM"]
    transform = coords_transform(
        orientation["positiveML"],
        orientation["positiveAP"],
        meta["scanImageParams"]["objectiveResolution"],
        center["ML"],
        center["AP"],
    )
    if np.allclose(transform, meta["coordsTF"]):
        return
    meta["coordsTF"] = np.round(transform, 12).tolist()
    center_deg = np.array([meta["centerDeg"]["x"], meta["centerDeg"]["y"]])
    for number, fov in enumerate(meta["FOV"]):
        try:
            fov["MM"] = {
                corner: (np.array([*(np.ravel(xy)[:2] - center_deg), 1.0]) @ transform).tolist()
                for corner, xy in fov["Deg"].items()
            }
        except (TypeError, ValueError) as error:
            raise wrong(f"FOV[{number}].Deg", where, "its four corners, degrees", fov["Deg"]) from error


def _nest_provenance(meta: dict[str, Any]) -> None:
    """September 2025: what was at the top of ``MLAPDV`` is now under ``MLAPDV['estimate']``."""
    for fov in meta["FOV"]:
        for name in ("MLAPDV", "brainLocationIds"):
            if isinstance(fov.get(name), dict) and "center" in fov[name]:
                fov[name] = {"estimate": fov[name]}
