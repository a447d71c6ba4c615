"""Pictures of what registration and detection did to one FOV.

What belongs here: drawing. What does not: verdicts (``quality``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..pictures import full_png, inline_picture, new_figure, scale_bar
from ..session import fov_name
from .detection.results import load_classification, load_stat
from .fovs import plane
from .registration.fov import load_registration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL, _OTHER = (0.1, 0.85, 0.35), (0.95, 0.45, 0.1)


@dataclass(frozen=True)
class FovPicture:
    """A figure in two sizes, the full one a PNG. Equal data give equal bytes."""

    #: A PNG or WebP of at most 8 kB in metadata.
    small: bytes
    full: bytes


def registration_figure(folder: Path, *, rate_hz: float) -> FovPicture:
    """Draw the shifts of one FOV over time, bad frames shaded.

    How to read this: slow drifts and single jumps are taken out by registration; a trace that stays at its largest
    value ran into ``maxregshift``. Shaded frames take no part in detection.

    Parameters
    ----------
    folder
        ``suite2p/planeN`` of a registered FOV.
    rate_hz
        Frames of this FOV per second.
    """
    result = load_registration(folder)
    reg = plane.load_dict(folder / "reg_outputs.npy")
    seconds = np.arange(result.n_frames) / rate_hz
    figure = new_figure(8, 4)
    rigid, fit = figure.subplots(2, 1, sharex=True)
    for offset, name, color in ((result.yoff, "y", "C0"), (result.xoff, "x", "C1")):
        rigid.plot(seconds, offset, lw=0.7, color=color, label=name)
    if "yoff1" in reg:
        largest = np.hypot(reg["yoff1"], reg["xoff1"]).max(axis=1)
        rigid.plot(seconds, largest, lw=0.5, color="0.6", label="largest non-rigid")
    fit.plot(seconds, reg["corrXY"], lw=0.5, color="0.3")
    for axes in (rigid, fit):
        _shade(axes, result.bad_frames, rate_hz)
        axes.margins(x=0)
    rigid.set_ylabel("shift (px)")
    rigid.legend(loc="upper right", fontsize=7, ncols=3)
    rigid.set_title(f"{_fov(folder)}: motion, {result.bad_frames.sum()} bad of {result.n_frames} frames", fontsize=9)
    fit.set_ylabel("correlation\nwith reference")
    fit.set_xlabel("time (s)")
    return _rendered(figure)


def rois_figure(folder: Path, *, um_per_px: float | None = None) -> FovPicture:
    """Draw the mean image of one FOV with the outlines of its ROIs.

    How to read this: green ROIs are called cells, orange ones not. Cells without outline, or outlines around nothing,
    ask for other detection settings; a blurred image asks for a look at the shifts.

    Parameters
    ----------
    folder
        ``suite2p/planeN`` of a FOV whose ROIs were detected.
    um_per_px
        Size of a pixel, for the scale bar.
    """
    mean = np.asarray(plane.load_dict(folder / "reg_outputs.npy")["meanImg"])
    stat = load_stat(folder)
    is_cell = load_classification(folder)[:, 0] > 0
    ny, nx = mean.shape
    figure = new_figure(6, 6 * ny / nx + 0.4)
    axes = figure.subplots()
    low, high = np.percentile(mean, [1, 99.5])
    axes.imshow(mean, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
    axes.imshow(_outlines(stat, is_cell, mean.shape), interpolation="nearest")
    if um_per_px:
        scale_bar(axes, um_per_px, mean.shape)
    axes.set_axis_off()
    axes.set_title(f"{_fov(folder)}: {is_cell.sum()} cells of {len(stat)} ROIs", fontsize=9)
    return _rendered(figure)


def _shade(axes: Axes, bad: np.ndarray, rate_hz: float) -> None:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], bad.astype(np.int8), [0]])))
    for first, last in edges.reshape(-1, 2):
        axes.axvspan(first / rate_hz, last / rate_hz, color="C3", alpha=0.25, lw=0)


def _outlines(stat: np.ndarray, is_cell: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Colour the pixels at the rim of each ROI; (ny, nx, 4) f4."""
    image = np.zeros((*shape, 4), np.float32)
    for roi, cell in zip(stat, is_cell, strict=True):
        mask = np.zeros((shape[0] + 2, shape[1] + 2), bool)
        mask[roi["ypix"] + 1, roi["xpix"] + 1] = True
        inner = mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        image[mask[1:-1, 1:-1] & ~inner] = (*(_CELL if cell else _OTHER), 0.9)
    return image


def _rendered(figure: Figure) -> FovPicture:
    """Render both sizes, the small one first: laying out at one resolution moves what is laid out at the next."""
    small = inline_picture(figure)
    return FovPicture(small, full_png(figure))


def _fov(folder: Path) -> str:
    """Name, as in ALF, of the FOV whose suite2p folder this is."""
    return fov_name(int(folder.name.removeprefix("plane")))
