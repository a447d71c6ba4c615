"""The texts in a ScanImage file: ``SI.x = value`` lines, ROI groups, page descriptions.

What belongs here: text as ScanImage writes it. What does not: the bytes around it (``tif``).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from ...json_text import json_text
from ..config import RoiConfig, ScanfieldConfig, SimulationConfig
from ..tissue.geometry import SessionGeometry

#: What a header line may hold.
MatlabValue: TypeAlias = "bool | float | str | Sequence[MatlabValue]"


def _matlab(value: MatlabValue) -> str:
    """Format a value as MATLAB does (six significant digits, blanks between the values of a row)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if value == "[]" else f"'{value}'"
    if isinstance(value, int | float):
        return f"{value:.6g}".replace("inf", "Inf").replace("nan", "NaN")
    rows = [row for row in value if isinstance(row, list | tuple)]
    if rows:
        return "[" + ";".join(" ".join(_matlab(v) for v in row) for row in rows) + "]"
    if len(value) == 1:
        return _matlab(value[0])
    return "[" + " ".join(_matlab(v) for v in value) + "]"


def _decided(config: SimulationConfig, geometry: SessionGeometry) -> dict[str, str | None]:
    """Header values that follow from the settings; None for fields that the version does not write."""
    g, c = geometry, config
    values: dict[str, Any] = {
        **_stack(config, geometry),
        "hChannels.channelSave": c.channels if len(c.channels) == 1 else [(ch,) for ch in c.channels],
        "hFastZ.discardFlybackFrames": c.flyback_frames > 0,
        "hFastZ.numDiscardFlybackFrames": c.flyback_frames,
        "hRoiManager.linePeriod": g.line_period,
        "hRoiManager.pixelsPerLine": g.page_width,
        "hRoiManager.scanFramePeriod": g.frame_period,
        "hRoiManager.scanFrameRate": 1 / g.frame_period,
        "hRoiManager.scanVolumeRate": 1 / (g.frame_period * g.frames_per_volume),
        "hScan2D.flybackTimePerFrame": c.flyback_s,
        "hScan2D.flytoTimePerScanfield": c.flyto_s,
        "hScan2D.logFramesPerFile": c.frames_per_file,
        "hScan2D.logAverageFactor": c.frames_averaged,
        "hScan2D.scannerFrequency": g.scanner_frequency_hz,
        "objectiveResolution": c.objective_resolution,
    }
    return {f"SI.{name}": None if value is None else _matlab(value) for name, value in values.items()}


def _stack(config: SimulationConfig, geometry: SessionGeometry) -> dict[str, Any]:
    """Tell the stack as the version of ScanImage does; None for what it does not write."""
    c, g = config, geometry
    deep, fast = g.frames_per_volume > 1, c.stack_mode == "fast"
    per_slice: dict[str, Any] = {} if fast and c.frames_per_slice == 1 else {"framesPerSlice": c.frames_per_slice}
    fast_z: dict[str, Any]
    stack: dict[str, Any]
    if c.scanimage == "2020":
        # the depth of each frame
        zs = [z for z in c.zs for _ in range(c.frames_per_slice)]
        pairs = [(z, z) for z in zs]
        fast_z = {"enable": deep and fast, "position": c.zs[0]}
        stack = {
            "enable": deep,
            "actualNumSlices": g.n_slices,
            "numFramesPerVolume": len(zs),
            "numFramesPerVolumeWithFlyback": g.frames_per_volume,
            "zs": zs,
            "zsAllActuators": pairs,
            "zsRelative": pairs,
            "stackMode": c.stack_mode,
        }
        version: dict[str, Any] = {}
    else:
        gone = ("enable", "actualNumSlices", "numFramesPerVolume", "numFramesPerVolumeWithFlyback", "zsAllActuators")
        stack = dict.fromkeys((*gone, "zsRelative", "stackMode", "stackDefinition", "numFastZActuators"))
        stack |= {"numSlices": g.n_slices, "framesPerSlice": c.frames_per_slice, "zs": c.zs}
        fast_z = {
            "enable": deep and fast,
            "position": None,
            "positionTarget": c.zs[0],
            "userZs": c.zs,
            "numFramesPerVolume": g.frames_per_volume if deep and fast else "[]",
            "numVolumes": 10,
        }
        version = {
            "VERSION_MAJOR": c.scanimage,
            "VERSION_MINOR": None,
            "VERSION_UPDATE": None,
            "TIFF_FORMAT_VERSION": 3,
        }
    return {
        **version,
        **{f"hFastZ.{name}": value for name, value in fast_z.items()},
        **{f"hStackManager.{name}": value for name, value in (stack | per_slice).items()},
    }


