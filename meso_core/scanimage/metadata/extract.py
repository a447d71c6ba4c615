"""Imaging metadata from the headers of the tifs, as the rig's MATLAB code makes them.

What belongs here: ``_ibl_rawImagingData.meta.json`` (structure of version 0.2.1) and
``rawImagingData.times_scanImage.npy``. What does not: older versions of that file (``patch``), several bouts
(``bouts``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import InputFileError, MetadataError, MissingInputError, brief
from ...matlab import as_list
from ..frames.faults import DamagedFrames, tell_of_faults
from ..frames.on_file import FramesOnFile, channels_on_file, frames_on_file
from ..frames.sources import LocalTif
from ..tiff.header import OTHER_HEADER, frames_averaged, parse_si_header
from ..tiff.pages import ScanImageTif
from .fields import is_number
from .rois import SiHeader, fov_records

META_VERSION = "0.2.1"
_UNITS = {1: "None", 2: "Inch", 3: "Centimeter"}


def _ramp(top: float) -> list[float]:
    """101 equal steps from 0, whole numbers as int."""
    values = [round(top * i / 100, 10) for i in range(101)]
    return [int(v) if v == int(v) else v for v in values]


@dataclass(frozen=True, slots=True)
class Rig:
    """What no header says about a microscope. The defaults are those of the IBL's mesoscope."""

    #: Channel numbers by colour and by path of the beam.
    channel_id: Mapping[str, Sequence[int]] = field(
        default_factory=lambda: {"green": [1, 2], "red": [3, 4], "primary": [2, 4], "secondary": [1, 3]}
    )
    #: Direction in the image (x right, y down) in which ML and AP grow: unit vectors.
    positive_ml: tuple[float, float] = (0, -1)
    positive_ap: tuple[float, float] = (-1, 0)
    #: Calibration of the laser: control voltage, per cent, mW; the second plane's voltage and per cent.
    laser_power_calibration: Mapping[str, Sequence[float]] = field(
        default_factory=lambda: {
            "V": _ramp(5),
            "Prcnt": _ramp(100),
            "mW": _ramp(1200),
            "dualV": _ramp(2),
            "dualPrc": _ramp(100),
        }
    )
    pmt_gain: Sequence[float] = ()


def extract_imaging_meta(
    tifs: Iterable[str | os.PathLike[str] | ScanImageTif] | str | os.PathLike[str] | ScanImageTif,
    center_ml: float,
    center_ap: float,
    *,
    rig: Rig | None = None,
    damaged_frames: DamagedFrames = "salvage",
) -> tuple[dict[str, Any], npt.NDArray[np.float64]]:
    """Make the imaging metadata of one bout from its tifs. No pixel is read.

    Parameters
    ----------
    tifs
        All tifs of the bout, in order; or the one tif of it.
    center_ml, center_ap
        Centre of the cranial window from bregma, mm; known from surgery, not from a header.
    rig
        What no header says about the microscope.
    damaged_frames
        As for :func:`~meso_core.scanimage.bin_per_plane`.

    Returns
    -------
    meta : dict
        Content of ``_ibl_rawImagingData.meta.json``, version 0.2.1. As in the files of the rig, ``nFrames`` counts
        pages: all slices, fly-back frames and channels of the frames that are whole.
    times : ndarray of float64, shape (nFrames,)
        Seconds since the start of the acquisition by ScanImage's clock, for each page; the channels of a frame have
        the same. Content of ``rawImagingData.times_scanImage.npy``.

    Raises
    ------
    MissingInputError
        If there are no tifs.
    InputFileError
        If a tif is no ScanImage tif, or of another recording, or, with ``refuse``, frames are missing or not whole.
    MetadataError
        If the header lacks a field, or contradicts itself or the pages, or the window's centre is not a number.
    """
    tifs = [tifs] if isinstance(tifs, str | os.PathLike | ScanImageTif) else list(tifs)
    meta, found = meta_with_frames(tifs, center_ml, center_ap, rig=rig)
    bout = LocalTif(tifs[0]).path.parent.name
    tell_of_faults(bout, found.faults, found.index.size, damaged_frames)
    return meta, np.repeat(found.heads["time"], len(as_list(meta["channelSaved"])))


