"""The metadata that the rig's own extractor leaves beside the tifs.

What belongs here: ``_ibl_rawImagingData.meta.json`` (structure of version 0.2.1) and
``rawImagingData.times_scanImage.npy``, written from what is true. What does not: reading tifs; the extractor of
:mod:`meso_core.scanimage` works the same values out of the headers, independently.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...session import IMAGING_META_FILE, IMAGING_TIMES_FILE
from ..config import SimulationConfig
from ..tissue.geometry import POSITIVE_AP, POSITIVE_ML, SessionGeometry, coords_transform, corners_deg, corners_mm
from .clock import Bout
from .header import descriptions, epoch, frame_data, roi_groups, roi_uuid, start_of_bout


def _scalar(values: tuple[float, ...] | list[Any]) -> Any:
    """MATLAB's JSON writes a list of one as a scalar."""
    return values[0] if len(values) == 1 else list(values)


def _number(value: float) -> float:
    """Round a value to the six digits that it has in the header."""
    return float(f"{value:.6g}")


def _null_to_list(value: Any) -> Any:
    """MATLAB reads JSON's null as an empty array and writes it as such; array keys get an ``x`` in front."""
    if value is None:
        return []
    if isinstance(value, dict):
        return {(f"x{k}" if k.startswith("_") else k): _null_to_list(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_null_to_list(v) for v in value]
    return value


def imaging_meta(config: SimulationConfig, geometry: SessionGeometry, bout: Bout) -> dict[str, Any]:
    """Content of ``_ibl_rawImagingData.meta.json`` of one bout."""
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
        "nFrames": len(bout.scanimage) * len(config.channels),
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
    """Resolution of the first field as the tif's rational number holds it."""
    roi = config.rois[0]
    um = roi.size_deg[0] * config.objective_resolution / roi.shape[1]
    return 2**30 / max(round(2**30 / (1e4 / um)), 1)


def _fovs(config: SimulationConfig, geometry: SessionGeometry, tf: Any) -> list[dict[str, Any]]:
    return [
        {
            "slice_id": place.slice_id,
            "roiUUID": roi_uuid(config, place.roi),
            "Zs": place.z,
            "Deg": corners_deg(config.rois[place.roi]),
            "MM": corners_mm(config.rois[place.roi], tf),
            "lineIdx": list(range(place.row_start + 1, place.row_stop + 1)),
            "nXnYnZ": [place.nx, place.ny, 1],
        }
        for place in geometry.fovs
    ]


def _params(config: SimulationConfig, geometry: SessionGeometry) -> dict[str, Any]:
    g = geometry
    zs = _scalar(config.zs)
    pairs = _scalar([[z, z] for z in config.zs])
    return {
        "objectiveResolution": config.objective_resolution,
        "hScan2D": {
            "flytoTimePerScanfield": config.flyto_s,
            "scannerFrequency": _number(g.scanner_frequency_hz),
        },
        "hFastZ": {"enableFieldCurveCorr": 1, "position": config.zs[0]},
        "hRoiManager": {
            "scanFramePeriod": _number(g.frame_period),
            "scanFrameRate": _number(1 / g.frame_period),
            "scanVolumeRate": _number(1 / (g.frame_period * g.frames_per_volume)),
            "linePeriod": _number(g.line_period),
        },
        # the rig's extractor puts the depths into numSlices too
        "hStackManager": {"numSlices": zs, "zs": zs, "zsRelative": pairs, "zsAllActuators": pairs},
    }


def write_rig_metadata(folder: Path, config: SimulationConfig, geometry: SessionGeometry, bout: Bout) -> None:
    """Write both files of one bout; times have one value per page, as the rig's extractor counts."""
    meta = json.dumps(imaging_meta(config, geometry, bout))
    (folder / IMAGING_META_FILE).write_text(meta, encoding="utf-8")
    np.save(folder / IMAGING_TIMES_FILE, np.repeat(bout.scanimage, len(config.channels)))