#: Values of a rig that no setting decides; with them the header is complete.
_FIXED = {
    "SI.LINE_FORMAT_VERSION": "1",
    "SI.PREMIUM": "true",
    "SI.TIFF_FORMAT_VERSION": "4",
    "SI.VERSION_COMMIT": "'0000000000000000000000000000000000000000'",
    "SI.VERSION_MAJOR": "2020",
    "SI.VERSION_MINOR": "1",
    "SI.VERSION_UPDATE": "2",
    "SI.acqState": "'grab'",
    "SI.acqsPerLoop": "1",
    "SI.extTrigEnable": "1",
    "SI.hBeams.powerFractions": "[0.45 0]",
    "SI.hBeams.powers": "[45 0]",
    "SI.hBeams.pzAdjust": "[true false]",
    "SI.hChannels.channelAdcResolution": "{16 16 16 16}",
    "SI.hChannels.channelDisplay": "2",
    "SI.hChannels.channelName": "{'Channel 1' 'Channel 2' 'Channel 3' 'Channel 4'}",
    "SI.hChannels.channelOffset": "[0 0 0 0]",
    "SI.hChannels.channelSubtractOffset": "[false false false false]",
    "SI.hChannels.channelsAvailable": "4",
    "SI.hChannels.loggingEnable": "1",
    "SI.hDisplay.circleDiameter": "5000",
    "SI.hDisplay.circleOffset": "[0 0]",
    "SI.hDisplay.volumeDisplayStyle": "'Tiled'",
    "SI.hFastZ.actuatorLag": "0",
    "SI.hFastZ.enableFieldCurveCorr": "1",
    "SI.hFastZ.flybackTime": "0",
    "SI.hFastZ.hasFastZ": "true",
    "SI.hFastZ.waveformType": "'step'",
    "SI.hPmts.gains": "zeros(1,0)",
    "SI.hRoiManager.forceSquarePixelation": "false",
    "SI.hRoiManager.imagingFovUm": "[]",
    "SI.hRoiManager.linesPerFrame": "512",
    "SI.hRoiManager.mroiEnable": "1",
    "SI.hRoiManager.scanType": "'frame'",
    "SI.hRoiManager.scanZoomFactor": "1",
    "SI.hScan2D.bidirectional": "true",
    "SI.hScan2D.channelOffsets": "[0 0 0 0]",
    "SI.hScan2D.channelsDataType": "'int16'",
    "SI.hScan2D.channelsInputRanges": "{[-1 1] [-0.5 0.5] [-1 1] [-1 1]}",
    "SI.hScan2D.fillFractionSpatial": "0.9",
    "SI.hScan2D.fillFractionTemporal": "0.712867",
    "SI.hScan2D.hasResonantMirror": "true",
    "SI.hScan2D.logAverageFactor": "1",
    "SI.hScan2D.name": "'ImagingScanner'",
    "SI.hScan2D.scanMode": "'resonant'",
    "SI.hScan2D.scannerType": "'RGG'",
    "SI.hStackManager.framesPerSlice": "Inf",
    "SI.hStackManager.numFastZActuators": "2",
    "SI.hStackManager.numSlices": "1",
    "SI.hStackManager.numVolumes": "10",
    "SI.hStackManager.stackDefinition": "'arbitrary'",
    "SI.hStackManager.stackMode": "'fast'",
    "SI.imagingSystem": "'ImagingScanner'",
    "SI.name": "'ScanImage'",
    "SI.userInfo": "''",
    "SI.warnMsg": "''",
}


