"""When each frame of each field of view was taken, on the DAQ's clock.

What belongs here: from pulses and imaging metadata to ``mpci.times`` and ``mpciStack.timeshift``, and the checks of
their agreement. What does not: reading tifs, or writing ALF files.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MesoWarning, MetadataError, TimingError, problem
from ..qc import QCResult, Verdict
from ..session import fov_name
from .bouts import MIN_GAP_S, get_bout_edges, load_software_events
from .timeline import Timeline

ORIGIN = "meso_core.timing.extract_frame_times"
FRAME_CHANNEL = "neural_frames"
VOLUME_CHANNEL = "volume_counter"


@dataclass(frozen=True, slots=True)
class ImagingBout:
    """What the microscope says about one imaging bout."""

    #: Name of the folder, as in ``raw_imaging_data_00``.
    name: str
    #: Imaging metadata of the bout (``_ibl_rawImagingData.meta.json``).
    meta: Mapping[str, Any]
    #: (n_frames,) f8, s since the acquisition's start, of each frame (``rawImagingData.times_scanImage.npy``).
    frame_timestamps: NDArray[np.float64]

    @property
    def n_frames(self) -> int:
        """Number of frames written to file; each depth is a frame of its own."""
        return int(self.frame_timestamps.size)


@dataclass(frozen=True, slots=True)
class TimeShifts:
    """Offsets in time within a frame."""

    #: (n_fovs,) f8, s, from the start of a FOV's frame to its first line.
    first_line: NDArray[np.float64]
    #: Per FOV (n_lines,) f8, s, from the FOV's first line to each of its lines (``mpciStack.timeshift``).
    lines: tuple[NDArray[np.float64], ...]
    #: Per FOV the 0-based position of its frame within a volume.
    slices: tuple[int, ...]
    #: Number of frames of a volume.
    n_slices: int


@dataclass(frozen=True, slots=True)
class BoutTiming:
    """How the DAQ's pulses and the frames of one bout compare."""

    name: str
    #: s, first and last pulse of the bout on the DAQ's clock.
    start: float
    end: float
    n_pulses: int
    n_frames: int

    @property
    def n_surplus(self) -> int:
        """Pulses at the end of the bout that no frame belongs to."""
        return self.n_pulses - self.n_frames


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """Times of all frames of a session, per field of view in the order of ``meta['FOV']``."""

    #: Per FOV (n_frames,) f8, s, DAQ clock, when the first line of the FOV was scanned (``mpci.times``).
    times: tuple[NDArray[np.float64], ...]
    #: Per FOV (n_lines,) f8, s, after the FOV's first line (``mpciStack.timeshift``).
    timeshift: tuple[NDArray[np.float64], ...]
    bouts: tuple[BoutTiming, ...]
    #: (n_pulses,) f8, s, all pulses of the microscope's frame clock, those outside of bouts too.
    pulses: NDArray[np.float64]
    results: tuple[QCResult, ...]

    def datasets(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        """Return ``{FOV folder: {ALF dataset: values}}``."""
        return {
            fov_name(i): {"mpci.times": times, "mpciStack.timeshift": shift}
            for i, (times, shift) in enumerate(zip(self.times, self.timeshift, strict=True))
        }


def get_timeshifts(meta: Mapping[str, Any]) -> TimeShifts:
    """Work out when the lines of each field of view are scanned within a frame.

    A line takes ``hRoiManager.linePeriod``, and the lines of a frame are scanned in order, those between FOVs too; so
    line ``lineIdx`` (1-based) starts ``(lineIdx - 1) * linePeriod`` after the frame.

    Parameters
    ----------
    meta
        Imaging metadata of a bout.

    Raises
    ------
    MetadataError
        If a field is missing or impossible.
    """
    where = "_ibl_rawImagingData.meta.json"
    try:
        period = float(meta["scanImageParams"]["hRoiManager"]["linePeriod"])
        lines = [np.atleast_1d(np.asarray(fov["lineIdx"], dtype=np.float64)) - 1 for fov in meta["FOV"]]
        slices = tuple(int(fov["slice_id"]) for fov in meta["FOV"])
    except (KeyError, TypeError, ValueError) as error:
        expected = "scanImageParams.hRoiManager.linePeriod, and lineIdx and slice_id of each FOV"
        remedy = "Make the metadata anew from the tifs"
        raise MetadataError(problem(where, expected=expected, found=repr(error), remedy=remedy)) from error
    if not slices:
        raise MetadataError(problem(where, field="FOV", expected="FOVs", found="none", remedy="Check the file"))
    first_line = np.array([line[0] * period for line in lines])
    shifts = tuple((line - line[0]) * period for line in lines)
    return TimeShifts(first_line, shifts, slices, len(set(slices)))


def load_imaging_bouts(session_path: Path) -> tuple[ImagingBout, ...]:
    """Read metadata and frame timestamps of all imaging bouts of a session."""
    import json

    from ..session import imaging_bouts

    bouts = []
    for folder in imaging_bouts(session_path):
        meta = json.loads((folder / "_ibl_rawImagingData.meta.json").read_text())
        stamps = np.load(folder / "rawImagingData.times_scanImage.npy").reshape(-1)
        bouts.append(ImagingBout(folder.name, meta, stamps))
    return tuple(bouts)


def extract_frame_times(
    session_path: Path,
    bouts: Sequence[ImagingBout] | None = None,
    *,
    sync_collection: str = "raw_sync_data",
    min_gap: float = MIN_GAP_S,
) -> FrameTimes:
    """Find when each frame of each field of view was taken.

    The microscope sends a pulse to the DAQ as each frame starts. Frame ``k`` of a bout is depth ``k % n_slices``; a
    FOV's time is the pulse of its frame plus the time to its first line.

    Parameters
    ----------
    session_path
        Session folder, ``…/subject/YYYY-MM-DD/NNN``.
    bouts
        Metadata and frame timestamps of each bout; read from the session where not given.
    sync_collection
        Folder of the DAQ's files below the session.
    min_gap
        s, pulses further apart belong to two bouts, where no software event tells.

    Returns
    -------
    FrameTimes

    Raises
    ------
    TimingError
        If a bout has fewer pulses than frames, or bouts and folders cannot be matched.
    MetadataError
        If bouts disagree on their fields of view.
    InputFileError, MissingInputError
        If a file is damaged or not there.

    Warns
    -----
    MesoWarning
        If a bout has more pulses than frames; the surplus at its end is dropped.
    """
    session_path = Path(session_path)
    if bouts is None:
        bouts = load_imaging_bouts(session_path)
    timeline = Timeline(session_path / sync_collection)
    (frames,) = timeline.counter_edges(FRAME_CHANNEL)
    events = load_software_events(session_path / sync_collection)
    subject, date = session_path.parts[-3:-1]
    edges = get_bout_edges(
        frames.times, [bout.name for bout in bouts], events, subject=subject, date=date, min_gap=min_gap
    )
    shifts = get_timeshifts(bouts[0].meta)
    per_fov: list[list[NDArray[np.float64]]] = [[] for _ in shifts.slices]
    timings, results = [], []
    for bout, (start, end) in zip(bouts, edges, strict=True):
        pulses = frames.times[np.searchsorted(frames.times, start) : np.searchsorted(frames.times, end, side="right")]
        timing = BoutTiming(bout.name, float(start), float(end), pulses.size, bout.n_frames)
        results.append(_match_frames(timing))
        timings.append(timing)
        own = get_timeshifts(bout.meta)
        for fov, parts in enumerate(per_fov):
            parts.append(pulses[: bout.n_frames][own.slices[fov] :: own.n_slices] + own.first_line[fov])
    fov_times = tuple(np.concatenate(parts) for parts in per_fov)
    return FrameTimes(fov_times, shifts.lines, tuple(timings), frames.times, tuple(results))


def _match_frames(bout: BoutTiming) -> QCResult:
    if bout.n_surplus < 0:
        raise TimingError(
            problem(
                bout.name,
                expected=f"a DAQ pulse for each of the {bout.n_frames} frames on file",
                found=f"{bout.n_pulses} pulses between {bout.start:.3f} s and {bout.end:.3f} s",
                remedy="Check whether the DAQ stopped early or the frame clock was unplugged",
            )
        )
    message = f"{bout.name}: {bout.n_pulses} pulses for {bout.n_frames} frames"
    if bout.n_surplus:
        message += f"; the last {bout.n_surplus} were dropped, check whether the last tif is whole"
        warnings.warn(message, MesoWarning, stacklevel=3)
    verdict = Verdict.WARNING if bout.n_surplus else Verdict.PASS
    return QCResult("frames_match_pulses", verdict, bout.n_surplus, 0, message, ORIGIN)
