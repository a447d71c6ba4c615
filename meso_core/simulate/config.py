"""Settings of a simulated session.

What belongs here: the settings, their checks, the presets, and settings from a real metadata file. What does not:
drawing and writing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import InputFileError, MissingInputError, SettingsError
from ..matlab import as_list
from ..session import IMAGING_META_FILE, SessionKey

#: Names of :func:`preset`.
PRESETS = ("tiny", "demo", "bench", "real")


@dataclass(frozen=True, slots=True)
class ScanfieldConfig:
    """A ROI's cross-section at a depth, in the units of :class:`RoiConfig`."""

    z: float
    center_deg: tuple[float, float]
    size_deg: tuple[float, float]
    shape: tuple[int, int]
    rotation_deg: float = 0.0


@dataclass(frozen=True, slots=True)
class RoiConfig:
    """One ScanImage ROI: a rectangle of the field that the microscope can reach. At each of its depths it is a FOV."""

    #: Centre (x, y) in ScanImage degrees.
    center_deg: tuple[float, float]
    #: Width and height (x, y) in degrees.
    size_deg: tuple[float, float]
    #: Lines and pixels per line (ny, nx).
    shape: tuple[int, int]
    #: Depths at which the ROI is scanned; empty means every slice of the stack.
    zs: tuple[float, ...] = ()
    #: Scanfields between which the ROI is interpolated, in place of one centre, size and shape; with them no ``zs``.
    scanfields: tuple[ScanfieldConfig, ...] = ()
    name: str = ""
    #: Sixteen hexadecimal digits; if empty, they follow from the seed.
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """Settings of a whole session; change them with :func:`dataclasses.replace`.

    The defaults of noise, motion and density come from real movies; :mod:`meso_core.simulate.tissue.optics` and
    :mod:`meso_core.simulate.tissue.motion` describe how.

    Raises
    ------
    SettingsError
        If a microscope could not record such a session.
    """

    rois: tuple[RoiConfig, ...]
    #: Depths of the stack in the order of scanning (µm); a depth may come more than once.
    zs: tuple[float, ...] = (245.0,)
    #: Pages at the end of each volume, recorded while the focus flies back.
    flyback_frames: int = 0
    #: ScanImage frames that follow each other at each depth of a volume.
    frames_per_slice: int = 1
    #: ScanImage frames of which a page is the average while logging; each has a pulse of its own.
    frames_averaged: int = 1
    #: Whether the focus scans on (fast), or stops at each depth, which is an acquisition of its own (slow).
    stack_mode: Literal["fast", "slow"] = "fast"
    #: Version of ScanImage, which decides how the header tells the stack.
    scanimage: Literal["2016b", "2018b", "2020"] = "2020"
    #: ScanImage frames of each bout (one page per saved channel); a bout may stop within a volume.
    frames_per_bout: tuple[int, ...] = (600,)
    #: ScanImage frames in one tif.
    frames_per_file: int = 1000
    #: Saved channels as ScanImage numbers them: 1 and 2 are green, 3 and 4 red.
    channels: tuple[int, ...] = (2,)
    #: Whether the channels are depths (light beads): each shows tissue of its own, in the same frame.
    channels_are_depths: bool = False

    subject: str = "SP035"
    date: str = "2023-03-03"
    number: str = "001"
    lab: str | None = None
    #: Allele of the subject's indicator line, as Alyx names it; it ends with the indicator.
    genotype: str = "Ai162-G6s"
    #: ``6s``, ``6m`` or ``6f``.
    indicator: str = "6s"
    seed: int = 0

    #: Resonant mirror, Hz; a line takes half a period.
    scanner_frequency_hz: float = 12018.5
    #: If given, the mirror's frequency is changed so that frames come at this rate.
    frame_rate_hz: float | None = None
    #: Galvo time from one field to the next, and back at the end of a page, s.
    flyto_s: float = 0.003
    flyback_s: float = 0.005
    #: µm per degree.
    objective_resolution: float = 150.0
    #: Window centre (ML, AP) in mm from bregma.
    center_mm: tuple[float, float] = (2.6, -2.0)

    #: Cells in focus per mm² of tissue.
    cells_per_mm2: float = 900.0
    #: Detected photons per pixel and frame at mean brightness.
    photons: float = 18.0
    #: int16 counts per photon, offset and read noise of the amplifier, counts.
    gain: float = 40.0
    offset: float = 120.0
    read_noise: float = 18.0
    #: Standard deviation of brain motion, µm (both axes together, slow and fast).
    motion_um: float = 1.4
    #: Largest non-rigid deformation, µm standard deviation.
    nonrigid_um: float = 0.6
    #: Slow axial drift over the session, µm.
    axial_drift_um: float = 4.0
    #: Share of brightness lost per hour of light.
    bleaching_per_hour: float = 0.15
    #: Share of frames that the rig spoils (laser shutter, galvo fault).
    bad_frame_share: float = 0.02

    daq_rate_hz: float = 1000.0
    #: Unused analogue inputs, in addition to the usual eight channels.
    daq_extra_channels: int = 0
    #: Pause between bouts, and before the first and after the last, s.
    bout_gap_s: float = 8.0

    #: Whether to write tifs; without them a long session takes seconds.
    write_movie: bool = True
    #: Whether pixels tell where they are from (:mod:`meso_core.simulate.files.plain`), in place of tissue: made at
    #: once. Without tissue there is neither a reference stack nor a snapshot.
    plain_movie: bool = False
    #: Depths of the reference stack relative to the first of the sorted ``zs``, µm: it then shows the tissue of the
    #: fields, with their cells; empty for a coarse picture of the whole window at three depths.
    reference_depths_um: tuple[float, ...] = ()
    #: Whether the rig delivers ``_ibl_rawImagingData.meta.json`` and ``rawImagingData.times_scanImage.npy``.
    write_metadata: bool = True

    #: ScanImage header of a real session; values that these settings do not decide come from it.
    header_template: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse settings that no microscope could have."""
        _check(self)

    @property
    def key(self) -> SessionKey:
        """Identity of the session."""
        return SessionKey(self.subject, self.date, self.number, self.lab)


def _check(c: SimulationConfig) -> None:
    known = set(c.zs)
    shapes = [f.shape for r in c.rois for f in (r.scanfields or (r,))]
    averaged = max(c.frames_averaged, 1)
    averages = c.frames_per_slice % averaged == 0 == c.flyback_frames % averaged
    numbers = set(range(1, 65)) if c.channels_are_depths else {1, 2, 3, 4}
    rules = (
        (bool(c.rois), "rois", "at least one ROI", "none"),
        (all(min(shape) >= 16 for shape in shapes), "rois", "at least 16 x 16 pixels", str(shapes)),
        (all(set(r.zs) <= known for r in c.rois), "rois", f"depths among zs {c.zs}", str([r.zs for r in c.rois])),
        (not any(r.zs and r.scanfields for r in c.rois), "rois", "zs or scanfields", "both"),
        (len(c.zs) > 0, "zs", "at least one depth", str(c.zs)),
        (c.frames_per_slice >= 1, "frames_per_slice", "a positive number", str(c.frames_per_slice)),
        (
            c.frames_averaged >= 1 and (averages or (len(c.zs) == 1 and not c.flyback_frames)),
            "frames_averaged",
            "a divisor of frames_per_slice and flyback_frames: other averages mix depths",
            str(c.frames_averaged),
        ),
        (c.stack_mode == "fast" or not c.flyback_frames, "flyback_frames", "0 in a slow stack", str(c.flyback_frames)),
        (
            c.scanimage == "2020" or c.stack_mode == "slow" or c.frames_per_slice == 1,
            "frames_per_slice",
            "1 in a fast stack before ScanImage 2020",
            str(c.frames_per_slice),
        ),
        (
            bool(c.frames_per_bout) and min(c.frames_per_bout, default=0) >= 1,
            "frames_per_bout",
            "positive numbers",
            str(c.frames_per_bout),
        ),
        (c.frames_per_file >= 1, "frames_per_file", "a positive number", str(c.frames_per_file)),
        (
            0 < len(c.channels) == len(set(c.channels)) and set(c.channels) <= numbers,
            "channels",
            f"different ones of 1 to {max(numbers)}",
            str(c.channels),
        ),
        (c.indicator in ("6s", "6m", "6f"), "indicator", "6s, 6m or 6f", c.indicator),
        (c.bout_gap_s > 1, "bout_gap_s", "more than 1 s, or bouts cannot be told apart", str(c.bout_gap_s)),
        (c.seed >= 0, "seed", "0 or more", str(c.seed)),
        (
            list(c.reference_depths_um) == sorted(set(c.reference_depths_um)),
            "reference_depths_um",
            "different depths, ascending",
            str(c.reference_depths_um),
        ),
        (c.flyback_frames >= 0, "flyback_frames", "0 or more", str(c.flyback_frames)),
    )
    for fine, name, expected, found in rules:
        if not fine:
            raise SettingsError.at(
                "SimulationConfig", field=name, expected=expected, found=found, remedy=f"Change {name}"
            )
    SessionKey.parse(str(c.key))


def _row_of_rois(shapes: tuple[tuple[int, int], ...], um_per_px: float, resolution: float) -> tuple[RoiConfig, ...]:
    """Place fields side by side in two columns around the window's centre, without overlap."""
    rois = []
    pitch = (max(max(s) for s in shapes) + 8) * um_per_px / resolution
    for i, (ny, nx) in enumerate(shapes):
        col, row = i % 2, i // 2
        rows = (len(shapes) + 1) // 2
        center = (round((col - 0.5) * pitch, 9), round((row - (rows - 1) / 2) * pitch, 9))
        size = (round(nx * um_per_px / resolution, 9), round(ny * um_per_px / resolution, 9))
        rois.append(RoiConfig(center, size, (ny, nx), name=f"ROI {i + 1}"))
    return tuple(rois)


