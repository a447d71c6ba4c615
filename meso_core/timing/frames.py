"""When each frame of each field of view was taken, on the DAQ's clock.

What belongs here: from pulses and imaging metadata to ``mpci.times`` and ``mpciStack.timeshift``, and the checks of
their agreement. What does not: reading tifs, or writing ALF files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MetadataError, MissingInputError
from ..qc import QCResult
from ..scanimage import ImagingLayout, as_imaging_metadata, load_session_metadata
from ..scanimage.measured import MEASURED_SHARE
from ..session import IMAGING_META_FILE, SessionKey, fov_name
from ..session.imaging import BoutMetadata, ImagingMetadata, SessionMetadata
from .bouts import MIN_GAP_S, BoutEdges, find_bouts, load_software_events
from .checks import BoutTiming, check_bout, check_bouts_have_folders, check_counter, check_samples, check_volumes
from .timeline import Timeline

#: Names of the DAQ's input for the microscope's frame clock; the first that is there counts.
FRAME_CHANNELS = ("neural_frames", "frames")
VOLUME_CHANNEL = "volume_counter"


@dataclass(frozen=True, slots=True)
class TimeShifts:
    """Offsets in time within a frame."""

    #: (n_fovs,) f8, s, from the start of a FOV's frame to its first line.
    first_line: NDArray[np.float64]
    #: Per FOV (n_lines,) f8, s, from the FOV's first line to each of its lines (``mpciStack.timeshift``).
    lines: tuple[NDArray[np.float64], ...]
    #: Per FOV the 0-based position of its frame within a volume.
    slices: tuple[int, ...]
    #: Frames from one volume to the next: depths, and frames taken as the focus flies back.
    frames_per_volume: int

    def agrees_with(self, other: TimeShifts) -> bool:
        """Whether another bout has the same lines; ScanImage measures the line period again at each start."""
        return (
            (self.slices, self.frames_per_volume) == (other.slices, other.frames_per_volume)
            and [line.size for line in self.lines] == [line.size for line in other.lines]
            and np.allclose(self.first_line, other.first_line, rtol=MEASURED_SHARE, atol=0)
            and np.allclose(self.lines[0], other.lines[0], rtol=MEASURED_SHARE, atol=0)
        )


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """Times of all frames of a session, per field of view in the order of the metadata."""

    #: Per FOV (n_frames,) f8, s, DAQ clock, when the first line of the FOV was scanned (``mpci.times``).
    times: tuple[NDArray[np.float64], ...]
    #: Per FOV (n_lines,) f8, s, after the FOV's first line (``mpciStack.timeshift``).
    timeshift: tuple[NDArray[np.float64], ...]
    bouts: tuple[BoutTiming, ...]
    #: (n_pulses,) f8, s, all pulses of the microscope's frame clock, those outside of bouts too.
    pulses: NDArray[np.float64]
    #: All bouts on the DAQ, those without a folder too.
    found: BoutEdges
    results: tuple[QCResult, ...]

    def datasets(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        """Return ``{FOV folder: {ALF dataset: values}}``."""
        return {
            fov_name(i): {"mpci.times": times, "mpciStack.timeshift": shift}
            for i, (times, shift) in enumerate(zip(self.times, self.timeshift, strict=True))
        }


def get_timeshifts(meta: Mapping[str, Any] | ImagingMetadata) -> TimeShifts:
    """Work out when the lines of each field of view are scanned within a frame.

    A line takes ``hRoiManager.linePeriod``, and the lines of a frame are scanned in order, those between FOVs too; so
    line ``lineIdx`` (1-based) starts ``(lineIdx - 1) * linePeriod`` after the frame.

    Parameters
    ----------
    meta
        Imaging metadata of a bout, or the content of its file.

    Returns
    -------
    TimeShifts

    Raises
    ------
    MetadataError
        If a field is missing or impossible.

    Notes
    -----
    ibllib's function of this name returns three values, which follow from this one::

        line_indices = [np.array(fov["lineIdx"]) - 1 for fov in meta["FOV"]]
        rate = meta["scanImageParams"]["hRoiManager"]["scanFrameRate"]
        fov_time_shifts = shifts.first_line + np.array(shifts.slices) / rate
        line_time_shifts = list(shifts.lines)

    Here a FOV's offset leaves out the time of its slice, since each frame of a volume has its own pulse.
    """
    meta = as_imaging_metadata(meta)
    return _timeshifts(ImagingLayout.from_meta(meta), meta.line_period_s)


def _timeshifts(layout: ImagingLayout, period: float) -> TimeShifts:
    return TimeShifts(
        np.array([fov.row_start * period for fov in layout.fovs]),
        tuple(np.arange(fov.ny, dtype=np.float64) * period for fov in layout.fovs),
        tuple(fov.slice_index for fov in layout.fovs),
        layout.frames_per_volume,
    )


def extract_frame_times(
    session_path: str | os.PathLike[str],
    bouts: Sequence[BoutMetadata] | None = None,
    *,
    session: SessionKey | None = None,
    sync_collection: str = "raw_sync_data",
    min_gap: float = MIN_GAP_S,
    frame_channel: str = "",
) -> FrameTimes:
    """Find when each frame of each field of view was taken, from a session folder.

    Parameters
    ----------
    session_path
        Session folder, ``…/subject/YYYY-MM-DD/NNN``.
    bouts
        Metadata and page times of each bout; read from the session where not given.
    session
        Who and when, if not the folder's path; used to find the software events of this session.
    sync_collection
        Folder of the DAQ's files below the session.
    min_gap
        s, pulses further apart belong to two bouts, where no software event says otherwise.
    frame_channel
        The DAQ's input for the microscope's frame clock; by default ``neural_frames``, or else ``frames``.

    Returns
    -------
    FrameTimes

    Raises
    ------
    TimingError, MetadataError, InputFileError, MissingInputError
        As :func:`find_frame_times`, and if metadata are damaged or not there.

    Warns
    -----
    MesoWarning
        If a bout has more pulses than frames; the surplus at its end is dropped.
    """
    session_path = Path(session_path)
    metadata = load_session_metadata(session_path) if bouts is None else SessionMetadata(tuple(bouts))
    key = session or _session_of(session_path)
    return find_frame_times(
        session_path / sync_collection, metadata, session=key, min_gap=min_gap, frame_channel=frame_channel
    )


def find_frame_times(
    sync_folder: str | os.PathLike[str],
    metadata: SessionMetadata,
    *,
    session: SessionKey,
    min_gap: float = MIN_GAP_S,
    frame_channel: str = "",
) -> FrameTimes:
    """Find when each frame of each field of view was taken.

    The microscope sends a pulse to the DAQ as each frame starts, also of those that are not on file. The number of a
    frame tells its pulse and its depth; a FOV's time is the pulse of its frame plus the time to its first line. A bout
    that stops in mid-volume gives the FOVs of the first depths one frame more.

    Parameters
    ----------
    sync_folder
        Folder of the DAQ's files; only these are read.
    metadata
        What the microscope says of the session.
    session
        Subject and date, to find the software events of this session.
    min_gap
        s, pulses further apart belong to two bouts, where no software event says otherwise.
    frame_channel
        The DAQ's input for the microscope's frame clock; by default ``neural_frames``, or else ``frames``.

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
        If a file of the DAQ is damaged or not there.

    Warns
    -----
    MesoWarning
        If a bout has more pulses than frames; the surplus at its end is dropped.
    """
    bouts = metadata.bouts
    layouts = tuple(ImagingLayout.from_meta(bout.imaging) for bout in bouts)
    shifts = _shifts_of(bouts, layouts)
    timeline = Timeline(Path(sync_folder))
    channel = timeline.channel(*([frame_channel] if frame_channel else FRAME_CHANNELS))
    names = [channel.name] + [VOLUME_CHANNEL] * timeline.has_counter(VOLUME_CHANNEL)
    frames, *volumes = timeline.counter_edges(*names)
    microscope = [bout.frame_times for bout in bouts]
    found = find_bouts(
        frames.times,
        load_software_events(sync_folder),
        subject=session.subject,
        date=session.date,
        min_gap=max(min_gap, _slowest(microscope)),
    )
    edges = found.of_folders([bout.name for bout in bouts])

    results = [
        check_counter(frames),
        check_samples(timeline.steps(), timeline.nominal_rate_hz),
        check_bouts_have_folders(found, len(bouts)),
    ]
    per_fov: list[list[NDArray[np.float64]]] = [[] for _ in shifts[0].slices]
    timings = []
    for bout, layout, own, (start, end) in zip(bouts, layouts, shifts, edges, strict=True):
        first, last = np.searchsorted(frames.times, (start, end))
        pulses = frames.times[first : last + 1]
        timing = BoutTiming(bout.name, float(start), float(end), pulses.size, bout.n_taken)
        results += check_bout(timing, pulses, bout)
        results += [check_volumes(timing, counter.times, own.frames_per_volume) for counter in volumes]
        timings.append(timing)
        slices = layout.slices_of(bout.frames_in_acquisition)
        for parts, first_line, index in zip(per_fov, own.first_line, own.slices, strict=True):
            parts.append(pulses[bout.frame_index[slices == index]] + first_line)
    times = tuple(np.concatenate(parts) for parts in per_fov)
    return FrameTimes(times, shifts[0].lines, tuple(timings), frames.times, found, tuple(results))


def slices_of(bout: BoutMetadata) -> NDArray[np.int64]:
    """Tell which slice each frame on file shows, (n_frames,) i8; -1 while the focus flies back."""
    return ImagingLayout.from_meta(bout.imaging).slices_of(bout.frames_in_acquisition)


def _session_of(session_path: Path) -> SessionKey:
    """Read subject and date from the folder's path: with links followed, or else as it is written."""
    subject = date = number = ""
    for path in (session_path.resolve(), Path(os.path.normpath(session_path.absolute()))):
        subject, date, number = ("", "", "", *path.parts)[-3:]
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", date):
            break
    return SessionKey(subject, date, number)


