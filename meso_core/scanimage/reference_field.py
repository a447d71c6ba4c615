"""A field of view in the reference stack of its window.

What belongs here: whether a stack is fine enough to tell depths, and cutting a field out of it. What does not: making
the stack (``reference_images``), and comparing it with the movie.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..opening import read_json
from ..session import Fov
from ..session.imaging import ImagingMetadata
from .metadata.parse import parse_imaging_metadata
from .reference_images import MADE_AGAIN, read_planes

#: Largest pixel with which cells can be seen, and largest step in depth with which a drift can be told, µm.
LARGEST_PIXEL_UM, LARGEST_STEP_UM = 4.0, 15.0
#: Fewest depths of which the best can be told.
FEWEST_DEPTHS = 5
#: How far around its place a field is looked for, µm.
AROUND_UM = 25.0


@dataclass(frozen=True, slots=True)
class FieldStack:
    """A field of view at each depth of a reference stack, in pixels of the field."""

    #: (n_depths, ny + 2 margin, nx + 2 margin) f4, counts.
    images: npt.NDArray[np.float32]
    #: (n_depths,) f8, ascending: µm below the depth of the field.
    depths_um: npt.NDArray[np.float64]
    #: Pixels around the field on each side.
    margin_px: int


def read_reference_metadata(meta_file: Path) -> ImagingMetadata:
    """Read the metadata of a reference stack.

    Raises
    ------
    MissingInputError, InputFileError, MetadataError
        If it is not there, or is damaged.
    """
    return parse_imaging_metadata(read_json(meta_file, MADE_AGAIN), str(meta_file))


def tells_depths(meta: ImagingMetadata, fov: Fov) -> bool:
    """Whether a reference stack shows cells of a field, in steps that are fine enough, above it and below it."""
    depths = meta.stack_depths_um
    if depths is None or len(depths) < FEWEST_DEPTHS or fov.depths_um is None:
        return False
    ordered, own = np.sort(depths), fov.depths_um[0]
    is_fine = float(np.diff(ordered).max()) <= LARGEST_STEP_UM and meta.fovs[0].um_per_pixel <= LARGEST_PIXEL_UM
    return is_fine and float(ordered[0]) < own < float(ordered[-1])


def cut_field(stack_file: Path, meta: ImagingMetadata, fov: Fov) -> FieldStack | None:
    """Cut a field of view out of the reference stack of its window.

    Parameters
    ----------
    stack_file
        ``referenceImage.stack.tif``: depths, rows, columns; a pixel is as large as one of the first field of the stack,
        and its upper left corner is that of the leftmost and highest one (:func:`~.reference_stack.stitch_stack`).
    meta
        Imaging metadata of the stack.
    fov
        The field of view, by the metadata of the session: both tell places by the angles of the same scanner.

    Returns
    -------
    FieldStack
        None where the stack does not tell depths (:func:`tells_depths`), has another number of depths than its metadata
        say, or does not show the whole field.

    Raises
    ------
    InputFileError
        If the stack is damaged.
    """
    if not tells_depths(meta, fov):
        return None
    from scipy.ndimage import affine_transform

    depths = np.asarray(meta.stack_depths_um, np.float64)
    margin = round(AROUND_UM / fov.um_per_pixel)
    by_row, by_column, first = _place(meta, fov)
    corner = first - margin * (by_row + by_column)
    shape = (fov.ny + 2 * margin, fov.nx + 2 * margin)
    ends = np.array([first, first + fov.ny * by_row + fov.nx * by_column])
    if (ends < -1).any():
        return None
    order, own = np.argsort(depths, kind="stable"), (fov.depths_um or (0.0,))[0]
    turned, images = np.stack([by_row, by_column], axis=1), []
    for image in read_planes(stack_file):
        if image.ndim != 2 or (ends > np.array(image.shape) + 1).any():
            return None
        plane = np.asarray(image, np.float32)
        images.append(affine_transform(plane, turned, corner, shape, order=1, mode="nearest"))
    if len(images) != len(depths):
        return None
    return FieldStack(np.stack(images)[order], depths[order] - own, margin)


def _place(meta: ImagingMetadata, fov: Fov) -> tuple[npt.NDArray[np.float64], ...]:
    """Tell the steps of a row and of a column, and the centre of the first pixel, each (row, column) of the stack."""
    one = meta.fovs[0]
    corner = np.array([field.deg.top_left for field in meta.fovs]).min(axis=0)
    pixel = np.subtract(one.deg.bottom_right, one.deg.top_left) / (one.nx, one.ny)
    top_left, top_right, bottom_left, _ = (fov.deg.as_array() - corner) / pixel  # columns and rows
    by_row, by_column = ((bottom_left - top_left) / fov.ny)[::-1], ((top_right - top_left) / fov.nx)[::-1]
    return by_row, by_column, top_left[::-1] + (by_row + by_column) / 2 - 0.5
