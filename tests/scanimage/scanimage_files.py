"""Small recordings of noise in the form that ScanImage writes, with every detail under the test's control."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from meso_core.simulate import RoiConfig, SimulationConfig
from meso_core.simulate.files.header import descriptions, frame_data, roi_groups_text, start_of_bout
from meso_core.simulate.files.tif import ScanImageTifWriter
from meso_core.simulate.tissue.geometry import SessionGeometry, session_geometry


def small_config(shapes=((20, 16), (16, 16)), **changes) -> SimulationConfig:
    """ROIs of the given (lines, pixels) beside each other, all at every slice unless changed."""
    rois = tuple(RoiConfig((i - 1.0, 0.5), (0.8, 0.4), shape, name=f"ROI {i}") for i, shape in enumerate(shapes))
    return dataclasses.replace(SimulationConfig(rois, flyto_s=0.0003), **changes)


def at_depths(config: SimulationConfig, *depths: tuple[float, ...]) -> SimulationConfig:
    """Bind each ROI to its own depths."""
    rois = tuple(dataclasses.replace(roi, zs=zs) for roi, zs in zip(config.rois, depths, strict=True))
    return dataclasses.replace(config, rois=rois)


def write_bout(
    folder: Path, config: SimulationConfig, pages_per_tif: tuple[int, ...], seed: int = 0, start_s: float = 0
) -> np.ndarray:
    """Write the tifs of one bout; return its pages, shape (n_pages, height, width) int16."""
    geometry = session_geometry(config)
    folder.mkdir(parents=True, exist_ok=True)
    shape = (geometry.page_height, geometry.page_width)
    pages = np.random.default_rng(seed).integers(-400, 20000, (sum(pages_per_tif), *shape), dtype=np.int16)
    n_channels, first = len(config.channels), 0
    all_frames = -(-len(pages) // n_channels)
    words = descriptions(0, np.arange(all_frames) * 0.2, start_of_bout(config, start_s), n_channels, True)
    for number, n in enumerate(pages_per_tif):
        path = folder / f"2023-03-03_1_SP035_2P_00001_{number + 1:05d}.tif"
        header = frame_data(config, geometry), roi_groups_text(config)
        with ScanImageTifWriter(path, *header, shape, n, 5000.0) as tif:
            tif.write(pages[first : first + n], words[first : first + n])
        first += n
    return pages


def fov_frames(pages: np.ndarray, config: SimulationConfig, fov: int, channel: int = 0) -> np.ndarray:
    """Frames of a FOV by the simulator's own geometry, shape (n_frames, ny, nx)."""
    geometry: SessionGeometry = session_geometry(config)
    place, n_channels = geometry.fovs[fov], len(config.channels)
    frames = pages[place.slice_id * n_channels + channel :: geometry.frames_per_volume * n_channels]
    return frames[:, place.row_start : place.row_stop]


def real_raw_header(real_data: Path) -> dict:
    """Metadata of the real session SP061 (version 0.2.0), with the raw header."""
    name = "SP061_2025-01-28_001_raw_imaging_data_00__ibl_rawImagingData.meta.json"
    return json.loads((real_data / "headers" / name).read_text())
