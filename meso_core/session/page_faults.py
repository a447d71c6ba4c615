"""What can be wrong with the pages of a bout.

What belongs here: the types alone, and places where only times are known. What does not: finding faults
(``scanimage.frames``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class FaultKind(StrEnum):
    """What can be wrong with the pages of a bout."""

    #: Frames that no page is of.
    MISSING = "frames missing"
    #: The same number again, where one page was expected; the first page is used.
    DOUBLED = "page twice"
    #: A number that does not follow those before and after it; the page is left out.
    OUT_OF_ORDER = "page out of order"
    #: A frame that has not one page per channel; which is which cannot be told, so it is left out in all.
    CHANNEL = "frame without all its channels"
    #: A page that names no frame.
    NO_NUMBER = "page without a frame number"
    #: The time of a frame is not that of its number: which depth it shows, and which pulse is its own, is in doubt.
    TIMES = "times contradict frame numbers"
    #: A tif that ends early or breaks off.
    CUT = "tif cut short"


@dataclass(frozen=True, slots=True)
class PageFault:
    """One thing that is wrong with the pages of a bout: what of it could not be used, and where."""

    kind: FaultKind
    tif: str
    #: Page of the tif at which it was found, from 0, and how many pages it concerns.
    page: int
    n_pages: int
    #: Frame number that was to come there, and the one that was found.
    expected: int | None
    found: int | None
    #: Frames that are missing for that reason.
    n_frames: int
    #: s since the start of the acquisition, of the page.
    seconds: float | None
    #: More in words.
    note: str = ""

    def __str__(self) -> str:
        pages = f"page {self.page}" if self.n_pages < 2 else f"pages {self.page} to {self.page + self.n_pages - 1}"
        numbers = "" if self.expected is None else f", expected frame {self.expected}"
        numbers += "" if self.found is None else f", found {self.found}"
        seconds = "" if self.seconds is None else f", at {self.seconds:.3f} s"
        return f"{self.tif}, {pages}: {self.kind}{numbers}{seconds}{f' ({self.note})' if self.note else ''}"


def places_by_times(times: NDArray[np.float64], frames_averaged: int = 1) -> NDArray[np.int64]:
    """Find the places of frames in a bout where only their times are known.

    Frames come at a constant rate from 0 s on, so a gap of some periods is as many missing frames.

    Parameters
    ----------
    times
        (n,) f8, s since the start of the acquisition; equal times are of the same frame.
    frames_averaged
        Where it is more than 1, the time of a frame is that of its last raw frame or of its first.

    Returns
    -------
    ndarray
        (n,) i8, 0-based, counted in saved frames.
    """
    steps = np.diff(times)
    period = float(np.median(steps[steps > 0])) if (steps > 0).any() else np.inf
    # of a first frame, the first raw frame begins at 0 s, the last less than a period later
    first = np.rint(times[:1] / period - (0.5 - 0.5 / frames_averaged))
    return np.cumsum(np.r_[np.maximum(first, 0), np.rint(steps / period)]).astype(np.int64)
