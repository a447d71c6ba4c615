"""Reading ``exptQC.mat`` and ``badframes.mat`` of one bout: which entry of a list is about which frame on file.

What belongs here: the two files, each against the frames of its bout. What does not: joining bouts, and the verdicts
(``frame_qc``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import MisfitError
from ..opening import is_there
from ..session.imaging import BoutMetadata
from ..session.page_faults import FaultKind, PageFault
from .mat_files import load_mat, read_names, read_numbers

EXPT_QC_FILE = "exptQC.mat"
BAD_FRAMES_FILE = "badframes.mat"
OK, UNKNOWN = "ok", "unknown"


def label_value(name: str, labels: list[str]) -> int:
    """Return the value of a label, giving it the next one if it is new."""
    if name not in labels:
        labels.append(name)
    return labels.index(name)


@dataclass(frozen=True, slots=True)
class RatedFrames:
    """Which frames of a bout a list may be about."""

    #: (n_frames,) i8, places of the frames on file among those that the microscope took, counted in saved frames.
    on_file: NDArray[np.int64]
    #: Lengths that a list of all frames that it took may have.
    lengths: frozenset[int]
    #: Where its end is not on file nobody knows how many it took: any list longer than this may be one.
    longer_than: float = np.inf

    def chosen(self, n_rated: int) -> NDArray[np.int64] | None:
        """Entries of the frames on file in a list of so many; None if it is of no length that can be."""
        if n_rated == self.on_file.size:
            return np.arange(n_rated)
        return self.on_file if n_rated in self.lengths or n_rated > self.longer_than else None

    @property
    def in_words(self) -> str:
        """Describe the lengths."""
        longer = sorted(self.lengths - {self.on_file.size})
        taken = f" (or {' or '.join(map(str, longer))}, with those that are not on file)" if longer else ""
        return f"{self.on_file.size}{taken}"


def rated_frames(frames: int | BoutMetadata) -> RatedFrames:
    """Tell which frames a list of a bout may be about, from their number or from the bout's metadata."""
    if not isinstance(frames, BoutMetadata):
        return RatedFrames(np.arange(frames), frozenset())
    on_file = frames.frame_index // frames.imaging.stack.frames_averaged
    n_taken = int(on_file[-1]) + 1 if on_file.size else 0
    n_pages, n_channels = frames.imaging.n_pages, frames.imaging.n_channels
    n_promised = n_pages // n_channels
    if n_taken <= n_pages < n_taken * n_channels and n_promised != on_file.size:
        n_promised = n_pages  # some metadata count frames, not pages
    n_known = max(n_taken, n_promised)
    ends = {_end(fault, frames.imaging.stack.frames_averaged) for fault in frames.faults}
    is_cut = any(fault.kind is FaultKind.CUT for fault in frames.faults)
    lengths = frozenset({n_taken, n_known, *(end for end in ends if end > n_taken)})
    return RatedFrames(on_file, lengths, n_known if is_cut else np.inf)


def _end(fault: PageFault, frames_averaged: int) -> int:
    """Count the saved frames up to those that a fault tells of; they were taken, and are not used."""
    is_lost = fault.kind in (FaultKind.MISSING, FaultKind.CHANNEL)
    number, n_frames = (fault.expected, fault.n_frames) if is_lost else (fault.found, 1)
    return 0 if number is None else (number - 1) // frames_averaged + n_frames


def read_expt_qc(
    path: Path, frames: RatedFrames, n_channels: int, labels: list[str]
) -> tuple[NDArray[np.float64] | None, int | None]:
    """Return the joined value of each frame, NaN where it has no name, and how many were rated; None: no file."""
    if not is_there(path):
        return None, None
    content = load_mat(path, ("frameQC_frames", "frameQC_names"))
    old = read_numbers(path, "frameQC_frames", content["frameQC_frames"])
    old = _by_frame(path, old, frames, n_channels)
    chosen = frames.chosen(old.size)
    if chosen is None:
        raise MisfitError.at(
            path,
            field="frameQC_frames",
            expected=f"{frames.in_words} values, one per frame",
            found=f"{old.size} values",
            remedy="Rate the frames of this bout again, or move the file away if it belongs to another bout",
        )
    own = old[chosen]
    values = np.full(own.size, np.nan)
    for i, name in enumerate(read_names(path, "frameQC_names", content["frameQC_names"])):
        values[own == i] = label_value(name or UNKNOWN, labels)
    return values, old.size


