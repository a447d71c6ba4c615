"""Reading the Timeline DAQ of a session: which channels there are, and when their counters rose.

What belongs here: the three ``_timeline_DAQdata`` files and nothing of imaging. A recording of 90 minutes is half a
gigabyte; only the channels asked for are looked at, through small memory-mapped windows, so memory stays flat.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputFileError, MissingInputError, TimingError, brief, problem
from .npy import NpyFile

RAW_FILE = "_timeline_DAQdata.raw.npy"
TIMESTAMPS_FILE = "_timeline_DAQdata.timestamps.npy"
META_FILE = "_timeline_DAQdata.meta.json"

#: Widths in bits of the counters of National Instruments boards (X and M series 32, E series 24), and of cheaper ones.
COUNTER_BITS = (32, 24, 16)
#: More edges than this between two samples are not a wrap but a counter that was set to another value.
MAX_EDGES_PER_SAMPLE = 1000


@dataclass(frozen=True, slots=True)
class Channel:
    """One input of the DAQ."""

    name: str
    #: 0-based column of the raw array.
    column: int
    #: ``EdgeCount``, ``Position`` or ``Voltage``.
    measurement: str


@dataclass(frozen=True, slots=True)
class CounterEdges:
    """The moments at which an edge counter rose."""

    #: (n_edges,) int64, index of the first sample at which the higher count was read.
    samples: NDArray[np.int64]
    #: (n_edges,) f8, s, DAQ clock.
    times: NDArray[np.float64]
    #: How often the counter ran over its highest value.
    n_wraps: int
    #: How often it was set back to a smaller value without a wrap.
    n_resets: int
    #: Samples between which the count rose by more than one; they count as one edge each.
    n_multiple: int


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
            if not (self.folder / name).is_file():
                raise MissingInputError(
                    problem(
                        self.folder / name,
                        expected="a file of the Timeline DAQ",
                        found="no such file",
                        remedy="Copy the DAQ's files from the rig",
                    )
                )
        self._raw = NpyFile(self.folder / RAW_FILE, ndim=2)
        self._timestamps = NpyFile(self.folder / TIMESTAMPS_FILE)
        self.channels: tuple[Channel, ...] = _read_channels(self.folder / META_FILE, n_columns=self._raw.shape[1])
        self._check_timestamps()

    @property
    def n_samples(self) -> int:
        """Number of samples of each channel."""
        return self._raw.shape[0]

    def channel(self, name: str) -> Channel:
        """Return a channel by name, in any case.

        Raises
        ------
        TimingError
            If the DAQ has no such channel.
        """
        for channel in self.channels:
            if channel.name.lower() == name.lower():
                return channel
        raise TimingError(
            problem(
                self.folder / META_FILE,
                field="inputs",
                expected=f"a channel '{name}'",
                found=", ".join(c.name for c in self.channels) or "none",
                remedy=f"Name the DAQ input that is wired to it '{name}', or correct the metadata file",
            )
        )

    def has_counter(self, name: str) -> bool:
        """Tell whether an edge counter of this name was recorded."""
        return any(c.name.lower() == name.lower() and c.measurement == "EdgeCount" for c in self.channels)

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
        stamps = self._timestamps
        if stamps.is_vector:
            times = stamps.take(samples).astype(np.float64)
        else:
            table = np.array(stamps.mapped(), dtype=np.float64)
            times = np.interp(samples, table[:, 0], table[:, 1])
        bad = np.flatnonzero(~np.isfinite(times))
        if not bad.size:
            bad = np.flatnonzero((np.diff(times) <= 0) & (np.diff(samples) > 0)) + 1
        if bad.size:
            raise InputFileError(
                problem(
                    stamps.path,
                    expected="finite times that ascend",
                    found=f"{times[bad[0]]} s at sample {samples[bad[0]]}",
                    remedy="Copy the file again from the rig; if it is the same there, the DAQ recording is damaged",
                )
            )
        return times

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
                raise TimingError(
                    problem(
                        self.folder / META_FILE,
                        field=f"inputs.{channel.name}.measurement",
                        expected="EdgeCount",
                        found=channel.measurement,
                        remedy="Wire the pulses to a counter input of the DAQ",
                    )
                )
        finders = [_EdgeFinder(self._raw.path, channel) for channel in channels]
        for first, values in self._raw.column_blocks([c.column for c in channels]):
            for finder, value in zip(finders, values, strict=True):
                finder.add(first, value)
        return tuple(self._edges(finder) for finder in finders)

    def _edges(self, finder: _EdgeFinder) -> CounterEdges:
        samples, steps, n_wraps, n_resets = finder.edges()
        return CounterEdges(samples, self.times(samples), n_wraps, n_resets, int(np.count_nonzero(steps > 1)))

    def _check_timestamps(self) -> None:
        stamps = self._timestamps
        if stamps.is_vector and stamps.size != self.n_samples:
            found = f"{stamps.size} timestamps"
        elif not stamps.is_vector and (len(stamps.shape) != 2 or stamps.shape[1] != 2 or stamps.shape[0] < 2):
            found = f"shape {stamps.shape}"
        else:
            return
        raise InputFileError(
            problem(
                stamps.path,
                expected=f"{self.n_samples} timestamps, one per sample of {RAW_FILE}, or rows of (sample, time)",
                found=found,
                remedy="Copy both files again from the rig",
            )
        )


class _EdgeFinder:
    """Collects the changes of one counter, block by block."""

    def __init__(self, path: Path, channel: Channel) -> None:
        self.path, self.channel = path, channel
        self._last: float | None = None
        self._samples: list[NDArray[np.int64]] = []
        self._before: list[NDArray[np.float64]] = []
        self._after: list[NDArray[np.float64]] = []

    def add(self, first: int, values: NDArray[Any]) -> None:
        """Take the counts of samples ``first`` and on."""
        if self._last is None:
            self._last = self._finite(values[:1], first)[0]
        if values[0] != self._last:
            self._note(np.array([first]), np.array([self._last]), values[:1])
        # a NaN differs from everything, itself included, so it always turns up here
        changed = np.flatnonzero(values[1:] != values[:-1])
        self._note(changed + first + 1, values[changed], values[changed + 1])
        self._last = float(values[-1])

    def _note(self, samples: NDArray[np.int64], before: NDArray[Any], after: NDArray[Any]) -> None:
        self._samples.append(samples)
        self._before.append(before.astype(np.float64))
        self._after.append(self._finite(after, samples))

    def _finite(self, values: NDArray[Any], samples: NDArray[np.int64] | int) -> NDArray[np.float64]:
        counts = values.astype(np.float64)
        bad = ~np.isfinite(counts)
        if bad.any():
            sample = int(np.broadcast_to(samples, counts.shape)[bad][0])
            raise InputFileError(
                problem(
                    self.path,
                    field=self.channel.name,
                    expected="finite counts",
                    found=f"{counts[bad][0]} at sample {sample}",
                    remedy="Copy the file again from the rig; if it is the same there, the DAQ recording is damaged",
                )
            )
        return counts

    def edges(self) -> tuple[NDArray[np.int64], NDArray[np.float64], int, int]:
        """Return samples and heights of the rises, and how many wraps and resets there were."""
        samples = np.concatenate([np.empty(0, dtype=np.int64), *self._samples])
        before = np.concatenate([np.empty(0), *self._before])
        after = np.concatenate([np.empty(0), *self._after])
        steps = after - before
        fell = np.flatnonzero(steps < 0)
        n_wraps = 0
        for i in fell:
            rises = [steps[i] + 2**bits for bits in COUNTER_BITS]
            rise = next((r for r in rises if 1 <= r <= MAX_EDGES_PER_SAMPLE), None)
            n_wraps += rise is not None
            # after a reset the count itself tells how many edges came since
            steps[i] = max(after[i], 0.0) if rise is None else rise
        rose = steps > 0
        return samples[rose], steps[rose], n_wraps, fell.size - n_wraps


def _read_channels(path: Path, n_columns: int) -> tuple[Channel, ...]:
    def bad(expected: str, found: str, field: str | None = None) -> InputFileError:
        remedy = "Copy the file again from the rig"
        return InputFileError(problem(path, field=field, expected=expected, found=found, remedy=remedy))

    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise bad("JSON", f"text that does not parse ({error})") from error
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


__all__ = ["META_FILE", "RAW_FILE", "TIMESTAMPS_FILE", "Channel", "CounterEdges", "Timeline"]
