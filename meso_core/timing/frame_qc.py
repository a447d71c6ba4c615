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
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ..datasets import DatasetValue
from ..errors import MesoWarning, MisfitError, MissingInputError, SettingsError
from ..opening import is_there
from ..qc import QCResult, Verdict
from ..session.imaging import BoutMetadata, SessionMetadata
from .frame_ratings import (
    BAD_FRAMES_FILE,
    EXPT_QC_FILE,
    OK,
    UNKNOWN,
    RatedFrames,
    label_value,
    rated_frames,
    read_bad_frames,
    read_expt_qc,
)
from .frames import slices_of

if TYPE_CHECKING:
    import pandas as pd

ORIGIN = "meso_core.timing.consolidate_frame_qc"


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
    bout_folders: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
    metadata: SessionMetadata,
    *,
    misfits: Literal["refuse", "tell"] = "refuse",
) -> SessionFrameQC:
    """Join the ratings of all bouts of a session, and give each field of view those of its depth.

    Parameters
    ----------
    bout_folders
        Folders of the imaging bouts with ``exptQC.mat`` and ``badframes.mat``, in the order of the metadata's bouts.
    metadata
        What the microscope says of the session; no metadata file is opened.
    misfits
        As for :func:`consolidate_frame_qc`.

    Raises
    ------
    InputFileError, MisfitError, MissingInputError, SettingsError
        As :func:`consolidate_frame_qc`.
    MetadataError
        If the slices of the fields of view are not those that were scanned.
    """
    n_channels = metadata.imaging.n_channels
    joined = consolidate_frame_qc(bout_folders, metadata.bouts, n_channels=n_channels, misfits=misfits)
    slices = np.concatenate([slices_of(bout) for bout in metadata.bouts])
    own = {fov: slices == fov.slice_index for fov in metadata.imaging.fovs}
    fovs = (FovFrameQC(f.index, f.name, joined.values[mine], joined.bad_frames[mine]) for f, mine in own.items())
    return SessionFrameQC(joined, tuple(fovs))


def consolidate_frame_qc(
    bouts: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
    n_frames: Iterable[int | BoutMetadata] | int,
    *,
    n_channels: int = 1,
    misfits: Literal["refuse", "tell"] = "refuse",
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
    misfits
        What becomes of ratings that do not fit the recording. With ``tell`` the check ``frames_were_rated`` fails, all
        frames of the bout are 'unknown' where ``exptQC.mat`` does not fit, and none of them is left out.

    Raises
    ------
    InputFileError
        If a file is damaged or lacks its fields.
    MisfitError
        If a file has the wrong length, can be read in two ways, or names a frame that does not exist, and misfits are
        refused.
    """
    folders = [Path(bouts)] if isinstance(bouts, str | os.PathLike) else [Path(bout) for bout in bouts]
    rated = [rated_frames(n) for n in ([n_frames] if isinstance(n_frames, int | np.integer) else n_frames)]
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
        one = _read_bout(folder, frames, n_channels, labels, misfits)
        results.append(one.result)
        values.append(one.values)
        bad.append(one.bad)
    joined = np.concatenate([np.empty(0), *values])
    if np.isnan(joined).any():
        joined[np.isnan(joined)] = label_value(UNKNOWN, labels)
    return FrameQC(
        joined.astype(np.uint32),
        tuple(labels),
        np.concatenate([np.empty(0, dtype=bool), *bad]),
        tuple(int(n) for n in counts),
        tuple(results),
    )


@dataclass(frozen=True, slots=True)
class _BoutRatings:
    """What the files of one bout say of its frames on file."""

    #: (n_frames,) f8, joined value; NaN where it has no name.
    values: NDArray[np.float64]
    #: (n_frames,) bool.
    bad: NDArray[np.bool_]
    result: QCResult


def _read_bout(
    folder: Path, frames: RatedFrames, n_channels: int, labels: list[str], misfits: Literal["refuse", "tell"]
) -> _BoutRatings:
    """Read both files of a bout; what does not fit is refused or told."""
    n_frames = frames.on_file.size
    values: NDArray[np.float64] | None = np.full(n_frames, np.nan)
    try:
        values, n_rated = read_expt_qc(folder / EXPT_QC_FILE, frames, n_channels, labels)
        bad = read_bad_frames(folder / BAD_FRAMES_FILE, frames, n_channels, n_rated)
    except MisfitError as error:
        if misfits == "refuse":
            raise
        bad, result = np.zeros(n_frames, bool), _misfit(folder, error, n_frames)
    else:
        result = _judge(folder, values, bad)
    return _BoutRatings(np.zeros(n_frames) if values is None else values, bad, result)


def _misfit(folder: Path, error: MisfitError, n_frames: int) -> QCResult:
    told = str(error).replace(f"{folder.parent}/", "")
    message = f"{told} Until then no frame of this bout is left out"
    warnings.warn(message, MesoWarning, stacklevel=4)
    return QCResult("frames_were_rated", Verdict.FAIL, 0, n_frames, f"{message}.", ORIGIN)


def _judge(folder: Path, values: NDArray[np.float64] | None, bad: NDArray[np.bool_]) -> QCResult:
    bout = folder.name
    if values is None:
        message = f"{bout}: no {EXPT_QC_FILE}, so all {bad.size} frames count as ok; rate them at the rig"
        warnings.warn(message, MesoWarning, stacklevel=4)
        return QCResult("frames_were_rated", Verdict.WARNING, 0, bad.size, message, ORIGIN)
    disagree = int(np.count_nonzero(bad & (values == 0)))
    if disagree:
        message = f"{bout}: {disagree} frames of {BAD_FRAMES_FILE} are ok in {EXPT_QC_FILE}; they are left out anyway"
        warnings.warn(message, MesoWarning, stacklevel=4)
        return QCResult("frames_were_rated", Verdict.WARNING, disagree, 0, message, ORIGIN)
    n_flagged = int(np.count_nonzero(values != 0))
    if n_flagged and not is_there(folder / BAD_FRAMES_FILE):
        message = f"{bout}: no {BAD_FRAMES_FILE}, so none of the {n_flagged} flagged frames is left out"
        warnings.warn(message, MesoWarning, stacklevel=4)
        return QCResult("frames_were_rated", Verdict.WARNING, n_flagged, 0, message, ORIGIN)
    message = f"{bout}: {n_flagged} of {bad.size} frames flagged, {int(bad.sum())} left out"
    return QCResult("frames_were_rated", Verdict.PASS, n_flagged, None, message, ORIGIN)