def _by_frame(path: Path, values: NDArray[np.float64], frames: RatedFrames, n_channels: int) -> NDArray[np.float64]:
    """Thin a list that rates pages, which are equal for the channels of a frame, to one value per frame."""
    pages = values.reshape(-1, n_channels) if values.size % n_channels == 0 else values[:, None]
    chosen = frames.chosen(len(pages))
    of_pages = n_channels > 1 and pages.shape[1] > 1 and chosen is not None and bool((pages == pages[:, :1]).all())
    if not of_pages or values.size == frames.on_file.size:
        return values
    also = frames.chosen(values.size)  # lists of both kinds may be as long as one of a recording that was cut
    if also is not None and (values[also] != pages[chosen, 0]).any():
        n_on_file = frames.on_file.size
        raise MisfitError.at(
            path,
            field="frameQC_frames",
            expected="values that can be read in one way",
            found=f"{values.size} values in two ways: {len(pages)} frames of {n_channels} channels, or {values.size} "
            f"frames, of which {n_on_file} are on file",
            remedy=f"Save one value for each of the {n_on_file} frames on file",
        )
    return np.asarray(pages[:, 0])


def read_bad_frames(path: Path, frames: RatedFrames, n_channels: int, n_rated: int | None) -> NDArray[np.bool_]:
    """Return which frames on file are bad; numbers count the frames of the list of ratings, or else all taken."""
    n_frames = frames.on_file.size
    if not is_there(path):
        return np.zeros(n_frames, dtype=bool)
    n_all = max(frames.lengths, default=n_frames) if n_rated is None else n_rated
    chosen = frames.chosen(n_all)
    chosen = np.arange(n_frames) if chosen is None else chosen
    value = load_mat(path, ("badframes",))["badframes"]
    numbers = read_numbers(path, "badframes", value)
    mask = _as_mask(value, numbers, (n_all, n_all * n_channels))
    if mask is not None:
        return np.asarray(np.any(mask.reshape(n_all, -1), axis=1))[chosen]
    if np.asarray(value).dtype == bool and numbers.size:
        raise _wrong_badframes(path, f"frame numbers, or {n_all} logical values", f"{numbers.size} logical values")
    bad = np.zeros(n_all, dtype=bool)
    if n_channels > 1 and numbers.size and n_all <= numbers.max() < n_all * n_channels:
        numbers = numbers // n_channels
    wrong = numbers[(numbers < 0) | (numbers >= n_all)]
    if wrong.size:
        raise _wrong_badframes(path, f"frame numbers from 0 to {n_all - 1}", str(int(wrong[0])))
    bad[numbers.astype(np.int64)] = True
    return bad[chosen]


def _as_mask(value: object, numbers: NDArray[np.float64], sizes: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Return one logical value per frame where the file holds that instead of frame numbers.

    MATLAB's ``double`` may have made numbers of them: three values that are all 0 or 1 are no different frames.
    """
    is_mask = numbers.size in sizes and bool(np.isin(numbers, (0, 1)).all())
    logical = np.asarray(value).dtype == bool or numbers.size > 2
    return numbers.astype(bool) if is_mask and logical and numbers.size else None


def _wrong_badframes(path: Path, expected: str, found: str) -> MisfitError:
    remedy = "Rate the frames of this bout again, or move the file away if it belongs to another bout"
    return MisfitError.at(path, field="badframes", expected=expected, found=found, remedy=remedy)