def meta_with_frames(
    tifs: Sequence[str | os.PathLike[str] | ScanImageTif | LocalTif],
    center_ml: float,
    center_ap: float,
    *,
    rig: Rig | None = None,
) -> tuple[dict[str, Any], FramesOnFile]:
    """Make the imaging metadata of a bout, and find its frames; as :func:`extract_imaging_meta`, faults untold."""
    for name, value in (("center_ml", center_ml), ("center_ap", center_ap)):
        if not is_number(value):
            remedy = "Give the centre of the cranial window from the surgery record; no tif holds it"
            raise MetadataError.at(name, expected="mm from bregma", found=brief(value), remedy=remedy)
    if not tifs:
        raise MissingInputError.at("tifs", expected="at least one tif", found="none", remedy="Give the tifs of a bout")
    opened = [tif if isinstance(tif, LocalTif) else LocalTif(tif) for tif in tifs]
    bout, where = opened[0].path.parent.name, str(opened[0].path)
    raw = raw_scanimage_meta(_first_whole(opened))
    saved = saved_channels(raw["Software"], where)
    channels = channels_on_file(bout, [tif.name for tif in opened], saved)
    found = frames_on_file(bout, opened, channels, frames_averaged(raw["Software"]))
    meta = meta_from_header(raw, center_ml, center_ap, found.index.size * len(channels), rig=rig, where=where)
    return meta if channels == saved else {**meta, "channelSaved": list(channels)}, found


def _first_whole(tifs: Sequence[LocalTif]) -> ScanImageTif:
    """Index of the first tif that has a whole page."""
    for source in tifs:
        if source.tif.n_pages:
            return source.tif
    raise InputFileError.at(
        tifs[0].path.parent,
        expected="a tif with a whole page",
        found=f"none in {len(tifs)} tifs; of the first: {tifs[0].damage.found if tifs[0].damage else 'no page'}",
        remedy="Copy the tifs from the rig again. If the rig's are the same, move the bout's folder out of the session",
    )


def saved_channels(software: str, where: str) -> tuple[int, ...]:
    """Read the numbers of the channels saved from the header of a tif."""
    saved = SiHeader(parse_si_header(software), where)["hChannels.channelSave"]
    channels = [c for row in as_list(saved) for c in as_list(row)]
    if not channels or not all(isinstance(c, int) and not isinstance(c, bool) for c in channels):
        field, expected = "hChannels.channelSave", "numbers of channels"
        raise MetadataError.at(where, field=field, expected=expected, found=brief(saved), remedy=OTHER_HEADER)
    return tuple(channels)


def raw_scanimage_meta(tif: ScanImageTif) -> dict[str, Any]:
    """Header of a tif in the form that MATLAB's ``imfinfo`` gives it (``rawScanImageMeta`` in the metadata)."""
    from ..tiff.header import parse_roi_groups

    x_resolution, y_resolution, unit = tif.page.resolution
    return {
        "Artist": parse_roi_groups(tif.artist, str(tif.path)),
        "ImageDescription": tif.description,
        "Software": tif.software,
        "Format": "tif",
        "Width": tif.page.width,
        "Height": tif.page.height,
        "BitDepth": 16,
        "ByteOrder": "little-endian",
        "XResolution": x_resolution,
        "YResolution": y_resolution,
        "ResolutionUnit": _UNITS.get(unit, "None"),
    }


