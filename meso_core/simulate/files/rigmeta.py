"""The metadata that the rig's own extractor writes beside the tifs.

What belongs here: ``_ibl_rawImagingData.meta.json`` (structure of version 0.2.1) and
``rawImagingData.times_scanImage.npy``, written from the ground truth. What does not: reading tifs. The extractor of
:mod:`meso_core.scanimage` gets the same values from the headers, independently.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...json_text import json_text
from ...session import IMAGING_META_FILE, IMAGING_TIMES_FILE
from ..config import SimulationConfig
from ..tissue.geometry import POSITIVE_AP, POSITIVE_ML, SessionGeometry, coords_transform, corners_deg, corners_mm
from .clock import Bout
from .header import descriptions, epoch, frame_data, roi_groups, roi_uuid, start_of_bout

T = TypeVar("T")


def _scalar(values: Sequence[T]) -> T | list[T]:
    """Write a list of one as a scalar, as MATLAB's JSON does."""
    return values[0] if len(values) == 1 else list(values)


def _number(value: float) -> float:
    """Round a value to six digits, as in the header."""
    return float(f"{value:.6g}")


def _null_to_list(value: object) -> object:
    """Change values as MATLAB does when it reads and writes JSON: null → ``[]``, and ``x`` before a leading ``_``."""
    if value is None:
        return []
    if isinstance(value, dict):
        return {(f"x{k}" if k.startswith("_") else k): _null_to_list(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_null_to_list(v) for v in value]
    return value


def imaging_meta(config: SimulationConfig, geometry: SessionGeometry, bout: Bout) -> dict[str, Any]:
    """Make the content of ``_ibl_rawImagingData.meta.json`` of one bout."""
    start = start_of_bout(config, bout.start_s)
    tf = coords_transform(config)
    ml, ap = config.center_mm
    return {
        "version": "0.2.1",
        "channelID": {"green": [1, 2], "red": [3, 4], "primary": [2, 4], "secondary": [1, 3]},
        "laserPowerCalibration": {
            name: np.round(np.linspace(0, top, 101), 10).tolist()
            for name, top in (("V", 5), ("Prcnt", 100), ("mW", 1200), ("dualV", 2), ("dualPrc", 100))
        },
        "imageOrientation": {"positiveML": list(POSITIVE_ML), "positiveAP": list(POSITIVE_AP)},
        "centerDeg": {"x": 0, "y": 0},
        "centerMM": {"x": 0, "y": 0, "ML": ml, "AP": ap},
        "rawScanImageMeta": _raw(config, geometry, bout),
        "PMTGain": [],
        "channelSaved": _scalar(config.channels),
        "FOV": _fovs(config, geometry, tf),
        "acquisitionStartTime": epoch(start),
        "nFrames": len(geometry.saved_frames(len(bout.scanimage))) * len(config.channels),
        "scanImageParams": _params(config, geometry),
        "coordsTF": tf.tolist(),
    }


def _raw(config: SimulationConfig, geometry: SessionGeometry, bout: Bout) -> dict[str, Any]:
    start = start_of_bout(config, bout.start_s)
    resolution = pixels_per_cm(config)
    return {
        "Artist": _null_to_list(roi_groups(config)),
        "ImageDescription": descriptions(0, bout.scanimage[:1], start, 1, len(bout.scanimage) == 1)[0].ljust(2000),
        "Software": frame_data(config, geometry),
        "Format": "tif",
        "Width": geometry.page_width,
        "Height": geometry.page_height,
        "BitDepth": 16,
        "ByteOrder": "little-endian",
        "XResolution": resolution,
        "YResolution": resolution,
        "ResolutionUnit": "Centimeter",
    }


def pixels_per_cm(config: SimulationConfig) -> float:
    """Compute the resolution of the first field, as precise as the tif's rational number."""
    roi = config.rois[0]
    um = roi.size_deg[0] * config.objective_resolution / roi.shape[1]
    return 2**30 / max(round(2**30 / (1e4 / um)), 1)


def _fovs(config: SimulationConfig, geometry: SessionGeometry, tf: NDArray[np.float64]) -> list[dict[str, Any]]:
    return [
        {
            "slice_id": place.slice_id,
            "roiUUID": roi_uuid(config, place.roi),
            "Zs": place.z,
            "Deg": corners_deg(place),
            "MM": corners_mm(place, tf),
            "lineIdx": list(range(place.row_start + 1, place.row_stop + 1)),
            "nXnYnZ": [place.nx, place.ny, 1],
        }
        # the rig's code takes channels for colours
        for place in geometry.fovs
        if place.channel in (None, config.channels[0])
    ]


def _params(config: SimulationConfig, geometry: SessionGeometry) -> dict[str, Any]:
    g = geometry
    # ScanImage lists the depth of each frame of a volume
    per_frame = [z for z in config.zs for _ in range(config.frames_per_slice)]
    zs, pairs = _scalar(per_frame), _scalar([[z, z] for z in per_frame])
    is_new = config.scanimage == "2020"
    return {
        "objectiveResolution": config.objective_resolution,
        "hScan2D": {
            "flytoTimePerScanfield": config.flyto_s,
            "scannerFrequency": _number(g.scanner_frequency_hz),
        },
        "hFastZ": {"enableFieldCurveCorr": 1, **({"position": config.zs[0]} if is_new else {})},
        "hRoiManager": {
            "scanFramePeriod": _number(g.frame_period),
            "scanFrameRate": _number(1 / g.frame_period),
            "scanVolumeRate": _number(1 / (g.frame_period * g.frames_per_volume)),
            "linePeriod": _number(g.line_period),
        },
        # the rig's extractor writes the depths to numSlices too
        "hStackManager": {
            "numSlices": zs if is_new else _scalar(config.zs),
            "zs": zs if is_new else _scalar(config.zs),
            **({"zsRelative": pairs, "zsAllActuators": pairs} if is_new else {}),
        },
    }


def write_rig_metadata(folder: Path, config: SimulationConfig, geometry: SessionGeometry, bout: Bout) -> None:
    """Write both files of one bout; times have one value per page, as the rig's extractor writes them."""
    meta = json_text(imaging_meta(config, geometry, bout))
    (folder / IMAGING_META_FILE).write_text(meta, encoding="utf-8")
    times = bout.scanimage[geometry.saved_frames(len(bout.scanimage))]
    np.save(folder / IMAGING_TIMES_FILE, np.repeat(times, len(config.channels)))
