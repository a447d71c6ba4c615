"""The DAQ recording: Timeline's files.

What belongs here: ``raw_sync_data``, as cortexlab's Timeline saves it to ALF. What does not: the true times
(``clock``), or reading.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...json_text import json_text
from ..config import SimulationConfig
from .clock import Bout
from .rows import start_npy

#: Samples that are in memory at a time and share one stream of random numbers.
_CHUNK = 1 << 18
#: Counters of the DAQ board have 32 bits.
_COUNTER = 2**32
_START_S = 0.000613


@dataclass(frozen=True, slots=True)
class Edges:
    """True pulses of the two clock lines, s on the DAQ's clock."""

    frames: NDArray[np.float64]
    volumes: NDArray[np.float64]
    #: Value of the counters before the first pulse.
    counter_start: int = 0


_Signal = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]


def _counter(edges: NDArray[np.float64], start: int) -> _Signal:
    def signal(t: NDArray[np.float64], _rng: np.random.Generator) -> NDArray[np.float64]:
        count = start + np.searchsorted(edges, t, side="right")
        return np.asarray(count % _COUNTER, dtype=np.float64)

    return signal


def _square(period: float, high: float, duty: float = 0.5, noise: float = 0.004) -> _Signal:
    def signal(t: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        on = (t / period) % 1 < duty
        return np.asarray(high * on + noise * rng.standard_normal(t.size))

    return signal


def _noise(t: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Simulate an unconnected input: mains hum and noise."""
    return np.asarray(0.35 * np.sin(2 * np.pi * 50 * t) + 0.15 * rng.standard_normal(t.size))


def _wheel(t: NDArray[np.float64], _rng: np.random.Generator) -> NDArray[np.float64]:
    """Simulate the quadrature counts of a wheel that turns both ways; below zero the counter overflows."""
    turns = 300 * np.sin(t / 7.3) + 120 * np.sin(t / 1.9)
    return np.asarray(np.rint(turns) % _COUNTER, dtype=np.float64)


def _channels(config: SimulationConfig, edges: Edges, duration_s: float) -> list[tuple[str, str, str, _Signal]]:
    """List name, terminal, measurement and signal of every input, in the order of the columns."""
    channels: list[tuple[str, str, str, _Signal]] = [
        ("chrono", "ai0", "Voltage", _square(2.0, 5.0)),
        ("neural_frames", "ctr0", "EdgeCount", _counter(edges.frames, edges.counter_start)),
        ("volume_counter", "ctr2", "EdgeCount", _counter(edges.volumes, edges.counter_start)),
        ("rotary_encoder", "ctr1", "Position", _wheel),
        ("frame2ttl", "ai4", "Voltage", _square(3.1, 1.1, 0.4, 0.02)),
        ("audio", "ai5", "Voltage", _noise),  # left unplugged
        ("bpod", "ai6", "Voltage", _square(5.3, 3.3, 0.2)),
        ("left_camera", "ctr3", "EdgeCount", _counter(np.arange(0.02, duration_s, 1 / 60), 0)),
    ]
    spare = [(f"spare_{i:02d}", f"ai{16 + i}", "Voltage", _noise) for i in range(config.daq_extra_channels)]
    return channels + spare


def write_timeline(folder: Path, config: SimulationConfig, edges: Edges, duration_s: float) -> None:
    """Write the three ``_timeline_DAQdata`` files.

    The samples are in Fortran order, as MATLAB saves them, so the samples of a channel are contiguous. The timestamps
    are those of the first and the last sample, ``[[0, t0], [n - 1, t1]]``.
    """
    rate = config.daq_rate_hz
    n = int(duration_s * rate)
    channels = _channels(config, edges, duration_s)
    with (folder / "_timeline_DAQdata.raw.npy").open("wb") as file:
        start_npy(file, (n, len(channels)), "<f8", fortran_order=True)
        first = file.tell()
        for column, (_, _, _, signal) in enumerate(channels):
            for chunk, start in enumerate(range(0, n, _CHUNK)):
                t = _START_S + np.arange(start, min(start + _CHUNK, n)) / rate
                rng = np.random.default_rng([config.seed, 601, column, chunk])
                file.seek(first + 8 * (column * n + start))
                file.write(signal(t, rng).astype("<f8").tobytes())
    stamps = np.array([[0.0, _START_S], [n - 1, _START_S + (n - 1) / rate]], order="F")
    np.save(folder / "_timeline_DAQdata.timestamps.npy", stamps)
    meta = json_text(_meta(config, channels))
    (folder / "_timeline_DAQdata.meta.json").write_text(meta, encoding="utf-8")


def _meta(config: SimulationConfig, channels: list[tuple[str, str, str, _Signal]]) -> dict[str, Any]:
    return {
        "daqVendor": "ni",
        "daqDevice": "Dev1",
        "daqSampleRate": config.daq_rate_hz,
        "daqSamplesPerNotify": [],
        "samplingInterval": 1 / config.daq_rate_hz,
        "dataType": "double",
        "useTimeline": True,
        "stopDelay": 2,
        "inputs": [
            {
                "name": name,
                "arrayColumn": i + 1,
                "daqChannelID": terminal,
                "measurement": measurement,
                "terminalConfig": "SingleEnded" if measurement == "Voltage" else [],
                "axesScale": 1,
            }
            for i, (name, terminal, measurement, _) in enumerate(channels)
        ],
    }


def write_software_events(folder: Path, config: SimulationConfig, bouts: tuple[Bout, ...], frame_period: float) -> None:
    """Write the messages that start and stop the recordings."""
    what = f"{config.subject} {config.date.replace('-', '')} {int(config.number)}"
    rows = []
    for bout in bouts:
        rows.append((bout.daq[0] - 0.4, f"BlockStart {what} {bout.index + 1}"))
        rows.append((bout.daq[-1] + frame_period + 0.2, f"BlockEnd {what} {bout.index + 1}"))
    first, last = (rows[0][0], rows[-1][0]) if rows else (1.0, 2.0)
    rows = [(max(first - 0.8, 0.02), f"ExpStart {what}"), *rows, (last + 0.4, f"ExpEnd {what}")]
    lines = ["time\tname\tinfo"] + [f'{t:.15g}\t"mpepUDP"\t"{info}"' for t, info in rows]
    text = "\n".join(lines) + "\n"
    (folder / "_timeline_softwareEvents.log.htsv").write_text(text, encoding="utf-8", newline="\n")
