"""Reading the Timeline DAQ of a session: which channels there are, and when their counters rose.

What belongs here: the three ``_timeline_DAQdata`` files and nothing of imaging. A recording of 90 minutes is half a
gigabyte; only the channels asked for are looked at, through small memory-mapped windows, so memory stays flat.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputFileError, MissingInputError, TimingError, brief
from ..opening import is_there, map_array, read_json
from .counters import CounterEdges, EdgeFinder

RAW_FILE = "_timeline_DAQdata.raw.npy"
TIMESTAMPS_FILE = "_timeline_DAQdata.timestamps.npy"
META_FILE = "_timeline_DAQdata.meta.json"

#: What is left to do where samples are no numbers.
_LOST = (
    "Copy the file again from the rig; if it is the same there, this recording gives no times: nothing but frame_times "
    "needs them"
)
#: Bytes of a window onto a file: a window stays in the CPU's cache. Each one is a new map, because one map of the
#: whole file would keep all that was read in memory.
WINDOW_BYTES = 2**21
#: Share of a sample's length by which rounding may move its time.
_COARSEST = 0.1


@dataclass(frozen=True, slots=True)
class Channel:
    """One input of the DAQ."""

    name: str
    #: 0-based column of the raw array.
    column: int
    #: ``EdgeCount``, ``Position`` or ``Voltage``.
    measurement: str


@dataclass(frozen=True, slots=True)
class SampleSteps:
    """Time from one sample of the DAQ to the next, s."""

    shortest_s: float
    longest_s: float
    #: Mean over the recording.
    usual_s: float
    #: Whether times are given for samples of the recording alone, by whole numbers.
    of_samples: bool = True


class Timeline:
    """The DAQ recording of a session, opened without reading it.

    Parameters
    ----------
    folder
        Folder with ``_timeline_DAQdata.raw.npy`` (n_samples, n_channels), ``_timeline_DAQdata.timestamps.npy`` and
        ``_timeline_DAQdata.meta.json``; usually ``raw_sync_data``. The timestamps may be one per sample, or rows of
        (sample, time) between which time is linear.

    Raises
    ------
    MissingInputError
        If one of the files is not there.
    InputFileError
        If one is cut short, is not what its name says, or if they disagree on the number of samples.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        for name in (RAW_FILE, TIMESTAMPS_FILE, META_FILE):
            if not is_there(self.folder / name):
                raise MissingInputError.at(
                    self.folder / name,
                    expected="a file of the Timeline DAQ",
                    found="no such file",
                    remedy="Copy the DAQ's files from the rig",
                )
        raw = _mapped(self.folder / RAW_FILE)
        if raw.ndim != 2:
            raise _misshapen(self.folder / RAW_FILE, "2 dimensions", f"shape {raw.shape}")
        #: Number of samples of each channel.
        self.n_samples: int = raw.shape[0]
        meta = read_json(self.folder / META_FILE, "Copy the file again from the rig")
        self.channels: tuple[Channel, ...] = _read_channels(meta, self.folder / META_FILE, n_columns=raw.shape[1])
        #: Samples per second that the DAQ was asked for, Hz; None where the metadata do not tell.
        self.nominal_rate_hz: float | None = _nominal_rate(meta)
        self._check_timestamps()

    def channel(self, *names: str) -> Channel:
        """Return a channel by one of its names, the first that is there; case, ``_`` and blanks do not matter.

        Raises
        ------
        TimingError
            If the DAQ has no such channel, or several.
        """
        for name in names:
            found = [c for c in self.channels if c.name == name] or [c for c in self.channels if _is_named(c, name)]
            if len(found) == 1:
                return found[0]
            if found:
                raise self._wrong_channel(f"one channel '{name}'", ", ".join(c.name for c in found))
        whatnames = ", ".join(c.name for c in self.channels) or "none"
        raise self._wrong_channel("a channel " + " or ".join(f"'{name}'" for name in names), whatnames)

    def _wrong_channel(self, expected: str, found: str) -> TimingError:
        remedy = (
            "If one of these is wired to the microscope's frame clock, set MESO_FRAME_CHANNEL to its name; else "
            "correct the names in this file"
        )
        path = self.folder / META_FILE
        return TimingError.at(path, field="inputs", expected=expected, found=found, remedy=remedy)

    def has_counter(self, name: str) -> bool:
        """Tell whether an edge counter of this name was recorded."""
        return any(_is_named(c, name) and c.measurement == "EdgeCount" for c in self.channels)

    def times(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return when samples were taken.

        Parameters
        ----------
        samples
            (n,) int64, ascending sample indices.

        Returns
        -------
        ndarray
            (n,) f8, s, DAQ clock.

        Raises
        ------
        InputFileError
            If the timestamps at these samples are not finite or do not ascend.
        """
        path = self.folder / TIMESTAMPS_FILE
        stamps = _mapped(path)
        if _is_vector(stamps):
            times = _take(path, samples)
        else:
            table = np.array(stamps, dtype=np.float64)
            times = np.interp(samples, table[:, 0], table[:, 1])
        bad = np.flatnonzero(~np.isfinite(times))
        if not bad.size:
            bad = np.flatnonzero((np.diff(times) <= 0) & (np.diff(samples) > 0)) + 1
        if bad.size:
            raise InputFileError.at(
                path,
                expected="finite times that ascend",
                found=f"{times[bad[0]]} s at sample {samples[bad[0]]}",
                remedy=_LOST,
            )
        return times

    def steps(self) -> SampleSteps:
        """Measure the time from one sample to the next, over the whole recording.

        Raises
        ------
        InputFileError
            If the timestamps are too coarse to tell samples apart, are not finite, or do not ascend.
        """
        path = self.folder / TIMESTAMPS_FILE
        stamps = _mapped(path)
        shortest, longest = np.inf, -np.inf
        if _is_vector(stamps):
            ends = stamps.reshape(-1)[[0, -1]].astype(np.float64)
            n_steps = max(stamps.size - 1, 1)
            n_window = WINDOW_BYTES // 8
            for first in range(0, stamps.size - 1, n_window):  # a window ends with the first sample of the next
                values = _mapped(path).reshape(-1)[first : first + n_window + 1].astype(np.float64, copy=False)
                found = np.diff(values)
                shortest, longest = min(shortest, found.min()), max(longest, found.max())
        else:
            table = np.array(stamps, np.float64)
            ends, n_steps = table[[0, -1], 1], table[-1, 0] - table[0, 0]
            with np.errstate(all="ignore"):  # what comes of samples that do not ascend is told below
                found = np.diff(table[:, 1]) / np.diff(table[:, 0])
            shortest, longest = found.min(), found.max()
        usual = float(ends[1] - ends[0]) / n_steps
        resolution = float(np.spacing(np.abs(ends).max().astype(stamps.dtype))) if stamps.dtype.kind == "f" else 1.0
        if not (np.isfinite([usual, shortest, longest]).all() and usual > 0):
            what = f"{ends[0]} to {ends[1]} s, steps from {shortest} s"
            raise InputFileError.at(path, expected="finite times that ascend", found=what, remedy=_LOST)
        if resolution > usual * _COARSEST:
            expected = f"times that tell samples {usual * 1e3:.4g} ms apart, as float64 does"
            what = f"{stamps.dtype}, which tells {resolution * 1e3:.4g} ms"
            raise InputFileError.at(path, expected=expected, found=what, remedy=_LOST)
        numbers = np.zeros(0) if _is_vector(stamps) else np.array(stamps[:, 0], np.float64)
        of_samples = bool(((numbers >= 0) & (numbers < self.n_samples) & (numbers == np.floor(numbers))).all())
        return SampleSteps(float(shortest), float(longest), usual, of_samples)

    def counter_edges(self, *names: str) -> tuple[CounterEdges, ...]:
        """Find when edge counters rose; all asked for are read in one pass.

        Parameters
        ----------
        *names
            Names of channels whose measurement is ``EdgeCount``.

        Returns
        -------
        tuple of CounterEdges
            In the order of the names.

        Raises
        ------
        TimingError
            If a channel is not there or is not an edge counter.
        InputFileError
            If a count is not a finite number.
        """
        channels = [self.channel(name) for name in names]
        for channel in channels:
            if channel.measurement != "EdgeCount":
                raise TimingError.at(
                    self.folder / META_FILE,
                    field=f"inputs.{channel.name}.measurement",
                    expected="EdgeCount",
                    found=channel.measurement,
                    remedy="Set MESO_FRAME_CHANNEL to the edge counter that the frame clock is wired to; pulses on an "
                    "input of another kind are not counted",
                )
        finders = [EdgeFinder(self.folder / RAW_FILE, channel.name) for channel in channels]
        for first, values in _column_blocks(self.folder / RAW_FILE, [c.column for c in channels]):
            for finder, value in zip(finders, values, strict=True):
                finder.add(first, value)
        return tuple(self._edges(finder) for finder in finders)

    def _edges(self, finder: EdgeFinder) -> CounterEdges:
        samples, steps, n_wraps, n_resets = finder.edges()
        return CounterEdges(samples, self.times(samples), n_wraps, n_resets, int(np.count_nonzero(steps > 1)))

    def _check_timestamps(self) -> None:
        path = self.folder / TIMESTAMPS_FILE
        stamps = _mapped(path)
        if _is_vector(stamps) and stamps.size != self.n_samples:
            found = f"{stamps.size} timestamps"
        elif not _is_vector(stamps) and (stamps.ndim != 2 or stamps.shape[1] != 2 or stamps.shape[0] < 2):
            found = f"shape {stamps.shape}"
        else:
            return
        raise InputFileError.at(
            path,
            expected=f"{self.n_samples} timestamps, one per sample of {RAW_FILE}, or rows of (sample, time)",
            found=found,
            remedy="Put the files of one recording together, with one row per sample and one column per input",
        )


def _is_named(channel: Channel, name: str) -> bool:
    """Whether this is a spelling of the channel's name: ``neuralFrames`` is ``neural_frames``."""
    plain = [re.sub(r"[\W_]", "", text).lower() for text in (channel.name, name)]
    return plain[0] == plain[1]


def _mapped(path: Path) -> NDArray[Any]:
    """Memory-map a ``.npy`` file of real numbers, read-only."""
    array = map_array(path, "Copy the file again from the rig")
    if array.dtype.kind not in "iuf":
        raise _misshapen(path, "real numbers", f"dtype {array.dtype}")
    return array


def _is_vector(array: NDArray[Any]) -> bool:
    """Whether this is a row of numbers; MATLAB writes such as a single column."""
    return array.ndim == 1 or (array.ndim == 2 and 1 in array.shape)


def _take(path: Path, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return elements of a vector on file at ascending indices, window by window."""
    array = _mapped(path)
    taken, n = np.empty(indices.size), max(1, WINDOW_BYTES // array.itemsize)
    for first in range(0, array.size, n):
        start, stop = np.searchsorted(indices, (first, first + n))
        if start < stop:
            taken[start:stop] = _mapped(path).reshape(-1)[indices[start:stop]]
    return taken


def _column_blocks(path: Path, columns: Sequence[int]) -> Iterator[tuple[int, tuple[NDArray[Any], ...]]]:
    """Yield columns of a 2-D array on file, block by block: the first row, and (n_rows,) of each column."""
    array = _mapped(path)
    n_rows, n_columns = array.shape
    rows = max(1, WINDOW_BYTES // array.itemsize // (1 if array.flags.f_contiguous else n_columns))
    for first in range(0, n_rows, rows):
        window = np.asarray(_mapped(path)[first : first + rows])
        yield first, tuple(window[:, column] for column in columns)


def _misshapen(path: Path, expected: str, found: str) -> InputFileError:
    """Make the error for what no copy can spoil."""
    remedy = (
        "Convert the recording of Timeline again: one row per sample and one column per input in the raw file, one "
        "time per sample in the timestamps"
    )
    return InputFileError.at(path, expected=expected, found=found, remedy=remedy)


def _nominal_rate(meta: object) -> float | None:
    rate = meta.get("daqSampleRate") if isinstance(meta, dict) else None
    is_rate = isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate < np.inf
    return float(rate) if is_rate and rate is not None else None


def _read_channels(meta: object, path: Path, n_columns: int) -> tuple[Channel, ...]:
    def bad(expected: str, found: str, field: str) -> InputFileError:
        remedy = f"Correct the field, or put the {META_FILE} and {RAW_FILE} of one recording together"
        return InputFileError.at(path, field=field, expected=expected, found=found, remedy=remedy)

    inputs = meta.get("inputs") if isinstance(meta, dict) else None
    if isinstance(inputs, dict):  # MATLAB's jsonencode writes a single input without a list
        inputs = [inputs]
    if not isinstance(inputs, list) or not inputs:
        raise bad("a list of the DAQ's channels", "none", "inputs")
    channels = []
    for number, entry in enumerate(inputs):
        field = f"inputs[{number}]"
        if not isinstance(entry, dict) or not {"name", "arrayColumn", "measurement"} <= entry.keys():
            raise bad("keys name, arrayColumn and measurement", brief(entry), field)
        column = entry["arrayColumn"]
        if column == -1:  # Rigbox leaves -1 where an input is defined but was not recorded
            continue
        if not isinstance(column, int | float) or not 1 <= column <= n_columns or column != int(column):
            raise bad(f"a column from 1 to {n_columns}", brief(column), f"{field}.arrayColumn")
        channels.append(Channel(str(entry["name"]), int(column) - 1, str(entry["measurement"])))
    return tuple(channels)
