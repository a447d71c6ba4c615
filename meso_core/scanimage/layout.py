"""Which rows of which page belong to which field of view.

What belongs here: the geometry of pages, from metadata. What does not: pixels and files.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import MesoWarning, MetadataError
from ..session import IMAGING_META_FILE
from ..session.imaging import Fov, ImagingMetadata, StackLayout
from .metadata.agreement import check_imaged
from .metadata.parse import as_imaging_metadata
from .metadata.rois import same_depth
from .scanner import fly_to_lines


@dataclass(frozen=True, slots=True)
class FovLayout:
    """Where one field of view is in the pages."""

    #: 0-based, in the order of ``FOV`` in the metadata file.
    index: int
    #: ``FOV_00`` …
    name: str
    #: 0-based number of its page among the slices of a volume.
    slice_index: int
    #: Rows of the page, 0-based, stop exclusive.
    row_start: int
    row_stop: int
    #: Columns, from the left of the page.
    nx: int
    #: Index of the one channel that shows it, where channels are depths; else None.
    channel: int | None

    @property
    def ny(self) -> int:
        """Number of lines."""
        return self.row_stop - self.row_start


@dataclass(frozen=True, slots=True)
class ImagingLayout:
    """How the pages of a recording divide into fields of view.

    Pages come frame by frame as :class:`~meso_core.session.imaging.StackLayout` tells, in a frame channel by channel.
    """

    fovs: tuple[FovLayout, ...]
    #: How frames divide into depths.
    stack: StackLayout
    #: Numbers of the channels saved, in the order of the pages.
    channels: tuple[int, ...]
    #: Index into ``channels`` of the one that shows activity: the first green one.
    functional_channel: int
    #: Indices into ``channels`` of those that become movies, the functional one first; others stay in the tifs.
    channels_used: tuple[int, ...]
    #: Rows and columns of a page.
    page_height: int
    page_width: int

    @property
    def n_channels(self) -> int:
        """Number of pages per frame."""
        return len(self.channels)

    @property
    def n_slices(self) -> int:
        """Slices per volume."""
        return self.stack.n_slices

    @property
    def n_flyback(self) -> int:
        """Frames per volume that are recorded while the focus flies back."""
        return self.stack.n_flyback

    @property
    def frames_per_volume(self) -> int:
        """Frames from one volume to the next."""
        return self.stack.frames_per_volume

    @property
    def pages_per_volume(self) -> int:
        """Pages from one volume to the next."""
        return max(1, self.frames_per_volume // self.stack.frames_averaged) * self.n_channels

    def slices_of(self, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Tell which slice each frame of a bout shows; see :meth:`StackLayout.slices_of`."""
        return self.stack.slices_of(frames)

    def frames_of_pages(self, first: int, n: int) -> npt.NDArray[np.int64]:
        """Tell which frame each of ``n`` pages from page ``first`` of a bout shows, (n,) i8, where none is missing."""
        return np.arange(first, first + n) // self.n_channels * self.stack.frames_averaged

    def n_frames(self, fov: int, n_pages: int) -> int:
        """Count the frames of a FOV in its functional channel that a bout of ``n_pages`` pages holds."""
        place = self.fovs[fov]
        frames = self.frames_of_pages(0, n_pages)[self.channels_of(place)[0] :: self.n_channels]
        return int(np.count_nonzero(self.slices_of(frames) == place.slice_index))

    def channels_of(self, fov: FovLayout) -> tuple[int, ...]:
        """Tell the channels that become movies of a FOV, by index; the one that shows activity first."""
        return self.channels_used if fov.channel is None else (fov.channel,)

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any] | ImagingMetadata, where: str = IMAGING_META_FILE) -> ImagingLayout:
        """Read the layout from imaging metadata.

        Parameters
        ----------
        meta
            Imaging metadata, or the content of ``_ibl_rawImagingData.meta.json`` of any version.
        where
            File that it is from, for messages.

        Raises
        ------
        MetadataError
            If a field is missing, or the lines of the FOVs cannot be.
        """
        meta = as_imaging_metadata(meta, where)
        fovs = tuple(_fov(fov, meta.channels_saved, where) for fov in meta.fovs)
        _check_depths(meta, where)
        check_imaged(meta, where)
        _tell_of_repeats(meta, where)
        _check_rows(fovs, meta, where)
        _check_gaps(fovs, meta, where)
        return cls(
            fovs,
            meta.stack,
            meta.channels_saved,
            meta.functional_channel,
            tuple(meta.channels_saved.index(channel) for channel in meta.channels_used),
            meta.page_height,
            meta.page_width,
        )


