"""What the experimenter noted about frames: ``exptQC.mat`` and ``badframes.mat`` of all bouts, under one set of labels.

What belongs here: reading and joining those two files. What does not: judging the pictures themselves.

The files are written at the rig, one pair per imaging folder: ``frameQC_frames`` (one value per frame, 0-based index
into ``frameQC_names``) and ``badframes`` (0-based frame numbers to be left out of cropping and ROI detection).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputFileError, MesoWarning, MissingInputError, SettingsError, problem
from ..qc import QCResult, Verdict

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
    #: (n_frames,) bool, frames to be left out of cropping and ROI detection (registration moves all frames).
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
        """Return values and bad frames of one depth; each bout starts with the first depth.

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
            raise SettingsError(
                problem("slice", expected=f"0 to {n_slices - 1}", found=str(index), remedy="Give one of these")
            )
        position = np.concatenate([np.arange(n) for n in self.frames_per_bout])
        mine = position % n_slices == index
        return self.values[mine], self.bad_frames[mine]


def consolidate_frame_qc(
    bouts: Iterable[str | os.PathLike[str]], n_frames: Iterable[int] | int, *, n_channels: int = 1
) -> FrameQC:
    """Join ``exptQC.mat`` and ``badframes.mat`` of all bouts.

    Labels are numbered in the order in which they are met, 'ok' first; a value without a name is 'unknown'. A bout
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
        If a file is damaged, lacks its fields, has the wrong length, or names a frame that there is not.
    """
    folders = [Path(bouts)] if isinstance(bouts, str | os.PathLike) else [Path(bout) for bout in bouts]
    counts = [n_frames] if isinstance(n_frames, int | np.integer) else list(n_frames)
    if len(folders) != len(counts):
        raise SettingsError(
            problem(
                "frame quality",
                expected=f"a number of frames for each of {len(folders)} bouts",
                found=f"{len(counts)} numbers",
                remedy="Give one number per bout",
            )
        )
    labels = [OK]
    values, bad, results = [], [], []
    for folder, n in zip(folders, counts, strict=True):
        if not folder.is_dir():
            raise MissingInputError(
                problem(folder, expected="an imaging folder", found="no such folder", remedy="Check the session")
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
    if not path.exists():
        return None
    content = _load_mat(path, ("frameQC_frames", "frameQC_names"))
    old = _numbers(path, "frameQC_frames", content["frameQC_frames"])
    if n_channels > 1 and old.size == n_frames * n_channels:
        old = old[::n_channels]
    if old.size != n_frames:
        raise InputFileError(
            problem(
                path,
                field="frameQC_frames",
                expected=f"{n_frames} values, one per frame",
                found=f"{old.size} values",
                remedy="Rate the frames of this bout again, or take the file away if it belongs to another",
            )
        )
    values = np.full(n_frames, np.nan)
    for i, name in enumerate(_names(content["frameQC_names"])):
        values[old == i] = _label(name or UNKNOWN, labels)
    return values


def _read_bad_frames(path: Path, n_frames: int, n_channels: int) -> NDArray[np.bool_]:
    bad = np.zeros(n_frames, dtype=bool)
    if not path.exists():
        return bad
    frames = _numbers(path, "badframes", _load_mat(path, ("badframes",))["badframes"])
    if n_channels > 1 and frames.size and n_frames <= frames.max() < n_frames * n_channels:
        frames = frames // n_channels
    wrong = frames[(frames < 0) | (frames >= n_frames)]
    if wrong.size:
        raise InputFileError(
            problem(
                path,
                field="badframes",
                expected=f"frame numbers from 0 to {n_frames - 1}",
                found=str(int(wrong[0])),
                remedy="Rate the frames of this bout again, or take the file away if it belongs to another",
            )
        )
    bad[frames.astype(np.int64)] = True
    return bad


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


def _load_mat(path: Path, fields: tuple[str, ...]) -> dict[str, Any]:
    from scipy.io import loadmat

    def bad(found: str, field: str | None = None) -> InputFileError:
        expected = f"a MATLAB file (version 7 or older) with {' and '.join(fields)}"
        remedy = "Copy the file again from the rig, or write it again with save(..., '-v7')"
        return InputFileError(problem(path, field=field, expected=expected, found=found, remedy=remedy))

    if (missing := _missing_bytes(path)) > 0:
        raise bad(f"a file cut short by {missing} bytes or more")
    try:
        content: dict[str, Any] = loadmat(path, squeeze_me=True, simplify_cells=True)
    except Exception as error:  # scipy's reader fails in many ways on a damaged file
        raise bad(f"a file that does not load ({type(error).__name__}: {error})") from error
    for field in fields:
        if field not in content:
            raise bad("no such field", field)
    return content


def _missing_bytes(path: Path) -> int:
    """Return how many bytes the last variable of a version 5 MAT-file lacks; its reader does not mind a few."""
    with path.open("rb") as file:
        size = path.stat().st_size
        header = file.read(128)
        if header[124:128] not in (b"\0\1IM", b"\1\0MI"):
            return 0  # of another version, which its reader must judge
        order: Literal["little", "big"] = "little" if header.endswith(b"IM") else "big"
        end = 128
        while end < size:
            file.seek(end)
            tag = file.read(8)
            if len(tag) < 8:
                return 8 - len(tag)
            end += 8 + int.from_bytes(tag[4:], order)
    return end - size


def _numbers(path: Path, field: str, value: Any) -> NDArray[np.float64]:
    try:
        numbers = np.atleast_1d(np.asarray(value)).reshape(-1).astype(np.float64)
        whole = bool((numbers == np.floor(numbers)).all())
    except (TypeError, ValueError) as error:
        found = f"{type(value).__name__}"
        remedy = "Copy the file again from the rig"
        raise InputFileError(problem(path, field=field, expected="numbers", found=found, remedy=remedy)) from error
    if not whole:
        raise InputFileError(
            problem(path, field=field, expected="whole numbers", found="fractions", remedy="Write the file again")
        )
    return numbers


def _names(value: Any) -> list[str]:
    """Return MATLAB's cell array of text as a list; an empty cell is an empty text."""
    if isinstance(value, str):
        return [value]
    return [item if isinstance(item, str) else "" for item in np.atleast_1d(np.asarray(value, dtype=object))]
