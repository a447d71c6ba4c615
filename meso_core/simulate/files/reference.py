"""The reference stack that an experimenter takes of the whole window before a bout.

What belongs here: its settings and its pixels. What does not: the layout of a ScanImage file (``tif``).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..config import RoiConfig, SimulationConfig
from ..plan import SessionPlan
from ..tissue.geometry import session_geometry
from ..tissue.scene import smooth_noise, vessel_shadow
from .clock import Bout
from .header import descriptions, frame_data, roi_groups_text, start_of_bout
from .pages import tif_name
from .rigmeta import pixels_per_cm
from .tif import ScanImageTifWriter

#: Strips that make up the window, their size in pixels (ny, nx), and a pixel in µm.
_STRIPS, _STRIP_SHAPE, _PIXEL_UM = 3, (144, 48), 20.0
#: Depths relative to the session's, µm.
_DEPTHS_UM = (-40.0, 0.0, 40.0)


def reference_config(config: SimulationConfig) -> SimulationConfig:
    """Return the settings of the reference stack: strips side by side over the window, at a few depths."""
    (ny, nx), degree = _STRIP_SHAPE, config.objective_resolution
    size = (nx * _PIXEL_UM / degree, ny * _PIXEL_UM / degree)
    rois = tuple(
        RoiConfig(((i - (_STRIPS - 1) / 2) * size[0], 0.0), size, _STRIP_SHAPE, name=f"strip {i + 1}")
        for i in range(_STRIPS)
    )
    zs = tuple(min(config.zs) + z for z in _DEPTHS_UM)
    return replace(
        config, rois=rois, zs=zs, flyback_frames=0, frames_per_slice=1, frames_averaged=1,
        channels=config.channels[:1], channels_are_depths=False, stack_mode="fast", frames_per_bout=(len(zs),),
        frames_per_file=len(zs), header_template=None,
    )  # fmt: skip


def write_reference(bout_folder: Path, plan: SessionPlan, bout: Bout) -> None:
    """Write ``reference/…_ref_00001_00001.tif``, a ScanImage tif of one page per depth."""
    config = reference_config(plan.config)
    geometry = session_geometry(config)
    stack = _window(config)
    pages = np.zeros((len(config.zs), geometry.page_height, geometry.page_width), np.int16)
    for i, place in enumerate(geometry.fovs):
        strip = i % _STRIPS
        columns = slice(strip * place.nx, (strip + 1) * place.nx)
        pages[place.slice_id, place.row_start : place.row_stop] = stack[place.slice_id][:, columns]
    folder = bout_folder / "reference"
    folder.mkdir()
    path = folder / tif_name(plan, bout.index, 0, "ref")
    times = geometry.frame_period * np.arange(len(pages))
    text, groups = frame_data(config, geometry), roi_groups_text(config)
    words = descriptions(0, times, start_of_bout(config, bout.start_s - min(120.0, config.bout_gap_s / 4)), 1, True)
    with ScanImageTifWriter(path, text, groups, pages.shape[1:], len(pages), pixels_per_cm(config)) as tif:
        tif.write(pages, words)


def _window(config: SimulationConfig) -> list[NDArray[np.int16]]:
    """Draw the window at each depth (ny, strips × nx): vessels under round glass, sharper near the top."""
    rng = np.random.default_rng([config.seed, 801])
    shape = (_STRIP_SHAPE[0], _STRIPS * _STRIP_SHAPE[1])
    um = (_PIXEL_UM, _PIXEL_UM)
    light = vessel_shadow(rng, shape, um)
    grain = smooth_noise(rng, shape, (0.6, 0.6))
    y, x = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    window = 1 / (1 + np.exp((np.hypot(y, x) - 0.95) / 0.03))
    images = []
    for depth in range(len(config.zs)):
        picture = window * light ** (1 - 0.25 * depth) * (1 + 0.15 * grain)
        photons = 2 * config.photons * np.maximum(picture, 0)
        images.append(np.rint(config.offset + config.gain * photons).astype(np.int16))
    return images