def meta_from_header(
    raw: dict[str, Any],
    center_ml: float,
    center_ap: float,
    n_pages: int,
    *,
    rig: Rig | None = None,
    where: str = "rawScanImageMeta",
) -> dict[str, Any]:
    """Derive all imaging metadata from the raw header of a recording (a pure function).

    Parameters
    ----------
    raw
        ``rawScanImageMeta``: Artist, Software, ImageDescription, Width, Height …
    center_ml, center_ap
        Centre of the cranial window from bregma, mm.
    n_pages
        Pages of the recording (``nFrames`` in the file).
    rig
        What no header says about the microscope.
    where
        File that the header is from, for messages.

    Notes
    -----
    ``[ML, AP] = [x - x0, y - y0, 1] @ coordsTF`` takes scan angles (degrees, window centre ``x0, y0``) to mm: the unit
    vectors ``imageOrientation`` go to ``objectiveResolution`` (µm per degree), the window's centre to
    ``(center_ml, center_ap)``.
    """
    rig = rig or Rig()
    header = SiHeader(parse_si_header(raw["Software"]), where)
    resolution = header.number("objectiveResolution")
    # old recordings have no circle: their window is centred
    offset = [float(o) for o in np.ravel(as_list(header.get("hDisplay.circleOffset", [0, 0])))]
    center_deg = [o / resolution for o in offset]
    transform = coords_transform(rig.positive_ml, rig.positive_ap, resolution, center_ml, center_ap)
    return {
        "version": META_VERSION,
        "channelID": {k: list(v) for k, v in rig.channel_id.items()},
        "laserPowerCalibration": {k: list(v) for k, v in rig.laser_power_calibration.items()},
        "imageOrientation": {"positiveML": list(rig.positive_ml), "positiveAP": list(rig.positive_ap)},
        "centerDeg": {"x": center_deg[0], "y": center_deg[1]},
        "centerMM": {"x": offset[0] / 1000, "y": offset[1] / 1000, "ML": center_ml, "AP": center_ap},
        "rawScanImageMeta": raw,
        "PMTGain": list(rig.pmt_gain),
        "channelSaved": header["hChannels.channelSave"],
        "FOV": fov_records(raw, header, center_deg, transform),
        "acquisitionStartTime": _start_time(raw["ImageDescription"], where),
        "nFrames": n_pages,
        "scanImageParams": _scan_image_params(header),
        "coordsTF": np.round(transform, 12).tolist(),
    }


def coords_transform(
    positive_ml: Sequence[float],
    positive_ap: Sequence[float],
    resolution: float,
    center_ml: float,
    center_ap: float,
) -> npt.NDArray[np.float64]:
    """Transform from ``[x, y, 1]`` (degrees from the window's centre) to ``[ML, AP]`` (mm), shape (3, 2).

    Parameters
    ----------
    positive_ml, positive_ap
        Unit vectors in the image along which ML and AP grow.
    resolution
        µm per degree.
    center_ml, center_ap
        Window centre, mm.
    """
    scale = resolution / 1000
    image = np.array([[*positive_ml, 1], [*positive_ap, 1], [0, 0, 1]], float)
    brain = np.array([[scale, 0], [0, scale], [0, 0]]) + np.array([center_ml, center_ap])
    transform: npt.NDArray[np.float64] = np.linalg.pinv(image) @ brain
    return transform


def _scan_image_params(header: SiHeader) -> dict[str, Any]:
    names = {
        "hScan2D": ("flytoTimePerScanfield", "scannerFrequency"),
        "hFastZ": ("enableFieldCurveCorr", "position"),
        "hRoiManager": ("scanFramePeriod", "scanFrameRate", "scanVolumeRate", "linePeriod"),
        "hStackManager": ("zs", "zsRelative", "zsAllActuators"),
    }
    params: dict[str, Any] = {"objectiveResolution": header["objectiveResolution"]}
    for part, fields in names.items():
        # not every version of ScanImage has all of them; the reader of a field asks for it
        params[part] = {name: header[f"{part}.{name}"] for name in fields if header.has(f"{part}.{name}")}
    for name in ("scanVolumeRate", "linePeriod"):
        params["hRoiManager"][name] = header[f"hRoiManager.{name}"]
    # the rig's code writes the depths here too, not their number; files must compare equal
    if "zs" in params["hStackManager"]:
        params["hStackManager"] = {"numSlices": params["hStackManager"]["zs"], **params["hStackManager"]}
    return params


def _start_time(description: str, where: str) -> list[float]:
    for line in description.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "epoch":
            parts = value.strip().strip("[]").split()
            return [int(p) if p.isdigit() else float(p) for p in parts]
    field, expected = "ImageDescription", "an epoch, the start of the acquisition"
    raise MetadataError.at(where, field=field, expected=expected, found="none", remedy=OTHER_HEADER)
