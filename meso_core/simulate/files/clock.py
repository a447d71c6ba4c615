"""Times of frames, on the microscope's clock and on the DAQ's.

What belongs here: the true times of a session. What does not: how the DAQ samples them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import SimulationConfig
from ..tissue.geometry import SessionGeometry

#: How much longer times are on the DAQ's clock than on the microscope's (crystals differ by some 10 ppm).
_CLOCK_RATIO = 1 + 7e-6
#: Standard deviation of the mirror's period from frame to frame (real files: some 15 ns of 1.9 ms).
_PERIOD_JITTER = 5e-6
#: Time that a slow stack takes from one depth to the next, s.
_MOVE_S = 0.3


@dataclass(frozen=True, slots=True)
class Bout:
    """One imaging bout on both clocks."""

    index: int
    #: Offset of the bout's start from the session's first, by the wall clock, s.
    start_s: float
    #: Time of each ScanImage frame since the bout's start on the microscope's clock, f8 (n_frames,), s.
    scanimage: NDArray[np.float64]
    #: The same on the DAQ's clock, since the DAQ's start.
    daq: NDArray[np.float64]


def frame_clock(config: SimulationConfig, geometry: SessionGeometry) -> tuple[Bout, ...]:
    """Make the times of all frames of all bouts."""
    bouts: list[Bout] = []
    begin = config.bout_gap_s / 2 + 0.00037  # not on a sample of the DAQ
    for i, n in enumerate(config.frames_per_bout):
        rng = np.random.default_rng([config.seed, 101, i])
        period = geometry.frame_period * (1 + _PERIOD_JITTER * rng.standard_normal(n))
        if config.stack_mode == "slow":
            period[geometry.frames_per_slice - 1 :: geometry.frames_per_slice] += _MOVE_S
        scanimage = np.round(np.concatenate([[0.0], np.cumsum(period)[:-1]]), 9)
        daq = begin + scanimage * _CLOCK_RATIO
        bouts.append(Bout(i, begin - bouts[0].daq[0] if bouts else 0.0, scanimage, daq))
        begin = float(daq[-1]) + geometry.frame_period + config.bout_gap_s + 0.00011
    return tuple(bouts)


def fov_times(geometry: SessionGeometry, fov: int, frames_daq: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the time of a FOV's first line in each of its frames, DAQ clock, f8 (n_fov_frames,), s."""
    place = geometry.fovs[fov]
    own = frames_daq[geometry.frames_at(place.slice_id, len(frames_daq))]
    return np.asarray(own + place.row_start * geometry.line_period * _CLOCK_RATIO)


def daq_duration(config: SimulationConfig, geometry: SessionGeometry, bouts: tuple[Bout, ...]) -> float:
    """Compute how long the DAQ recorded, s."""
    return float(bouts[-1].daq[-1]) + geometry.frame_period + config.bout_gap_s / 2
