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
from ..scanimage import ImagingLayout
from ..session.imaging import SessionMetadata
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

    A frame is one depth; with several depths use :meth:`of_slice` for the frames of a field of view.
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

    def of_slice(self, index: int, n_slices: int) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """Return values and bad frames of one depth; each bout begins at the first depth.

        Parameters
        ----------
        index, n_slices
            0-based position of the depth within a volume, and how many there are.

        Returns
        -------
        values
            (n_frames_of_the_depth,) u4.
        bad_frames
            (n_frames_of_the_depth,) bool.
        """
        if not 0 <= index < n_slices:
            raise SettingsError.at(
                "slice", expected=f"0 to {n_slices - 1}", found=str(index), remedy="Give one of these"
            )
        position = np.concatenate([np.arange(n) for n in self.frames_per_bout])
        mine = position % n_slices == index
        return self.values[mine], self.bad_frames[mine]


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
    imaging = metadata.imaging
    counts = [bout.n_frames for bout in metadata.bouts]
    joined = consolidate_frame_qc(bout_folders, counts, n_channels=imaging.n_channels)
    n_slices = ImagingLayout.from_meta(imaging).frames_per_volume
    fovs = (FovFrameQC(f.index, f.name, *joined.of_slice(f.slice_index, n_slices)) for f in imaging.fovs)
    return SessionFrameQC(joined, tuple(fovs))


def consolidate_frame_qc(
    bouts: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
    n_frames: Iterable[int] | int,
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
        Number of frames of each bout (pages of one channel); one number with one folder.
    n_channels
        Channels saved. Some rigs rate pages, not frames: a list that is this many times too long is thinned.

    Raises
    ------
    InputFileError
        If a file is damaged, lacks its fields, has the wrong length, or names a frame that does not exist.
    """
    folders = [Path(bouts)] if isinstance(bouts, str | os.PathLike) else [Path(bout) for bout in bouts]
    counts = [n_frames] if isinstance(n_frames, int | np.integer) else list(n_frames)
    if len(folders) != len(counts):
        raise SettingsError.at(
            "frame quality",
            expected=f"a number of frames for each of {len(folders)} bouts",
            found=f"{len(counts)} numbers",
            remedy="Give one number per bout",
        )
    labels = [OK]
    values, bad, results = [], [], []
    for folder, n in zip(folders, counts, strict=True):
        if not folder.is_dir():
            raise MissingInputError.at(
                folder, expected="an imaging folder", found="no such folder", remedy="Copy the bout from the rig"
            )
        bout_values = _read_expt_qc(folder / EXPT_QC_FILE, n, n_channels, labels)
        bout_bad = _read_bad_frames(folder / BAD_FRAMES_FILE, n, n_channels)
        results.append(_judge(folder.name, bout_values, bout_bad))
        values.append(np.zeros(n) if bout_values is None else bout_values)
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


def _read_expt_qc(path: Path, n_frames: int, n_channels: int, labels: list[str]) -> NDArray[np.float64] | None:
    """Return the joined value of each frame, NaN where the value has no name; None where there is no file."""
    if not is_there(path):
        return None
    content = load_mat(path, ("frameQC_frames", "frameQC_names"))
    old = read_numbers(path, "frameQC_frames", content["frameQC_frames"])
    if n_channels > 1 and old.size == n_frames * n_channels:
        old = old[::n_channels]
    if old.size != n_frames:
        raise InputFileError.at(
            path,
            field="frameQC_frames",
            expected=f"{n_frames} values, one per frame",
            found=f"{old.size} values",
            remedy="Rate the frames of this bout again, or move the file away if it belongs to another bout",
        )
    values = np.full(n_frames, np.nan)
    for i, name in enumerate(read_names(path, "frameQC_names", content["frameQC_names"])):
        values[old == i] = _label(name or UNKNOWN, labels)
    return values


def _read_bad_frames(path: Path, n_frames: int, n_channels: int) -> NDArray[np.bool_]:
    bad = np.zeros(n_frames, dtype=bool)
    if not is_there(path):
        return bad
    value = load_mat(path, ("badframes",))["badframes"]
    frames = read_numbers(path, "badframes", value)
    mask = _as_mask(value, frames, (n_frames, n_frames * n_channels))
    if mask is not None:
        return mask if mask.size == n_frames else np.asarray(mask.reshape(n_frames, n_channels).any(axis=1))
    if np.asarray(value).dtype == bool and frames.size:
        raise _wrong_badframes(path, f"frame numbers, or {n_frames} logical values", f"{frames.size} logical values")
    if n_channels > 1 and frames.size and n_frames <= frames.max() < n_frames * n_channels:
        frames = frames // n_channels
    wrong = frames[(frames < 0) | (frames >= n_frames)]
    if wrong.size:
        raise _wrong_badframes(path, f"frame numbers from 0 to {n_frames - 1}", str(int(wrong[0])))
    bad[frames.astype(np.int64)] = True
    return bad


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