def frame_data(config: SimulationConfig, geometry: SessionGeometry) -> str:
    """Make the header lines of the Software tag.

    With a template (a real header), only the values that the settings change are replaced.
    """
    decided = _decided(config, geometry)
    if config.header_template is None:
        lines = {name: value for name, value in {**_FIXED, **decided}.items() if value is not None}
        return "".join(f"{name} = {lines[name]}\n" for name in sorted(lines, key=_scanimage_order))
    out = []
    for line in config.header_template.splitlines():
        name, found, value = line.partition(" = ")
        wanted = decided.get(name)
        same = wanted is None or not found or _same(value, wanted)
        out.append(line if same else f"{name} = {wanted}")
    return "\n".join(out) + "\n"


def _scanimage_order(name: str) -> tuple[str, ...]:
    return tuple(name.split("."))


def _same(a: str, b: str) -> bool:
    """Tell whether two texts are the same value (as ``1`` and ``true``), to the digits that are written."""
    words = {"true": "1", "false": "0"}
    left, right = ([words.get(w, w) for w in s.strip("[]").replace(";", " ").split()] for s in (a, b))
    if len(left) != len(right):
        return False
    try:
        return all(abs(float(x) - float(y)) <= 2e-6 * abs(float(y)) for x, y in zip(left, right, strict=True))
    except ValueError:
        return left == right


def uuid_of(*parts: object) -> str:
    """Make an identifier like ScanImage's, sixteen hexadecimal digits, from values that identify an object."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:16].upper()


def roi_uuid(config: SimulationConfig, roi: int) -> str:
    """ScanImage's identifier of a ROI."""
    return config.rois[roi].uuid or uuid_of(config.seed, "roi", roi)


def _identity(uuid: str) -> dict[str, Any]:
    return {"roiUuid": uuid, "roiUuiduint64": float(f"{int(uuid, 16):.10g}")}


def _roi(config: SimulationConfig, index: int) -> dict[str, Any]:
    roi: RoiConfig = config.rois[index]
    uuid = roi_uuid(config, index)
    own = ScanfieldConfig(config.zs[0], roi.center_deg, roi.size_deg, roi.shape)
    fields = roi.scanfields or tuple(replace(own, z=z) for z in roi.zs or (config.zs[0],))
    zs = [field.z for field in fields]
    scanfields = [_scanfield(field, uuid_of(uuid, "scanfield", k)) for k, field in enumerate(fields)]
    return {
        "ver": 1,
        "classname": "scanimage.mroi.Roi",
        "name": roi.name,
        "UserData": None,
        **_identity(uuid),
        "zs": zs[0] if len(zs) == 1 else list(zs),
        "scanfields": scanfields[0] if len(zs) == 1 else scanfields,
        "discretePlaneMode": int(bool(roi.zs)),
        "powers": None,
        "pzAdjust": None,
        "Lzs": None,
        "interlaceDecimation": None,
        "interlaceOffset": None,
        "enable": 1,
    }


def _scanfield(field: ScanfieldConfig, uuid: str) -> dict[str, Any]:
    (cx, cy), (sx, sy), (ny, nx) = field.center_deg, field.size_deg, field.shape
    turn = math.radians(field.rotation_deg)
    cos, sin = (math.cos(turn), math.sin(turn)) if turn else (1, 0)
    a, b, c, d = cos * sx, -sin * sy, sin * sx, cos * sy
    left, top = cx - (a + b) / 2, cy - (c + d) / 2
    pixel = [
        [a / nx, b / ny, left - a / nx / 2 - b / ny / 2],
        [c / nx, d / ny, top - c / nx / 2 - d / ny / 2],
        [0, 0, 1],
    ]
    return {
        "ver": 1,
        "classname": "scanimage.mroi.scanfield.fields.RotatedRectangle",
        "name": "",
        "UserData": None,
        **_identity(uuid),
        "centerXY": [cx, cy],
        "sizeXY": [sx, sy],
        "rotationDegrees": field.rotation_deg or 0,
        "enable": 1,
        "pixelResolutionXY": [nx, ny],
        "pixelToRefTransform": pixel,
        "affine": [[a, b, left], [c, d, top], [0, 0, 1]],
    }


