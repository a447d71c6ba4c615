"""The stretch of a recording that a movie shows: raw and registered frames of the same moments.

What belongs here: choosing it, and small frames of it. What does not: reading tifs, and encoding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .motion import FovMotion

#: Frames of a movie.
N_FRAMES = 150
#: Frames are made smaller until no side has more pixels than this: neighbouring pixels are averaged.
_MOST_PX = 300


def liveliest(motion: FovMotion, edges: Sequence[int]) -> tuple[int, int]:
    """Choose the stretch in which the field moved most: the largest sum of squared rigid steps.

    Parameters
    ----------
    motion
        Of the field.
    edges
        First frame of each bout, ascending, and the number of frames: the stretch is of one bout.

    Returns
    -------
    tuple of int
        Its first frame, and the frame after its last; of equal ones the first.
    """
    best, most = (0, 0), -1.0
    for first, last in pairwise(edges):
        n = min(N_FRAMES, last - first)
        if n < 2:
            continue
        steps = np.diff(motion.y[first:last]) ** 2 + np.diff(motion.x[first:last]) ** 2
        total = np.concatenate([[0.0], np.cumsum(steps)])
        moved = total[n - 1 :] - total[: len(total) - n + 1]
        at = int(moved.argmax())
        if moved[at] > most:
            best, most = (first + at, first + at + n), float(moved[at])
    return best


def smaller(frames: Iterable[NDArray[Any]]) -> NDArray[np.float32]:
    """Average neighbouring pixels of frames (ny, nx), so that they fit into a movie; an edge that is left over is cut.

    Returns
    -------
    ndarray
        (n, rows, columns) f4.
    """
    found = []
    for frame in frames:
        every = -(-max(frame.shape) // _MOST_PX)
        rows, columns = (side // every for side in frame.shape)
        whole = np.asarray(frame[: rows * every, : columns * every], np.float32)
        # slice by slice, a fifth of the time of a mean over two axes
        parts = [whole[i::every, j::every] for i in range(every) for j in range(every)]
        total = parts[0].copy()
        for part in parts[1:]:
            total += part
        found.append(total / np.float32(every * every))
    return np.stack(found)
