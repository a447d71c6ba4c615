"""Where each FOV lies on a page, in time, and in the brain.

What belongs here: rows, lines, periods and corners; they follow from the settings alone. What does not: pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...errors import SettingsError
from ..config import RoiConfig, ScanfieldConfig, SimulationConfig

#: Image axes (x, y) that point to positive ML and positive AP on the rig.
POSITIVE_ML = (0, -1)
POSITIVE_AP = (-1, 0)


def fly_lines(seconds: float, line_period: float) -> int:
    """Count the lines while the galvos fly for ``seconds``: an even number, since a mirror period holds two lines.

    ``2 ceil(t / (2 linePeriod))`` agrees with the 74 filler lines between the fields of the real session SP061 (3 ms).
    With the fly-back time at the end of the page it gives the frame period in the headers of three real microscopes.
    """
    return 2 * math.ceil(seconds / (2 * line_period) - 1e-9)


@dataclass(frozen=True, slots=True)
class FovPlace:
    """One FOV: a ROI at a slice (and in a channel, where channels are depths), and its rows of the page."""

    #: Index of the ROI in the settings.
    roi: int
    #: Position of the slice in the order of scanning, 0-based.
    slice_id: int
    z: float
    #: First row, and the row after the last, 0-based.
    row_start: int
    row_stop: int
    ny: int
    nx: int
    #: Centre and size (x, y) and rotation there, degrees.
    center_deg: tuple[float, float]
    size_deg: tuple[float, float]
    rotation_deg: float
    #: Number of the channel that shows it, where channels are depths; else None.
    channel: int | None


@dataclass(frozen=True, slots=True)
class SessionGeometry:
    """Pages, lines and periods of a session."""

    fovs: tuple[FovPlace, ...]
    page_height: int
    page_width: int
    n_slices: int
    #: Frames of one volume: those of all slices, and fly-back.
    frames_per_volume: int
    frames_per_slice: int
    #: Frames of which a page is the average.
    frames_averaged: int
    #: Duration of a frame in lines: the page, and the fly-back at its end, which is not recorded.
    lines_per_frame: int
    scanner_frequency_hz: float

    @property
    def line_period(self) -> float:
        """Seconds per line; the mirror writes a line in both directions."""
        return 0.5 / self.scanner_frequency_hz

    @property
    def frame_period(self) -> float:
        """Seconds per frame."""
        return self.lines_per_frame * self.line_period

    def frames_of_fov(self, fov: int, n_frames: int) -> int:
        """Count the images of a FOV in a bout of ``n_frames`` ScanImage frames."""
        return len(self.frames_at(self.fovs[fov].slice_id, n_frames))

    def saved_frames(self, n_frames: int) -> NDArray[np.int64]:
        """List the ScanImage frames of a bout that pages begin with, i8; an average that is not full is not saved."""
        return np.arange(0, n_frames - self.frames_averaged + 1, self.frames_averaged)

    def frames_at(self, slice_id: int, n_frames: int) -> NDArray[np.int64]:
        """List those of the saved frames of a bout that show a slice, i8."""
        saved = self.saved_frames(n_frames)
        first = slice_id * self.frames_per_slice
        place = saved % self.frames_per_volume
        return saved[(place >= first) & (place < first + self.frames_per_slice)]


def session_geometry(config: SimulationConfig) -> SessionGeometry:
    """Lay out the pages of a session."""
    frequency = config.scanner_frequency_hz
    geometry = _layout(config, frequency)
    if config.frame_rate_hz is not None:
        for _ in range(50):  # the filler lines depend on the line period, so this takes a few rounds
            frequency = config.frame_rate_hz * geometry.lines_per_frame / 2
            found = _layout(config, frequency)
            if found.lines_per_frame == geometry.lines_per_frame:
                return found
            geometry = found
    return geometry


def _layout(config: SimulationConfig, frequency: float) -> SessionGeometry:
    line_period = 0.5 / frequency
    gap, back = fly_lines(config.flyto_s, line_period), fly_lines(config.flyback_s, line_period)
    fovs: list[FovPlace] = []
    height = 0
    for slice_id, z in enumerate(config.zs):
        row = 0
        for i, roi in enumerate(config.rois):
            field = cross_section(roi, z)
            if field is None:
                continue
            row += gap if row else 0
            (ny, nx), where = field.shape, (field.center_deg, field.size_deg, field.rotation_deg)
            fovs.append(FovPlace(i, slice_id, z, row, row + ny, ny, nx, *where, None))
            row += ny
        # every slice of a volume takes as long as the longest one
        height = max(height, row)
    if not fovs:
        raise SettingsError.at(
            "SimulationConfig",
            field="rois",
            expected=f"a ROI that is imaged at one of the depths {config.zs}",
            found="none",
            remedy="Change zs, or the scanfields of a ROI",
        )
    width = max(place.nx for place in fovs)
    if config.channels_are_depths:
        fovs = [replace(place, channel=channel) for channel in config.channels for place in fovs]
    per_volume = len(config.zs) * config.frames_per_slice + config.flyback_frames
    numbers = (len(config.zs), per_volume, config.frames_per_slice, config.frames_averaged)
    return SessionGeometry(tuple(fovs), height, width, *numbers, height + back, frequency)


def cross_section(roi: RoiConfig, z: float) -> ScanfieldConfig | None:
    """Cut a ROI at a depth, as ScanImage does; None where it is not imaged.

    Between scanfields all numbers change linearly, rotation the shorter way round, pixels to the nearest even number.
    """
    fields = sorted(roi.scanfields, key=lambda field: field.z)
    if not fields:
        return None if roi.zs and z not in roi.zs else ScanfieldConfig(z, roi.center_deg, roi.size_deg, roi.shape)
    zs = [field.z for field in fields]
    if z in zs:
        return fields[zs.index(z)]
    if len(fields) > 1 and not zs[0] < z < zs[-1]:
        return None
    turns = np.unwrap([field.rotation_deg for field in fields], period=360)
    table = np.array([(*f.center_deg, *f.size_deg, *f.shape, turn) for f, turn in zip(fields, turns, strict=True)])
    x, y, w, h, ny, nx, turn = (float(np.interp(z, zs, column)) for column in table.T)
    shape = (2 * int(ny / 2 + 0.5), 2 * int(nx / 2 + 0.5))
    if len(fields) == 1:
        shape = fields[0].shape
    return ScanfieldConfig(z, (x, y), (w, h), shape, turn)


def coords_transform(config: SimulationConfig) -> NDArray[np.float64]:
    """Make T of ``[x, y, 1] @ T``, degrees to (ML, AP) in mm, rounded to 1 µm as by the rig's extractor."""
    res = config.objective_resolution / 1000
    image = np.array([[*POSITIVE_ML, 1], [*POSITIVE_AP, 1], [0, 0, 1]], float)
    brain = np.array([[res, 0], [0, res], [0, 0]]) + np.array(config.center_mm)
    return np.asarray(np.round(np.linalg.pinv(image) @ brain, 3) + 0.0)