def _fov(fov: Fov, saved: tuple[int, ...], where: str) -> FovLayout:
    first, n_lines = fov.line_indices[0], len(fov.line_indices)
    if fov.line_indices != tuple(range(first, first + fov.ny)):
        found = f"{n_lines} lines from {first} to {fov.line_indices[-1]}"
        raise _impossible(where, f"FOV[{fov.index}].lineIdx", f"{fov.ny} consecutive lines", found)
    if fov.channel is not None and fov.channel not in saved:
        raise _impossible(where, f"FOV[{fov.index}].channel", f"one of the channels saved {saved}", str(fov.channel))
    channel = None if fov.channel is None else saved.index(fov.channel)
    return FovLayout(fov.index, fov.name, fov.slice_index, first - 1, first - 1 + n_lines, fov.nx, channel)


def _check_depths(meta: ImagingMetadata, where: str) -> None:
    """Each FOV must be at the depth of its slice.

    The rig's MATLAB code numbers the slices by depth; where they were scanned in another order it is wrong.
    """
    zs, n_slices = meta.stack.depths_um or (), meta.stack.n_slices
    for fov in meta.fovs:
        if fov.slice_index >= n_slices:
            expected, found = f"one of {n_slices} slices, as the header says", f"slice {fov.slice_index}"
            raise _impossible(where, f"FOV[{fov.index}].slice_id", expected, found)
        if len(zs) > 1 and fov.depths_um and not same_depth(fov.depths_um[0], zs[fov.slice_index]):
            depth = fov.depths_um[0]
            expected = f"the slice that is scanned at {depth} µm (depths in order of scanning: {list(zs)})"
            raise _impossible(where, f"FOV[{fov.index}].slice_id", expected, f"slice {fov.slice_index}")


def _tell_of_repeats(meta: ImagingMetadata, where: str) -> None:
    """Warn where a ROI is imaged at the same depth in several slices of a volume."""
    seen: dict[tuple[object, ...], Fov] = {}
    for fov in meta.fovs:
        place = (fov.roi_uuid, fov.channel, *(fov.depths_um or ()))
        if fov.roi_uuid is None or not fov.depths_um:
            continue
        first = seen.setdefault(place, fov)
        if first is not fov:
            warnings.warn(
                f"{where}: {first.name} and {fov.name} are the same ROI at the same depth ({fov.depths_um[0]:g} µm), "
                f"in slices {first.slice_index} and {fov.slice_index} of each volume. Both are processed, so the same "
                "cells are in both: count those of one",
                MesoWarning,
                stacklevel=4,
            )


def _check_gaps(fovs: tuple[FovLayout, ...], meta: ImagingMetadata, where: str) -> None:
    """Warn where the lines between two FOVs are not those of the fly-to time."""
    if meta.fly_to_s is None:
        return
    gap = fly_to_lines(meta.fly_to_s, meta.line_period_s)
    for a, b in _neighbours(fovs):
        if b.row_start - a.row_stop != gap:
            warnings.warn(
                f"{where}: {b.row_start - a.row_stop} lines between {a.name} and {b.name}, but the fly-to time makes "
                f"{gap}; lineIdx is used as it is",
                MesoWarning,
                stacklevel=4,
            )
            return


def _check_rows(fovs: tuple[FovLayout, ...], meta: ImagingMetadata, where: str) -> None:
    """FOVs of one slice must not overlap, and all must lie in the page."""
    height, width = meta.page_height, meta.page_width
    for fov in fovs:
        if fov.row_stop > height:
            field = f"FOV[{fov.index}].lineIdx"
            raise _impossible(where, field, f"lines up to the page's height {height}", f"line {fov.row_stop}")
        if fov.nx > width:
            raise _impossible(where, f"FOV[{fov.index}].nXnYnZ", f"the page's width {width}", f"{fov.nx}")
    if (widest := max(fovs, key=lambda fov: fov.nx)).nx < width:
        expected = f"a FOV as wide as the page, {width}"
        raise _impossible(where, f"FOV[{widest.index}].nXnYnZ", expected, f"{widest.nx}, the widest")
    for a, b in _neighbours(fovs):
        if b.row_start < a.row_stop:
            expected, found = f"lines after those of {a.name} ({a.row_stop})", f"line {b.row_start + 1}"
            raise _impossible(where, f"FOV[{b.index}].lineIdx", expected, found)


def _neighbours(fovs: tuple[FovLayout, ...]) -> list[tuple[FovLayout, FovLayout]]:
    """Pairs of FOVs of one page that follow each other down it."""
    ordered = sorted(fovs, key=lambda f: (f.slice_index, f.channel or 0, f.row_start))
    return [(a, b) for a, b in itertools.pairwise(ordered) if (a.slice_index, a.channel) == (b.slice_index, b.channel)]


def _impossible(where: str, field: str, expected: str, found: str) -> MetadataError:
    remedy = "Move the metadata file away; it is made again from the tifs"
    return MetadataError.at(where, field=field, expected=expected, found=found, remedy=remedy)
