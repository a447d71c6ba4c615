"""The imaging bouts of a session on the DAQ's clock.

What belongs here: software events, gaps between pulses, and which folder belongs to which bout. What does not: frames.
"""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputFileError, MesoWarning, SettingsError, TimingError, brief
from ..opening import TABLE_BYTES, is_there, read_plain
from ..session import natural_key

if TYPE_CHECKING:
    import pandas as pd

EVENTS_FILE = "_timeline_softwareEvents.log.htsv"
#: Name of the events that the experiment server sends to the rig's computers.
EVENT_NAME = "mpepUDP"
#: Pulses further apart than this, in seconds, belong to two bouts where no event says otherwise.
MIN_GAP_S = 1.0
#: Software events may be logged so late or early, in seconds: a bout's edge is moved to a gap that is so near.
EVENT_LATENCY_S = 1.0


@dataclass(frozen=True, slots=True)
class SoftwareEvent:
    """A message that Timeline logged."""

    #: s, DAQ clock.
    time: float
    #: Kind of message, as in ``mpepUDP``.
    name: str
    #: Text, as in ``BlockStart SP035 20230303 1 1 10000``.
    info: str


def load_software_events(sync_folder: str | os.PathLike[str]) -> tuple[SoftwareEvent, ...]:
    """Read ``_timeline_softwareEvents.log.htsv``.

    Parameters
    ----------
    sync_folder
        Folder of the DAQ's files.

    Returns
    -------
    tuple of SoftwareEvent
        In order of time; empty where there is no such file, as on rigs without an experiment server.

    Raises
    ------
    InputFileError
        If the file is not a table with columns time, name and info.
    """
    path = Path(sync_folder) / EVENTS_FILE
    if not is_there(path):
        return ()
    try:
        text = io.StringIO(read_plain(path, TABLE_BYTES).decode("utf-8-sig"), newline="")
        reader = csv.DictReader(text, delimiter="\t", strict=True)
        rows, columns = list(reader), reader.fieldnames or ()
    except (UnicodeDecodeError, csv.Error) as error:
        raise _bad_events(path, None, f"text that does not parse ({error})") from error
    if not {"time", "name", "info"} <= set(columns):
        raise _bad_events(path, None, f"columns {', '.join(columns) or '(none)'}")
    events = []
    for number, row in enumerate(rows, start=2):
        try:
            time = float(row["time"])
        except (TypeError, ValueError) as error:
            raise _bad_events(path, f"line {number}", f"time {row['time']!r}") from error
        if not np.isfinite(time) or row["name"] is None or row["info"] is None:
            raise _bad_events(path, f"line {number}", "an incomplete row")
        events.append(SoftwareEvent(time, row["name"], row["info"]))
    return tuple(sorted(events, key=lambda event: event.time))


def _bad_events(path: Path, field: str | None, found: str) -> InputFileError:
    remedy = "Copy the file again from the rig, or move it away: then bouts are found from gaps between the pulses"
    return InputFileError.at(
        path, field=field, expected="tab-separated columns time, name, info", found=found, remedy=remedy
    )


@dataclass(frozen=True, slots=True)
class BoutEdges:
    """All bouts on the DAQ, and how they were separated."""

    #: (n_bouts, 2) f8, s, DAQ clock, first and last pulse.
    edges: NDArray[np.float64]
    #: ``software events`` or ``gaps``.
    source: str

    def of_folders(self, folders: Sequence[str]) -> NDArray[np.float64]:
        """Return the edges of the bouts that have a folder.

        With as many folders as bouts, they go together in order. With fewer, a folder's number is that of its bout:
        where a folder is missing, its bout is left out.

        Parameters
        ----------
        folders
            Names of the imaging folders, in order, as in ``raw_imaging_data_00``.

        Raises
        ------
        TimingError
            If there are more folders than bouts, or a folder's number is beyond the bouts.
        """
        if len(self.edges) == len(folders):
            return self.edges
        numbers = [int(match[1]) if (match := re.search(r"_(\d+)$", name)) else 0 for name in folders]
        if len(self.edges) < len(folders) or max(numbers, default=0) >= len(self.edges):
            raise TimingError.at(
                "imaging bouts",
                expected=f"a bout of frame pulses for each of the folders {', '.join(folders)}",
                found=f"{len(self.edges)} bouts on the DAQ, by {self.source}",
                remedy="Move the folder of another session to its own; give a bout during which the DAQ did not run a "
                "session of its own too, without frame_times, and the others get theirs",
            )
        return self.edges[numbers]


