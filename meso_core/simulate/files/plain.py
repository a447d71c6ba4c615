"""A movie without tissue, whose pixels tell where they are from.

What belongs here: those pixels. What does not: tissue, or which frames there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..plan import SessionPlan


@dataclass(frozen=True, slots=True)
class PlainMovie:
    """The movie of one FOV.

    The first pixels of each line tell bout, frame, channel, slice, roi and line. Frames count ScanImage frames of the
    bout from 0, the channel is ScanImage's number, all others are indices from 0; the rest tell their place in it.
    """

    plan: SessionPlan
    #: Index of the FOV.
    index: int

    def render(self, start: int, stop: int) -> list[NDArray[np.int16]]:
        """Make frames ``start`` to ``stop`` (of all bouts) of each channel that shows the FOV, i2 (n, ny, nx)."""
        c, g = self.plan.config, self.plan.geometry
        place = g.fovs[self.index]
        of_bout = [g.frames_at(place.slice_id, n) for n in c.frames_per_bout]
        image = np.tile(np.arange(place.nx, dtype=np.int16), (stop - start, place.ny, 1))
        bouts = np.repeat(np.arange(len(of_bout)), [len(frames) for frames in of_bout])
        image[:, :, 0], image[:, :, 1] = bouts[start:stop, None], np.concatenate(of_bout)[start:stop, None]
        image[:, :, 3:5], image[:, :, 5] = (place.slice_id, place.roi), np.arange(place.ny)
        images = []
        for channel in c.channels if place.channel is None else (place.channel,):
            image[:, :, 2] = channel
            images.append(image.copy())
        return images
