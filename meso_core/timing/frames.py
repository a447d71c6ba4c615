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

from ..errors import MetadataError, MissingInputError, problem
from ..qc import QCResult
from ..scanimage import ImagingLayout
from ..session import IMAGING_META_FILE, SessionKey, fov_name
from .bouts import MIN_GAP_S, BoutEdges, find_bouts, load_software_events
from .checks import BoutTiming, check_bout, check_bouts_have_folders, check_counter, check_volumes
from .microscope import ImagingBout, load_imaging_bouts
from .timeline import Timeline

FRAME_CHANNEL = "neural_frames"
VOLUME_CHANNEL = "volume_counter"
#: Line periods of two bouts may differ by this share: 21 µs at the last of 512 lines.
LINE_PERIOD_SHARE = 1e-3


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
        """Tell whether another bout has the same lines; ScanImage measures the line period anew at each start."""
        return (
            (self.slices, self.frames_per_volume) == (other.slices, other.frames_per_volume)
            and [line.size for line in self.lines] == [line.size for line in other.lines]
            and np.allclose(self.first_line, other.first_line, rtol=LINE_PERIOD_SHARE, atol=0)
            and np.allclose(self.lines[0], other.lines[0], rtol=LINE_PERIOD_SHARE, atol=0)
        )


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
    #: All bouts on the DAQ, those without a folder too.
    found: BoutEdges
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

    Here the time of a slice is no part of a FOV's offset: each frame of a volume has a pulse of its own.
    """
    layout = ImagingLayout.from_meta(dict(meta))
    try:
        period = float(meta["scanImageParams"]["hRoiManager"]["linePeriod"])
    except (KeyError, TypeError, ValueError) as error:
        raise _bad_line_period(repr(error)) from error
    if not 0 < period < 1:
        raise _bad_line_period(f"{period} s")
    return TimeShifts(
        np.array([fov.row_start * period for fov in layout.fovs]),
        tuple(np.arange(fov.ny, dtype=np.float64) * period for fov in layout.fovs),
        tuple(fov.slice_index for fov in layout.fovs),
        layout.frames_per_volume,
    )


def _bad_line_period(found: str) -> MetadataError:
    return MetadataError(
        problem(
            IMAGING_META_FILE,
            field="scanImageParams.hRoiManager.linePeriod",
            expected="the time per line in s",
            found=found,
            remedy="Make the metadata again from the tifs with extract_imaging_meta",
        )
    )


def extract_frame_times(
    session_path: str | os.PathLike[str],
    bouts: Sequence[ImagingBout] | None = None,
    *,
    session: SessionKey | None = None,
    sync_collection: str = "raw_sync_data",
    min_gap: float = MIN_GAP_S,
) -> FrameTimes:
    """Find when each frame of each field of view was taken.

    The microscope sends a pulse to the DAQ as each frame starts. Frame ``k`` of a bout is at depth ``k`` modulo the
    frames of a volume; a FOV's time is the pulse of its frame plus the time to its first line. A bout that stops in
    mid-volume gives the FOVs of the first depths one frame more.

    Parameters
    ----------
    session_path
        Session folder, ``…/subject/YYYY-MM-DD/NNN``.
    bouts
        Metadata and frame timestamps of each bout; read from the session where not given.
    session
        Who and when, where the folder's path does not tell; it finds the software events of this session.
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
    bouts = load_imaging_bouts(session_path) if bouts is None else tuple(bouts)
    shifts = _shifts_of(bouts)
    timeline = Timeline(session_path / sync_collection)
    names = [FRAME_CHANNEL] + [VOLUME_CHANNEL] * timeline.has_counter(VOLUME_CHANNEL)
    frames, *volumes = timeline.counter_edges(*names)
    subject, date = (session.subject, session.date) if session else _who_and_when(session_path)
    events = load_software_events(session_path / sync_collection)
    found = find_bouts(frames.times, events, subject=subject, date=date, min_gap=max(min_gap, _slowest(bouts)))
    edges = found.of_folders([bout.name for bout in bouts])

    results = [check_counter(frames), check_bouts_have_folders(found, len(bouts))]
    per_fov: list[list[NDArray[np.float64]]] = [[] for _ in shifts[0].slices]
    timings = []
    for bout, own, (start, end) in zip(bouts, shifts, edges, strict=True):
        first, last = np.searchsorted(frames.times, (start, end))
        pulses = frames.times[first : last + 1]
        timing = BoutTiming(bout.name, float(start), float(end), pulses.size, bout.n_frames)
        results += check_bout(timing, pulses, bout.frame_timestamps)
        results += [check_volumes(timing, counter.times, own.frames_per_volume) for counter in volumes]
        timings.append(timing)
        for parts, first_line, index in zip(per_fov, own.first_line, own.slices, strict=True):
            parts.append(pulses[: bout.n_frames][index :: own.frames_per_volume] + first_line)
    times = tuple(np.concatenate(parts) for parts in per_fov)
    return FrameTimes(times, shifts[0].lines, tuple(timings), frames.times, found, tuple(results))


def _who_and_when(session_path: Path) -> tuple[str, str]:
    """Return subject and date by the folder's place: where links lead, or else where they stand."""
    for path in (session_path.resolve(), Path(os.path.normpath(session_path.absolute()))):
        subject, date = ("", "", *path.parts)[-3:-1]
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", date):
            break
    return subject, date


def _slowest(bouts: Sequence[ImagingBout]) -> float:
    """Return twice the longest frame period, s: else at slow rates each pulse would be a bout of its own."""
    periods = [float(np.median(np.diff(bout.frame_timestamps))) for bout in bouts if bout.n_frames > 1]
    return 2 * max(periods, default=0.0)


def _shifts_of(bouts: Sequence[ImagingBout]) -> tuple[TimeShifts, ...]:
    """Return the offsets within a frame of each bout, which must be of the same fields of view."""
    if not bouts:
        raise MissingInputError(
            problem("session", expected="an imaging bout", found="none", remedy="Check the session's folders")
        )
    shifts = tuple(get_timeshifts(bout.meta) for bout in bouts)
    for bout, own in zip(bouts[1:], shifts[1:], strict=True):
        if not shifts[0].agrees_with(own):
            raise MetadataError(
                problem(
                    f"{bout.name}/{IMAGING_META_FILE}",
                    field="FOV",
                    expected=f"the same lines, depths and line period as in {bouts[0].name}",
                    found="others",
                    remedy="Split the session where the fields of view were changed",
                )
            )
    return shifts