def find_bouts(
    frame_times: NDArray[np.float64],
    events: Sequence[SoftwareEvent] = (),
    *,
    subject: str = "",
    date: str = "",
    min_gap: float = MIN_GAP_S,
) -> BoutEdges:
    """Find the imaging bouts on the DAQ's clock.

    A bout runs from its BlockStart event to its BlockEnd; an ExpStart before the first block, and an ExpEnd where the
    block's end is missing, are used instead. Where no event is for this subject and date, a bout ends where pulses are
    more than ``min_gap`` apart. An event that was logged a little late or early is corrected by a gap close to it.

    Parameters
    ----------
    frame_times
        (n_pulses,) f8, s, ascending times of the DAQ's frame pulses.
    events
        Software events, in order of time.
    subject, date
        Who and when (``YYYY-MM-DD``); events of others do not count.
    min_gap
        s.

    Returns
    -------
    BoutEdges

    Raises
    ------
    TimingError
        If there are no pulses at all.
    """
    if frame_times.size == 0:
        raise TimingError.at(
            "frame pulses",
            expected="pulses of the microscope on the DAQ",
            found="none",
            remedy="Set MESO_FRAME_CHANNEL to the DAQ's input that the microscope's frame clock is wired to, if that "
            "is not neural_frames; if it was wired to none, this recording gives no times, and nothing but frame_times "
            "needs them",
        )
    blocks = _event_blocks(events, subject, date)
    if blocks:
        return BoutEdges(_edges_from_events(frame_times, blocks, min_gap), "software events")
    if any(event.name == EVENT_NAME for event in events):
        warnings.warn(
            f"no Exp or Block event in {EVENTS_FILE} is of {subject or '(no subject)'} on {date or '(no date)'}; "
            "bouts were found from gaps between the pulses",
            MesoWarning,
            stacklevel=2,
        )
    return BoutEdges(_edges_from_gaps(frame_times, min_gap), "gaps")


def get_bout_edges(
    frame_times: ArrayLike,
    collections: Iterable[str] | str | None = (),
    events: Iterable[SoftwareEvent] | pd.DataFrame | None = (),
    *,
    subject: str = "",
    date: str = "",
    min_gap: float = MIN_GAP_S,
) -> NDArray[np.float64]:
    """Find the first and last pulse of each imaging bout.

    Parameters
    ----------
    frame_times, min_gap
        As for :func:`find_bouts`.
    collections
        Imaging folders, as in ``raw_imaging_data_00``; bouts without one are left out. All bouts where none is given.
    events
        Software events, or the table of them that ibllib passes, with columns time and info (and name). None: there
        are none.
    subject, date
        Who and when (``YYYY-MM-DD``), which ibllib takes from the session's path: without them no event is of this
        session, and gaps decide.

    Returns
    -------
    ndarray
        (n_bouts, 2) f8, s, times of the first and the last pulse.

    Raises
    ------
    TimingError
        If there are no pulses, or bouts and folders cannot be matched.
    SettingsError
        If an argument is something else.
    """
    folders = _folders(collections)
    found = find_bouts(
        np.asarray(frame_times, dtype=np.float64), _software_events(events), subject=subject, date=date, min_gap=min_gap
    )
    return found.of_folders(folders) if folders else found.edges


def _folders(collections: Iterable[str] | str | None) -> list[str]:
    if isinstance(collections, str):
        return [collections]
    folders = list(collections or ())
    # a set has no order of its own
    return sorted(folders, key=natural_key) if isinstance(collections, Set) else folders