def _slowest(frame_times: Sequence[NDArray[np.float64]]) -> float:
    """Return twice the longest frame period, s: or at slow rates each pulse would be its own bout."""
    periods = [float(np.median(np.diff(times))) for times in frame_times if times.size > 1]
    return 2 * max(periods, default=0.0)


def _shifts_of(bouts: Sequence[BoutMetadata], layouts: Sequence[ImagingLayout]) -> tuple[TimeShifts, ...]:
    """Return the offsets within a frame of each bout, which must be of the same fields of view."""
    if not bouts:
        raise MissingInputError.at(
            "session",
            expected="an imaging bout",
            found="none",
            remedy="Copy the folders raw_imaging_data_NN from the rig",
        )
    shifts = tuple(_timeshifts(layout, bout.imaging.line_period_s) for bout, layout in zip(bouts, layouts, strict=True))
    for bout, own in zip(bouts[1:], shifts[1:], strict=True):
        if not shifts[0].agrees_with(own):
            raise MetadataError.at(
                f"{bout.name}/{IMAGING_META_FILE}",
                field="FOV",
                expected=f"the lines, depths and line period of {bouts[0].name}: {_in_words(bouts[0])}",
                found=_in_words(bout),
                remedy="Split the session where the fields of view were changed: the later bouts and a copy of "
                "the DAQ's folder are a session of their own",
            )
    return shifts


def _in_words(bout: BoutMetadata) -> str:
    """Describe what decides when lines are scanned."""
    fovs = [f"lines {f.line_indices[0]} to {f.line_indices[-1]} of slice {f.slice_index}" for f in bout.imaging.fovs]
    more = f" and {len(fovs) - 4} more" if len(fovs) > 4 else ""
    return f"{', '.join(fovs[:4])}{more}, {bout.imaging.line_period_s * 1e6:g} µs a line"
