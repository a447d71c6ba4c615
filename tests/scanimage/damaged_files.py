"""Recordings with faults in their pages, and what is right for each, worked out page by page.

Each pixel of a page holds ``10 * frame + channel``, so that every movie tells where its frames are from.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from scipy.io import savemat

from meso_core.simulate import SimulationConfig
from meso_core.simulate.files.header import descriptions, frame_data, roi_groups_text, start_of_bout
from meso_core.simulate.files.tif import ScanImageTifWriter
from meso_core.simulate.tissue.geometry import session_geometry

PERIOD, FIRST_PULSE, DAQ_RATE = 0.05, 2.0, 1000


@dataclasses.dataclass
class Page:
    """A page on file: frame and channel index from 0, and whether it names its frame."""

    frame: int
    channel: int
    named: bool = True


def whole(n_frames: int, n_channels: int) -> list[list[Page]]:
    """Pages of a recording without faults, frame by frame."""
    return [[Page(frame, channel) for channel in range(n_channels)] for frame in range(n_frames)]


def write_tif(path: Path, config: SimulationConfig, pages: list[Page], cut: int | None = None, **header: str) -> int:
    """Write a tif, of which only ``cut`` bytes stay; returns how many of its pages are whole."""
    geometry = session_geometry(config)
    shape = (geometry.page_height, geometry.page_width)
    text = frame_data(config, geometry)
    for name, value in header.items():
        lines = text.splitlines(keepends=True)
        text = "".join(f"SI.{name} = {value}\n" if line.startswith(f"SI.{name} = ") else line for line in lines)
    start = start_of_bout(config, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ScanImageTifWriter(path, text, roi_groups_text(config), shape, len(pages), 5000.0) as tif:
        first, stride = tif._first, tif._stride
        for page in pages:
            words = descriptions(page.frame, [page.frame * PERIOD], start, 1, False)
            words = words if page.named else [words[0].replace("frameNumbers", "frameXumbers")]
            tif.write(np.full((1, *shape), 10 * page.frame + page.channel, np.int16), words)
    if cut is None:
        return len(pages)
    path.write_bytes(path.read_bytes()[:cut])
    return sum(first + (i + 1) * stride <= cut for i in range(len(pages)))


def write_rig_files(bout: Path, meta: dict, n_frames: int, n_channels: int) -> None:
    """Write the metadata files of a recording of which all frames came to the disk of the rig."""
    bout.mkdir(parents=True, exist_ok=True)
    (bout / "_ibl_rawImagingData.meta.json").write_text(json.dumps({**meta, "nFrames": n_frames * n_channels}))
    np.save(bout / "rawImagingData.times_scanImage.npy", np.repeat(np.arange(n_frames) * PERIOD, n_channels))


def write_ratings(bout: Path, n_frames: int) -> None:
    """Rate each frame by its number: the remainder by three names it, and each fifth is bad."""
    names = np.empty((1, 3), object)
    names[0] = ["ok", "one", "two"]
    savemat(bout / "exptQC.mat", {"frameQC_frames": (np.arange(n_frames) % 3)[None], "frameQC_names": names})
    savemat(bout / "badframes.mat", {"badframes": np.arange(0, n_frames, 5)[None]})


def write_daq(folder: Path, times: np.ndarray) -> None:
    """Write the DAQ's recording of a pulse at each time (s) after the first."""
    folder.mkdir(parents=True, exist_ok=True)
    n = int((FIRST_PULSE + times[-1] + 2) * DAQ_RATE)
    rises = np.rint((FIRST_PULSE + times) * DAQ_RATE).astype(int)
    counts = np.zeros((n, 1))
    counts[rises, 0] = 1
    np.save(folder / "_timeline_DAQdata.raw.npy", np.cumsum(counts, axis=0))
    np.save(folder / "_timeline_DAQdata.timestamps.npy", np.arange(n) / DAQ_RATE)
    channel = {"name": "neural_frames", "arrayColumn": 1, "daqChannelID": "ctr0", "measurement": "EdgeCount"}
    meta = {"daqSampleRate": DAQ_RATE, "inputs": [{**channel, "axesScale": 1}]}
    (folder / "_timeline_DAQdata.meta.json").write_text(json.dumps(meta))