def roi_groups(config: SimulationConfig) -> dict[str, Any]:
    """Make the ROI groups of the Artist tag."""
    rois = [_roi(config, i) for i in range(len(config.rois))]
    group = {"ver": 1, "classname": "scanimage.mroi.RoiGroup", "UserData": None}
    empty = {"_ArrayType_": "double", "_ArraySize_": [1, 0], "_ArrayData_": None}
    return {
        "RoiGroups": {
            "imagingRoiGroup": {
                **group,
                "name": "MROI Imaging ROI Group",
                **_identity(uuid_of(config.seed, "imaging")),
                "rois": rois[0] if len(rois) == 1 else rois,
            },
            "photostimRoiGroups": None,
            "integrationRoiGroup": {
                **group,
                "name": "",
                **_identity(uuid_of(config.seed, "integration")),
                "rois": empty,
            },
        }
    }


def roi_groups_text(config: SimulationConfig) -> str:
    """ROI groups as JSON text."""
    return json_text(roi_groups(config), indent=2) + "\n"


def start_of_bout(config: SimulationConfig, offset_s: float) -> datetime:
    """Wall clock at the start of a bout; the first one starts at 10:49:53.448 on the session's day."""
    day = datetime.fromisoformat(config.date)
    return day.replace(hour=10, minute=49, second=53, microsecond=448000) + timedelta(seconds=offset_s)


def epoch(when: datetime) -> list[float]:
    """Date and time as ScanImage's six numbers, to the millisecond."""
    second = round(when.second + when.microsecond / 1e6, 3)
    return [when.year, when.month, when.day, when.hour, when.minute, second]


def descriptions(
    first: int,
    times: Iterable[float],
    start: datetime,
    n_channels: int,
    is_end: bool,
    averaged: int = 1,
    per_acquisition: int | None = None,
) -> list[str]:
    """Make the ImageDescription of pages, one per frame and channel.

    Parameters
    ----------
    first
        0-based number of the first frame in its bout, among those saved.
    times
        ``frameTimestamps_sec`` of each frame.
    start
        Wall clock at the start of the acquisition.
    n_channels
        Pages per frame.
    is_end
        Whether the last of these frames ends the acquisition.
    averaged
        Frames of which each saved one is the average; their numbers go up by as many.
    per_acquisition
        Frames of each acquisition of a bout that has several, as a slow stack has one for each slice.
    """
    y, mo, d, h, mi, s = epoch(start)
    stamp = f"[{y:4d} {mo:2d} {d:2d} {h:2d} {mi:2d} {s:06.3f}]"
    times = list(times)
    out = []
    for i, t in enumerate(times):
        k = (first + i) * averaged
        acquisition, in_acquisition = divmod(k, per_acquisition) if per_acquisition else (0, k)
        end = int(is_end and i == len(times) - 1)
        text = (
            f"frameNumbers = {k + 1}\nacquisitionNumbers = {acquisition + 1}\n"
            f"frameNumberAcquisition = {in_acquisition + 1}\n"
            f"frameTimestamps_sec = {t:.9f}\nacqTriggerTimestamps_sec = {-0.000010335 if k == 0 else -1:.9f}\n"
            f"nextFileMarkerTimestamps_sec = -1.000000000\nendOfAcquisition = {end}\nendOfAcquisitionMode = {end}\n"
            f"dcOverVoltage = 0\nepoch = {stamp}\nauxTrigger0 = []\nauxTrigger1 = []\nauxTrigger2 = []\n"
            "auxTrigger3 = []\nI2CData = {}\n"
        )
        out.extend([text] * n_channels)
    return out
