"""What the experimenter noted about frames: ``exptQC.mat`` and ``badframes.mat`` of all bouts, under one set of labels.

What belongs here: reading and joining those two files. What does not: judging the pictures themselves.

The files are written at the rig, one pair per imaging folder: ``frameQC_frames`` (one value per frame, 0-based index
into ``frameQC_names``) and ``badframes`` (0-based frame numbers that cropping and ROI detection leave out, or one
logical value per frame).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..datasets import DatasetValue
from ..errors import InputFileError, MesoWarning, MissingInputError, SettingsError
from ..opening import is_there
from ..qc import QCResult, Verdict
from ..session.imaging import BoutMetadata, SessionMetadata
from ..session.page_faults import FaultKind, PageFault
from .frames import slices_of
from .mat_files import load_mat, read_names, read_numbers

if TYPE_CHECKING:
    import pandas as pd

ORIGIN = "meso_core.timing.consolidate_frame_qc"
EXPT_QC_FILE = "exptQC.mat"
BAD_FRAMES_FILE = "badframes.mat"
OK, UNKNOWN = "ok", "unknown"


@dataclass(frozen=True, slots=True)
class FrameQC:
    """Quality of every frame of a session, over all bouts.

    A frame is one depth; with several depths :func:`session_frame_qc` gives each field of view its own.
    """

    #: (n_frames,) u4, ``mpci.mpciFrameQC``: 0 is ok, others are explained by ``labels``.
    values: NDArray[np.uint32]
    #: What each value means; the position is the value.
    labels: tuple[str, ...]
    #: (n_frames,) bool, frames that cropping and ROI detection leave out (registration moves all frames).
    bad_frames: NDArray[np.bool_]
    #: Number of frames of each bout.
    frames_per_bout: tuple[int, ...]
    results: tuple[QCResult, ...]

    @property
    def names(self) -> pd.DataFrame:
        """Table with columns qc_values and qc_labels (``mpciFrameQC.names``)."""
        import pandas as pd

        return pd.DataFrame({"qc_values": np.arange(len(self.labels)), "qc_labels": list(self.labels)})


@dataclass(frozen=True, slots=True)
class FovFrameQC:
    """Quality of every frame of one field of view: the frames of its depth."""

    #: 0-based, in the order of the metadata.
    fov: int
    #: ``FOV_00`` …
    name: str
    #: (n_frames,) u4, as in :class:`FrameQC`.
    values: NDArray[np.uint32]
    #: (n_frames,) bool.
    bad_frames: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SessionFrameQC:
    """Quality of the frames of a session, joined once, and the part of each field of view."""

    joined: FrameQC
    #: In the order of the metadata.
    fovs: tuple[FovFrameQC, ...]

    def datasets(self) -> dict[str, dict[str, DatasetValue]]:
        """Return ``{FOV folder: {ALF dataset: values}}``."""
        return {
            fov.name: {
                "mpci.mpciFrameQC": fov.values,
                "mpci.excludedFrames": fov.bad_frames,
                "mpciFrameQC.names": self.joined.names,
            }
            for fov in self.fovs
        }


def session_frame_qc(
    bout_folders: Iterable[str | os.PathLike[str]] | str | os.PathLike[str], metadata: SessionMetadata
) -> SessionFrameQC:
    """Join the ratings of all bouts of a session, and give each field of view those of its depth.

    Parameters
    ----------
    bout_folders
        Folders of the imaging bouts with ``exptQC.mat`` and ``badframes.mat``, in the order of the metadata's bouts.
    metadata
        What the microscope says of the session; no metadata file is opened.

    Raises
    ------
    InputFileError, MissingInputError, SettingsError
        As :func:`consolidate_frame_qc`.
    MetadataError
        If the slices of the fields of view are not those that were scanned.
    """
    joined = consolidate_frame_qc(bout_folders, metadata.bouts, n_channels=metadata.imaging.n_channels)
    slices = np.concatenate([slices_of(bout) for bout in metadata.bouts])
    own = {fov: slices == fov.slice_index for fov in metadata.imaging.fovs}
    fovs = (FovFrameQC(f.index, f.name, joined.values[mine], joined.bad_frames[mine]) for f, mine in own.items())
    return SessionFrameQC(joined, tuple(fovs))


def consolidate_frame_qc(
    bouts: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
    n_frames: Iterable[int | BoutMetadata] | int,
    *,
    n_channels: int = 1,
) -> FrameQC:
    """Join ``exptQC.mat`` and ``badframes.mat`` of all bouts.

    Labels are numbered in the order in which they appear, 'ok' first; a value without a name is 'unknown'. A bout
    without ``exptQC.mat`` was not rated: its frames count as ok, with a warning.

    Parameters
    ----------
    bouts
        Folders of the imaging bouts, in order, or one folder.
    n_frames
        Number of frames of each bout (pages of one channel), or its metadata; one number with one folder. Of a bout
        whose metadata are given, a list may rate all frames that the microscope took, or those on file.
    n_channels
        Channels saved. Some rigs rate pages, not frames: a list that is this many times too long is thinned.

    Raises
    ------
    InputFileError
        If a file is damaged, lacks its fields, has the wrong length, or names a frame that does not exist.
    """
    folders = [Path(bouts)] if isinstance(bouts, str | os.PathLike) else [Path(bout) for bout in bouts]
    rated = [_rated(n) for n in ([n_frames] if isinstance(n_frames, int | np.integer) else n_frames)]
    counts = [one.on_file.size for one in rated]
    if len(folders) != len(counts):
        raise SettingsError.at(
            "frame quality",
            expected=f"a number of frames for each of {len(folders)} bouts",
            found=f"{len(counts)} numbers",
            remedy="Give one number per bout",
        )
    labels = [OK]
    values, bad, results = [], [], []
    for folder, frames in zip(folders, rated, strict=True):
        if not folder.is_dir():
            raise MissingInputError.at(
                folder, expected="an imaging folder", found="no such folder", remedy="Copy the bout from the rig"
            )
        bout_values, n_rated = _read_expt_qc(folder / EXPT_QC_FILE, frames, n_channels, labels)
        bout_bad = _read_bad_frames(folder / BAD_FRAMES_FILE, frames, n_channels, n_rated)
        results.append(_judge(folder.name, bout_values, bout_bad))
        values.append(np.zeros(bout_bad.size) if bout_values is None else bout_values)
        bad.append(bout_bad)
    joined = np.concatenate([np.empty(0), *values])
    if np.isnan(joined).any():
        joined[np.isnan(joined)] = _label(UNKNOWN, labels)
    return FrameQC(
        joined.astype(np.uint32),
        tuple(labels),
        np.concatenate([np.empty(0, dtype=bool), *bad]),
        tuple(int(n) for n in counts),
        tuple(results),
    )


def _label(name: str, labels: list[str]) -> int:
    """Return the value of a label, giving it the next one if it is new."""
    if name not in labels:
        labels.append(name)
    return labels.index(name)


@dataclass(frozen=True, slots=True)
class _Rated:
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


def _rated(frames: int | BoutMetadata) -> _Rated:
    if not isinstance(frames, BoutMetadata):
        return _Rated(np.arange(frames), frozenset())
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
    return _Rated(on_file, lengths, n_known if is_cut else np.inf)


def _end(fault: PageFault, frames_averaged: int) -> int:
    """Count the saved frames up to those that a fault tells of; they were taken, and are not used."""
    is_lost = fault.kind in (FaultKind.MISSING, FaultKind.CHANNEL)
    number, n_frames = (fault.expected, fault.n_frames) if is_lost else (fault.found, 1)
    return 0 if number is None else (number - 1) // frames_averaged + n_frames


def _read_expt_qc(
    path: Path, frames: _Rated, n_channels: int, labels: list[str]
) -> tuple[NDArray[np.float64] | None, int | None]:
    """Return the joined value of each frame, NaN where it has no name, and how many were rated; None: no file."""
    if not is_there(path):
        return None, None
    content = load_mat(path, ("frameQC_frames", "frameQC_names"))
    old = read_numbers(path, "frameQC_frames", content["frameQC_frames"])
    old = _by_frame(path, old, frames, n_channels)
    chosen = frames.chosen(old.size)
    if chosen is None:
        raise InputFileError.at(
            path,
            field="frameQC_frames",
            expected=f"{frames.in_words} values, one per frame",
            found=f"{old.size} values",
            remedy="Rate the frames of this bout again, or move the file away if it belongs to another bout",
        )
    own = old[chosen]
    values = np.full(own.size, np.nan)
    for i, name in enumerate(read_names(path, "frameQC_names", content["frameQC_names"])):
        values[own == i] = _label(name or UNKNOWN, labels)
    return values, old.size


def _by_frame(path: Path, values: NDArray[np.float64], frames: _Rated, n_channels: int) -> NDArray[np.float64]:
    """Thin a list that rates pages, which are equal for the channels of a frame, to one value per frame."""
    pages = values.reshape(-1, n_channels) if values.size % n_channels == 0 else values[:, None]
    chosen = frames.chosen(len(pages))
    of_pages = n_channels > 1 and pages.shape[1] > 1 and chosen is not None and bool((pages == pages[:, :1]).all())
    if not of_pages or values.size == frames.on_file.size:
        return values
    also = frames.chosen(values.size)  # lists of both kinds may be as long as one of a recording that was cut
    if also is not None and (values[also] != pages[chosen, 0]).any():
        n_on_file = frames.on_file.size
        raise InputFileError.at(
            path,
            field="frameQC_frames",
            expected="values that can be read in one way",
            found=f"{values.size} values in two ways: {len(pages)} frames of {n_channels} channels, or {values.size} "
            f"frames, of which {n_on_file} are on file",
            remedy=f"Save one value for each of the {n_on_file} frames on file",
        )
    return np.asarray(pages[:, 0])


def _read_bad_frames(path: Path, frames: _Rated, n_channels: int, n_rated: int | None) -> NDArray[np.bool_]:
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


def _wrong_badframes(path: Path, expected: str, found: str) -> InputFileError:
    remedy = "Rate the frames of this bout again, or move the file away if it belongs to another bout"
    return InputFileError.at(path, field="badframes", expected=expected, found=found, remedy=remedy)


def _judge(bout: str, values: NDArray[np.float64] | None, bad: NDArray[np.bool_]) -> QCResult:
    if values is None:
        message = f"{bout}: no {EXPT_QC_FILE}, so all {bad.size} frames count as ok; rate them at the rig"
        warnings.warn(message, MesoWarning, stacklevel=3)
        return QCResult("frames_were_rated", Verdict.WARNING, 0, bad.size, message, ORIGIN)
    disagree = int(np.count_nonzero(bad & (values == 0)))
    if disagree:
        message = f"{bout}: {disagree} frames of {BAD_FRAMES_FILE} are ok in {EXPT_QC_FILE}; they are left out anyway"
        warnings.warn(message, MesoWarning, stacklevel=3)
        return QCResult("frames_were_rated", Verdict.WARNING, disagree, 0, message, ORIGIN)
    n_flagged = int(np.count_nonzero(values != 0))
    message = f"{bout}: {n_flagged} of {bad.size} frames flagged, {int(bad.sum())} left out"
    return QCResult("frames_were_rated", Verdict.PASS, n_flagged, None, message, ORIGIN)
