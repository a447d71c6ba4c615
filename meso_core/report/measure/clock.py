"""When the frames of a FOV were taken, as the figures show it.

What belongs here: the time axis, where bouts begin, and intervals. What does not: finding times (``timing``).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...session import Fov, SessionMetadata

#: An interval is a gap where it is longer than this many usual ones.
GAP = 1.5


@dataclass(frozen=True, slots=True)
class FovClock:
    """Times of the frames of a FOV."""

    #: (n_frames,) s since the first frame of the session's first FOV.
    seconds: NDArray[np.float64]
    #: First frame of each bout, ascending, and the number of all frames.
    edges: tuple[int, ...]
    #: Whether the times are those of the DAQ; else they are counted from the rate, without the pauses between bouts.
    is_measured: bool

    @property
    def starts_s(self) -> tuple[float, ...]:
        """Times of the first frames of all bouts but the first, s."""
        return tuple(float(self.seconds[edge]) for edge in self.edges[1:-1] if edge < len(self.seconds))


@dataclass(frozen=True, slots=True)
class Intervals:
    """Time from frame to frame of a FOV, bout by bout."""

    #: ms, all intervals within bouts.
    ms: NDArray[np.float64]
    #: ms, the median of them.
    usual_ms: float
    #: ms, standard deviation of those that are no gaps.
    jitter_ms: float
    #: Intervals longer than :data:`GAP` usual ones.
    n_gaps: int
    longest_ms: float


def bout_edges(metadata: SessionMetadata, fov: Fov) -> tuple[int, ...]:
    """Count the frames of a FOV before each bout, and all of them."""
    per_bout = [
        int((bout.imaging.stack.slices_of(bout.frames_in_acquisition) == fov.slice_index).sum())
        for bout in metadata.bouts
    ]
    return (0, *np.cumsum(per_bout).tolist())


def fov_clock(
    metadata: SessionMetadata, fov: Fov, n_frames: int, times: NDArray[Any] | None, origin_s: float
) -> FovClock:
    """Tell when each frame was taken.

    Parameters
    ----------
    metadata, fov
        The recording, and the FOV.
    n_frames
        Frames of the FOV.
    times
        ``mpci.times`` of it, s on the DAQ's clock; None where they were not found.
    origin_s
        Time that counts as 0, s on the DAQ's clock.
    """
    edges = bout_edges(metadata, fov)
    if edges[-1] != n_frames:
        edges = (0, n_frames)
    if times is not None and len(times) == n_frames:
        return FovClock(np.asarray(times, np.float64) - origin_s, edges, True)
    return FovClock(np.arange(n_frames) / metadata.imaging.fov_rate_hz, edges, False)


def against_microscope(metadata: SessionMetadata, fov: Fov, clock: FovClock) -> NDArray[np.float64] | None:
    """Compare the DAQ's clock with the microscope's own, which counts no pulses.

    Returns
    -------
    ndarray
        (n_frames,) ms: time since the first frame of its bout by the DAQ, less that by the microscope. Where a pulse
        was dropped, or one was counted too many, it changes by a frame's time at once. None where the frames of the
        clock are not those of the metadata.
    """
    if not clock.is_measured or len(clock.edges) != len(metadata.bouts) + 1:
        return None
    parts = []
    for bout, (first, last) in zip(metadata.bouts, pairwise(clock.edges), strict=True):
        is_own = bout.imaging.stack.slices_of(bout.frames_in_acquisition) == fov.slice_index
        own, seconds = bout.frame_times[is_own], clock.seconds[first:last]
        if len(own) != len(seconds):
            return None
        parts.append((seconds - seconds[:1]) - (own - own[:1]))
    return 1e3 * np.concatenate(parts)


def intervals(times: NDArray[Any], edges: tuple[int, ...]) -> Intervals:
    """Measure intervals between frames, without those from bout to bout.

    Parameters
    ----------
    times
        (n_frames,) s.
    edges
        First frame of each bout, and the number of frames.
    """
    parts = [np.diff(times[a:b]) for a, b in pairwise(edges)]
    ms = np.concatenate([np.zeros(0), *parts]) * 1e3
    if not ms.size:
        return Intervals(ms, float("nan"), float("nan"), 0, float("nan"))
    usual = float(np.median(ms))
    regular = ms[ms <= GAP * usual]
    return Intervals(ms, usual, float(regular.std()), int((ms > GAP * usual).sum()), float(ms.max()))
