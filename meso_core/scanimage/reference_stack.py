"""The stack of a reference image: the mean of each depth, its fields side by side.

What belongs here: which page shows which depth, and where the fields lie in the window. What does not: the files of the
reference folder (``reference_images``).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputFileError, MesoWarning
from ..session.imaging import ImagingMetadata
from .frames.faults import tell_of_faults
from .frames.on_file import acquisition_starts, channels_of_pages, frames_on_file
from .frames.sources import LocalTif
from .layout import ImagingLayout
from .metadata.parse import as_imaging_metadata

#: Depths, rows, columns: int16 where it is made here, any real number where the rig delivered it.
Stack = npt.NDArray[Any]
#: What a person does about a raw stack of which not enough is there.
WITHOUT = "If the rig has none that is whole, move the reference folder out of the bout, which can do without"
RECOPY = f"Copy it from the rig again. {WITHOUT}"


def stitch_stack(tif: Path, meta: Mapping[str, Any] | ImagingMetadata) -> Stack:
    """Average the frames of each depth and put its fields side by side, where they are in the window.

    Parameters
    ----------
    tif
        Raw reference stack, as ScanImage wrote it.
    meta
        Imaging metadata of it, from :func:`~meso_core.scanimage.extract_imaging_meta`.

    Returns
    -------
    ndarray of int16, shape (n_depths, ny, nx)
        0 where there is no field. A pixel is as large as one of the first field.

    Raises
    ------
    InputFileError
        If no page shows one of the depths.

    Warns
    -----
    MesoWarning
        If pages are missing, doubled or out of order: each is placed by its frame number, as those of bouts are.
    """
    meta = as_imaging_metadata(meta, str(tif))
    layout = ImagingLayout.from_meta(meta, str(tif))
    means = _mean_pages(tif, layout, f"{tif.parent.parent.name}/{tif.parent.name}")
    corners = np.array([fov.deg.top_left for fov in meta.fovs])
    span = np.subtract(meta.fovs[0].deg.bottom_right, meta.fovs[0].deg.top_left)
    pixels = np.array([layout.fovs[0].nx, layout.fovs[0].ny])
    starts = np.rint((corners - corners.min(axis=0)) / (span / pixels)).astype(int)
    shape = (
        max(y + f.ny for f, (_, y) in zip(layout.fovs, starts, strict=True)),
        max(x + f.nx for f, (x, _) in zip(layout.fovs, starts, strict=True)),
    )
    stack = np.zeros((layout.n_slices, *shape), np.int16)
    for fov, (x, y) in zip(layout.fovs, starts, strict=True):
        field = means[fov.slice_index, fov.row_start : fov.row_stop, : fov.nx]
        stack[fov.slice_index, y : y + fov.ny, x : x + fov.nx] = np.rint(field)
    return stack


def _mean_pages(tif: Path, layout: ImagingLayout, where: str) -> npt.NDArray[np.float64]:
    """Mean page of each depth, shape (n_depths, height, width)."""
    source = LocalTif(tif)
    page = source.tif.page
    found = frames_on_file(where, [source], layout.channels, layout.stack.frames_averaged)
    tell_of_faults(where, found.faults, found.index.size, "salvage")
    ((channel, places),) = found.places.items()
    starts = acquisition_starts(source.tif.heads) * (not layout.stack.is_slow)
    all_slices = np.where(places >= 0, layout.slices_of(places - starts), -1)
    all_channels = channels_of_pages(places, layout.channels, channel)
    total = np.zeros((layout.n_slices, page.height, page.width))
    count = np.zeros(layout.n_slices, int)
    number = 0
    for block in source.blocks(1 << 25):
        slices, channels = (values[number : number + len(block.pixels)] for values in (all_slices, all_channels))
        for i in np.flatnonzero((slices >= 0) & (channels == layout.functional_channel)):
            total[slices[i]] += block.pixels[i]
            count[slices[i]] += 1
        number += len(block.pixels)
    _check_depths_are_there(tif, layout, count, number)
    return total / count[:, None, None]


def _check_depths_are_there(tif: Path, layout: ImagingLayout, count: npt.NDArray[np.int_], n_pages: int) -> None:
    """Refuse a stack without a depth; tell of one that lacks pages of some."""
    expected = f"{layout.pages_per_volume} pages: {layout.n_slices} depths"
    if layout.stack.frames_per_slice > 1:
        expected += f" of {layout.stack.frames_per_slice} frames, averaged by {layout.stack.frames_averaged},"
    expected += f" in {layout.n_channels} channel(s)"
    if not count.all():
        raise InputFileError.at(
            tif,
            expected=expected,
            found=f"{n_pages} pages, none of depth {int(np.argmin(count)) + 1}",
            remedy=RECOPY,
        )
    if count.min() < count.max():
        fewer = ", ".join(str(depth) for depth in np.flatnonzero(count < count.max()) + 1)
        warnings.warn(
            f"{tif}: expected {expected}, found {n_pages} pages: depth {fewer} is an average of fewer frames",
            MesoWarning,
            stacklevel=4,
        )
