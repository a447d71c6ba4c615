"""Where each FOV lies on a page, in time, and in the brain.

What belongs here: rows, lines, periods and corners; they follow from the settings alone. What does not: pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import RoiConfig, SimulationConfig

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
    """One FOV: a ROI at a slice, and its rows of the page."""

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


@dataclass(frozen=True, slots=True)
class SessionGeometry:
    """Pages, lines and periods of a session."""

    fovs: tuple[FovPlace, ...]
    page_height: int
    page_width: int
    n_slices: int
    #: Slices and fly-back frames of one volume.
    frames_per_volume: int
    #: Duration of a frame in lines: the page, and the fly-back at its end, which is not recorded.
    lines_per_frame: int
    scanner_frequency_hz: float

    @property
    def line_period(self) -> float:
        """Seconds per line; the mirror writes a line in both directions."""
        return 0.5 / self.scanner_frequency_hz

    @property
    def frame_period(self) -> float:
        """Seconds per page."""
        return self.lines_per_frame * self.line_period

    def frames_of_fov(self, fov: int, n_frames: int) -> int:
        """Count the frames of a FOV in a bout of ``n_frames`` ScanImage frames."""
        return len(range(self.fovs[fov].slice_id, n_frames, self.frames_per_volume))


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
            if roi.zs and z not in roi.zs:
                continue
            row += gap if row else 0
            ny, nx = roi.shape
            fovs.append(FovPlace(i, slice_id, z, row, row + ny, ny, nx))
            row += ny
        # every slice of a volume takes as long as the longest one
        height = max(height, row)
    n_slices = len(config.zs)
    width = config.rois[0].shape[1]
    return SessionGeometry(
        tuple(fovs), height, width, n_slices, n_slices + config.flyback_frames, height + back, frequency
    )


def coords_transform(config: SimulationConfig) -> NDArray[np.float64]:
    """Make T of ``[x, y, 1] @ T``, degrees to (ML, AP) in mm, rounded to 1 µm as by the rig's extractor."""
    res = config.objective_resolution / 1000
    image = np.array([[*POSITIVE_ML, 1], [*POSITIVE_AP, 1], [0, 0, 1]], float)
    brain = np.array([[res, 0], [0, res], [0, 0]]) + np.array(config.center_mm)
    return np.asarray(np.round(np.linalg.pinv(image) @ brain, 3) + 0.0)


def corners_deg(roi: RoiConfig) -> dict[str, list[float]]:
    """Compute the corners (x, y) of a ROI in degrees, by name."""
    (cx, cy), (sx, sy) = roi.center_deg, roi.size_deg
    signs = {"topLeft": (-1, -1), "topRight": (1, -1), "bottomLeft": (-1, 1), "bottomRight": (1, 1)}
    return {name: [cx + sx * ix / 2, cy + sy * iy / 2] for name, (ix, iy) in signs.items()}


def corners_mm(roi: RoiConfig, transform: NDArray[np.float64]) -> dict[str, list[float]]:
    """Compute the corners (ML, AP) of a ROI in mm, by name."""
    return {name: (np.array([*xy, 1.0]) @ transform).tolist() for name, xy in corners_deg(roi).items()}


def pixel_um(config: SimulationConfig, roi: RoiConfig) -> tuple[float, float]:
    """Compute height and width of a pixel in µm (y, x)."""
    (sx, sy), (ny, nx) = roi.size_deg, roi.shape
    return sy * config.objective_resolution / ny, sx * config.objective_resolution / nx
