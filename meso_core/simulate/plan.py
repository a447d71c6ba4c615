"""What happens in a session, before any pixel is drawn.

What belongs here: the frames, their times, and which of them are bad. What does not: files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .config import SimulationConfig
from .files.clock import Bout, fov_times, frame_clock
from .tissue.geometry import SessionGeometry, session_geometry

#: Kinds of frames: good, without light (only the amplifier's noise), with a fault of the galvos.
FINE, PMT_OFF, GALVOS_FAULT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """Settings and what follows from them alone."""

    config: SimulationConfig
    geometry: SessionGeometry
    bouts: tuple[Bout, ...]
    #: Kind of each ScanImage frame, u1, one array per bout.
    faults: tuple[NDArray[np.uint8], ...]

    @property
    def frame_times(self) -> NDArray[np.float64]:
        """DAQ time of all ScanImage frames of all bouts, s."""
        return np.concatenate([b.daq for b in self.bouts])

    def fov_series(self, fov: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Return times (DAQ clock, s) and kinds of a FOV's frames over all bouts, f8 and u1 (n_frames,)."""
        g = self.geometry
        times = [fov_times(g, fov, b.daq) for b in self.bouts]
        kinds = [f[g.frames_at(g.fovs[fov].slice_id, len(f))] for f in self.faults]
        return np.concatenate(times), np.concatenate(kinds)


def make_plan(config: SimulationConfig) -> SessionPlan:
    """Lay out a session."""
    geometry = session_geometry(config)
    bouts = frame_clock(config, geometry)
    return SessionPlan(config, geometry, bouts, tuple(_bad_frames(config, b.index, len(b.daq)) for b in bouts))


def _bad_frames(config: SimulationConfig, bout: int, n: int) -> NDArray[np.uint8]:
    """Choose bad frames: half of them in one run, the other half at random."""
    rng = np.random.default_rng([config.seed, 701, bout])
    kind = np.zeros(n, np.uint8)
    wanted = round(config.bad_frame_share * n)
    if not wanted:
        return kind
    dark = max(wanted // 2, 1)
    start = int(rng.integers(n // 4, max(n - dark, n // 4 + 1)))
    kind[start : start + dark] = PMT_OFF
    free = np.flatnonzero(kind == FINE)[2:]
    kind[rng.choice(free, min(wanted - dark, free.size), replace=False)] = GALVOS_FAULT
    return kind
