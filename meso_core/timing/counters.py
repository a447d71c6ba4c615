"""When an edge counter of the DAQ rose.

What belongs here: from counts to edges, over wraps and resets, block by block. What does not: files and channels
(``timeline``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputFileError

#: Widths in bits of the counters of National Instruments boards (X and M series 32, E series 24), and of cheaper ones.
COUNTER_BITS = (32, 24, 16)
#: More edges than this between two samples are not a wrap but a counter that was set to another value.
MAX_EDGES_PER_SAMPLE = 1000


@dataclass(frozen=True, slots=True)
class CounterEdges:
    """The moments at which an edge counter rose."""

    #: (n_edges,) int64, index of the first sample at which the higher count was read.
    samples: NDArray[np.int64]
    #: (n_edges,) f8, s, DAQ clock.
    times: NDArray[np.float64]
    #: How often the counter ran over its highest value.
    n_wraps: int
    #: How often it was set back to a smaller value without a wrap.
    n_resets: int
    #: Samples between which the count rose by more than one; they count as one edge each.
    n_multiple: int


class EdgeFinder:
    """Collects the changes of one counter, block by block."""

    def __init__(self, path: Path, channel: str) -> None:
        self.path, self.channel = path, channel
        self._last: float | None = None
        self._samples: list[NDArray[np.int64]] = []
        self._before: list[NDArray[np.float64]] = []
        self._after: list[NDArray[np.float64]] = []

    def add(self, first: int, values: NDArray[Any]) -> None:
        """Take the counts of samples ``first`` and on."""
        if self._last is None:
            self._last = self._finite(values[:1], first)[0]
        if values[0] != self._last:
            self._note(np.array([first]), np.array([self._last]), values[:1])
        # a NaN differs from everything, itself included, so it always turns up here
        changed = np.flatnonzero(values[1:] != values[:-1])
        self._note(changed + first + 1, values[changed], values[changed + 1])
        self._last = float(values[-1])

    def _note(self, samples: NDArray[np.int64], before: NDArray[Any], after: NDArray[Any]) -> None:
        self._samples.append(samples)
        self._before.append(before.astype(np.float64))
        self._after.append(self._finite(after, samples))

    def _finite(self, values: NDArray[Any], samples: NDArray[np.int64] | int) -> NDArray[np.float64]:
        counts = values.astype(np.float64)
        bad = ~np.isfinite(counts)
        if bad.any():
            sample = int(np.broadcast_to(samples, counts.shape)[bad][0])
            raise InputFileError.at(
                self.path,
                field=self.channel,
                expected="finite counts",
                found=f"{counts[bad][0]} at sample {sample}",
                remedy="Copy the file again from the rig; if it is the same there, this recording gives no times: "
                "nothing but frame_times needs them",
            )
        return counts

    def edges(self) -> tuple[NDArray[np.int64], NDArray[np.float64], int, int]:
        """Return samples and heights of the rises, and how many wraps and resets there were."""
        samples = np.concatenate([np.empty(0, dtype=np.int64), *self._samples])
        before = np.concatenate([np.empty(0), *self._before])
        after = np.concatenate([np.empty(0), *self._after])
        steps = after - before
        fell = np.flatnonzero(steps < 0)
        n_wraps = 0
        for i in fell:
            rises = [steps[i] + 2**bits for bits in COUNTER_BITS]
            rise = next((r for r in rises if 1 <= r <= MAX_EDGES_PER_SAMPLE), None)
            n_wraps += rise is not None
            # after a reset the count itself is the number of edges since
            steps[i] = max(after[i], 0.0) if rise is None else rise
        rose = steps > 0
        return samples[rose], steps[rose], n_wraps, fell.size - n_wraps