def preset(name: str) -> SimulationConfig:
    """Return the settings of a ready-made session.

    ======  =========================================================================================
    tiny    2 bouts (80 + 40 frames), 3 fields of 96 × 96, 64 × 96 and 80 × 96; made in seconds
    demo    1 bout of 600 frames, 3 fields of 160 × 160
    bench   1 bout of 1200 frames, 4 fields of 512 × 512
    real    2 bouts of 4000 frames, 8 fields of 512 × 512, the size of a real session
    ======  =========================================================================================

    Raises
    ------
    SettingsError
        If there is no such preset.
    """
    px = 4.6665 * 150 / 512  # µm, of the real session SP061
    full = (512, 512)
    if name == "tiny":
        return SimulationConfig(
            _row_of_rois(((96, 96), (64, 96), (80, 96)), px, 150),
            frames_per_bout=(80, 40),
            frames_per_file=50,
            frame_rate_hz=6.0,
            bout_gap_s=3.0,
        )
    if name == "demo":
        return SimulationConfig(
            _row_of_rois(((160, 160),) * 3, px, 150), frames_per_bout=(600,), frames_per_file=250, frame_rate_hz=6.0
        )
    if name == "bench":
        return SimulationConfig(_row_of_rois((full,) * 4, px, 150), frames_per_bout=(1200,))
    if name == "real":
        return SimulationConfig(_row_of_rois((full,) * 8, px, 150), frames_per_bout=(4000, 4000))
    raise SettingsError.at("preset", expected=" | ".join(PRESETS), found=repr(name), remedy="Choose one of them")


