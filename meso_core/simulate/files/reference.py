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
from ..tissue.scene import MARGIN, at_depth, make_scene, smooth_noise, vessel_shadow
from .clock import Bout
from .header import descriptions, frame_data, roi_groups_text, start_of_bout
from .pages import tif_name
from .rigmeta import pixels_per_cm
from .tif import ScanImageTifWriter

#: Strips that make up the window, their size in pixels (ny, nx), and a pixel in µm.
_STRIPS, _STRIP_SHAPE, _PIXEL_UM = 3, (144, 48), 20.0
#: Depths relative to the session's, µm.
_DEPTHS_UM = (-40.0, 0.0, 40.0)
#: Of a fine stack: pixels around the fields, and frames that each depth is the mean of.
_AROUND_PX, _AVERAGED = 24, 20


def reference_config(config: SimulationConfig) -> SimulationConfig:
    """Return the settings of the reference stack: strips side by side over the window, at a few depths.

    A fine stack (``reference_depths_um``) covers the fields alone, in pixels of the first one.
    """
    (ny, nx), (x, y), degree = _STRIP_SHAPE, (0.0, 0.0), config.objective_resolution
    wide, high = nx * _PIXEL_UM / degree, ny * _PIXEL_UM / degree
    if config.reference_depths_um:
        (ny, nx), (wide, high), (x, y) = _fine_strips(config)
    rois = tuple(
        RoiConfig((x + (i - (_STRIPS - 1) / 2) * wide, y), (wide, high), (ny, nx), name=f"strip {i + 1}")
        for i in range(_STRIPS)
    )
    zs = tuple(min(config.zs) + z for z in config.reference_depths_um or _DEPTHS_UM)
    return replace(
        config, rois=rois, zs=zs, flyback_frames=0, frames_per_slice=1, frames_averaged=1,
        channels=config.channels[:1], channels_are_depths=False, stack_mode="fast", frames_per_bout=(len(zs),),
        frames_per_file=len(zs), header_template=None, reference_depths_um=(),
    )  # fmt: skip


def _fine_strips(config: SimulationConfig) -> tuple[tuple[int, int], tuple[float, float], tuple[float, float]]:
    """Lay strips over all fields: lines and pixels of one, its size (x, y) and the middle of them all, degrees."""
    fovs = session_geometry(config).fovs
    pixel = np.array([fovs[0].size_deg[0] / fovs[0].nx, fovs[0].size_deg[1] / fovs[0].ny])
    centres, halves = np.array([fov.center_deg for fov in fovs]), np.array([fov.size_deg for fov in fovs]) / 2
    low, high = (centres - halves).min(axis=0), (centres + halves).max(axis=0)
    columns, rows = np.ceil((high - low) / pixel).astype(int) + 2 * _AROUND_PX
    strip = -(-int(columns) // _STRIPS)
    size, middle = pixel * (strip, rows), (low + high) / 2
    return (int(rows), strip), (float(size[0]), float(size[1])), (float(middle[0]), float(middle[1]))


def write_reference(bout_folder: Path, plan: SessionPlan, bout: Bout) -> None:
    """Write ``reference/…_ref_00001_00001.tif``, a ScanImage tif of one page per depth."""
    config = reference_config(plan.config)
    geometry = session_geometry(config)
    stack = _tissue(plan.config, config) if plan.config.reference_depths_um else _window(config)
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


def _tissue(config: SimulationConfig, reference: SimulationConfig) -> list[NDArray[np.int16]]:
    """Draw the tissue of all fields at each depth (ny, strips × nx), each the mean of some frames; grey between them.

    A field that lies above another one, as in a stack of fields, is drawn where it is the nearest to a depth.
    """
    (ny, nx), (wide, high) = reference.rois[0].shape, reference.rois[0].size_deg
    pixel, shape = (high / ny, wide / nx), (ny, _STRIPS * nx)
    left, top = reference.rois[0].center_deg[0] - wide / 2, reference.rois[0].center_deg[1] - high / 2
    fovs = session_geometry(config).fovs
    scenes = [make_scene(config, i, place) for i, place in enumerate(fovs)]
    images = []
    for number, z in enumerate(reference.zs):
        photons = np.full(shape, config.photons, np.float32)
        for place, scene in sorted(zip(fovs, scenes, strict=True), key=lambda one: -abs(one[0].z - z)):
            (cx, cy), (w, h) = place.center_deg, place.size_deg
            y, x = round((cy - h / 2 - top) / pixel[0]), round((cx - w / 2 - left) / pixel[1])
            inner = at_depth(scene, z - place.z)[MARGIN:-MARGIN, MARGIN:-MARGIN]
            photons[y : y + place.ny, x : x + place.nx] = inner
        rng = np.random.default_rng([config.seed, 802, number])
        photons += np.sqrt(np.maximum(photons, 0) / _AVERAGED) * rng.standard_normal(shape, dtype=np.float32)
        images.append(np.rint(config.offset + config.gain * photons).astype(np.int16))
    return images


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