def _software_events(events: object) -> tuple[SoftwareEvent, ...]:
    """Take events one by one, or as a table (anything with columns)."""
    if events is None:
        return ()
    if {"time", "info"} <= set(getattr(events, "columns", ())):
        table = cast("pd.DataFrame", events)
        names = table["name"] if "name" in table.columns else [EVENT_NAME] * len(table)
        rows = zip(table["time"], names, table["info"], strict=True)
        read = (SoftwareEvent(float(time), str(name), str(info)) for time, name, info in rows)
        return tuple(sorted(read, key=lambda event: event.time))
    made = tuple(events) if isinstance(events, Iterable) else (events,)
    wrong = next((event for event in made if not isinstance(event, SoftwareEvent)), None)
    if wrong is not None:
        expected = "SoftwareEvent entries, or a table with columns time, name and info"
        remedy = "Read them with load_software_events, or leave them out"
        raise SettingsError.at("events", expected=expected, found=brief(wrong), remedy=remedy)
    return made


def _event_blocks(events: Sequence[SoftwareEvent], subject: str, date: str) -> list[tuple[float, float | None]]:
    """Return (start, end) of each block by its events; the end is None where no event gives it."""
    pattern = re.compile(rf"(Exp|Block)(Start|End)\s{re.escape(subject)}\s{date.replace('-', '')}\s\d+")
    blocks: list[tuple[float, float | None]] = []
    begun: float | None = None  # start of the block that is going on
    is_exp = False  # whether only its experiment has started yet
    for event in events:
        match = pattern.match(event.info) if event.name == EVENT_NAME else None
        if match is None:
            continue
        kind, edge = match.groups()
        if edge == "End":
            if begun is not None:
                blocks.append((begun, event.time))
            begun = None
        elif begun is None:
            begun, is_exp = event.time, kind == "Exp"
        elif kind == "Block" and is_exp:
            is_exp = False  # the first block of the experiment that has just started
        else:
            blocks.append((begun, None))
            begun, is_exp = event.time, kind == "Exp"
    if begun is not None:
        blocks.append((begun, None))
    return blocks


def _edges_from_gaps(frame_times: NDArray[np.float64], min_gap: float) -> NDArray[np.float64]:
    last = np.flatnonzero(np.diff(frame_times) > min_gap)
    starts = frame_times[np.r_[0, last + 1]]
    ends = frame_times[np.r_[last, frame_times.size - 1]]
    return np.column_stack([starts, ends])


def _edges_from_events(
    frame_times: NDArray[np.float64], blocks: Sequence[tuple[float, float | None]], min_gap: float
) -> NDArray[np.float64]:
    gaps = np.flatnonzero(np.diff(frame_times) > min_gap)
    firsts = np.r_[0, gaps + 1]  # index of the first and the last pulse of each run of pulses
    lasts = np.r_[gaps, frame_times.size - 1]
    edges: list[tuple[float, float]] = []
    for number, (start, end) in enumerate(blocks):
        after = max([edge for _, edge in edges[-1:]] + [start - EVENT_LATENCY_S])
        until = blocks[number + 1][0] if number + 1 < len(blocks) else np.inf
        first = int(np.searchsorted(frame_times, start))
        near = firsts[(firsts < first) & (frame_times[firsts] > after)]
        first = int(near[-1]) if near.size else first
        if end is None:
            last = int(lasts[min(np.searchsorted(lasts, first), lasts.size - 1)])
        else:
            last = int(np.searchsorted(frame_times, end, side="right")) - 1
            near = lasts[(lasts > last) & (frame_times[lasts] < min(end + EVENT_LATENCY_S, until))]
            last = int(near[0]) if near.size else last
        if last < first or frame_times[first] >= until:
            _warn_empty(start)
        else:
            edges.append((frame_times[first], frame_times[last]))
    return np.array(edges, dtype=np.float64).reshape(-1, 2)


def _warn_empty(start: float) -> None:
    warnings.warn(
        f"the bout that began at {start:.3f} s by its software event has no frame pulse and is left out",
        MesoWarning,
        stacklevel=5,
    )