def corners_deg(place: FovPlace) -> dict[str, list[float]]:
    """Compute the corners (x, y) of a FOV in degrees, by name."""
    (cx, cy), (sx, sy) = place.center_deg, place.size_deg
    turn = math.radians(place.rotation_deg)
    cos, sin = (math.cos(turn), math.sin(turn)) if turn else (1, 0)
    signs = {"topLeft": (-1, -1), "topRight": (1, -1), "bottomLeft": (-1, 1), "bottomRight": (1, 1)}
    halves = {name: (sx * ix / 2, sy * iy / 2) for name, (ix, iy) in signs.items()}
    return {name: [cx + (cos * x - sin * y), cy + (sin * x + cos * y)] for name, (x, y) in halves.items()}


def corners_mm(place: FovPlace, transform: NDArray[np.float64]) -> dict[str, list[float]]:
    """Compute the corners (ML, AP) of a FOV in mm, by name."""
    return {name: (np.array([*xy, 1.0]) @ transform).tolist() for name, xy in corners_deg(place).items()}


def pixel_um(config: SimulationConfig, place: FovPlace) -> tuple[float, float]:
    """Compute height and width of a pixel in µm (y, x)."""
    sx, sy = place.size_deg
    return sy * config.objective_resolution / place.ny, sx * config.objective_resolution / place.nx