def config_from_meta(meta_json_path: str | Path, **changes: Any) -> SimulationConfig:  # noqa: ANN401  of any field
    """Return settings with the geometry, the rates and the header of a real session.

    Parameters
    ----------
    meta_json_path
        A ``_ibl_rawImagingData.meta.json`` that holds the raw ScanImage header.
    **changes
        Other values for fields of :class:`SimulationConfig`, as ``frames_per_bout=(100,)``.

    Raises
    ------
    MissingInputError, InputFileError, SettingsError
        If the file is missing, holds no such metadata, or a change has an unknown name.
    """
    path = Path(meta_json_path)
    if not path.is_file():
        raise MissingInputError.at(path, expected="a metadata file", found="no such file", remedy="Check the path")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        config = _from_meta(meta)
    except (KeyError, TypeError, ValueError) as error:
        raise InputFileError.at(
            path,
            expected="metadata with rawScanImageMeta and scanImageParams",
            found=f"{error!r}",
            remedy=f"Give a complete {IMAGING_META_FILE}",
        ) from error
    unknown = set(changes) - {f.name for f in fields(SimulationConfig)}
    if unknown:
        raise SettingsError.at(
            "config_from_meta",
            expected="fields of SimulationConfig",
            found=", ".join(sorted(unknown)),
            remedy="Check the spelling",
        )
    return replace(config, **changes)


def _header_value(header: str, name: str, default: float) -> float:
    for line in header.splitlines():
        if line.startswith(f"SI.{name} = "):
            return float(line.partition(" = ")[2])
    return default


def _from_meta(meta: dict[str, Any]) -> SimulationConfig:
    raw, params = meta["rawScanImageMeta"], meta["scanImageParams"]
    header = raw["Software"]
    rois = []
    for roi in as_list(raw["Artist"]["RoiGroups"]["imagingRoiGroup"]["rois"]):
        if not roi.get("enable", 1):
            continue
        sf = as_list(roi["scanfields"])[0]
        (nx, ny), zs = sf["pixelResolutionXY"], tuple(float(z) for z in as_list(roi["zs"]))
        rois.append(
            RoiConfig(
                tuple(sf["centerXY"]),
                tuple(sf["sizeXY"]),
                (ny, nx),
                zs=zs if roi["discretePlaneMode"] else (),
                name=roi["name"],
                uuid=roi["roiUuid"],
            )
        )
    stack = [as_list(z)[0] for z in as_list(params["hStackManager"]["zs"])]
    per_slice = _header_value(header, "hStackManager.framesPerSlice", 1)
    per_slice = int(per_slice) if len(stack) > 1 and per_slice != float("inf") and len(stack) % per_slice == 0 else 1
    return SimulationConfig(
        tuple(rois),
        zs=tuple(float(z) for z in stack[::per_slice]),
        frames_per_slice=per_slice,
        frames_averaged=int(_header_value(header, "hScan2D.logAverageFactor", 1)),
        channels=tuple(as_list(meta["channelSaved"])),
        scanner_frequency_hz=params["hScan2D"]["scannerFrequency"],
        flyto_s=params["hScan2D"]["flytoTimePerScanfield"],
        flyback_s=_header_value(header, "hScan2D.flybackTimePerFrame", 0.005),
        frames_per_file=int(min(_header_value(header, "hScan2D.logFramesPerFile", 1000), 1_000_000)),
        objective_resolution=params["objectiveResolution"],
        center_mm=(meta["centerMM"]["ML"], meta["centerMM"]["AP"]),
        header_template=header,
    )
