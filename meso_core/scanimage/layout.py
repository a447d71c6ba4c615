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

from ..errors import MesoWarning, MetadataError, problem
from ..session import IMAGING_META_FILE
from ..session.imaging import Fov, ImagingMetadata
from .metadata.parse import as_imaging_metadata
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
    nx: int

    @property
    def ny(self) -> int:
        """Number of lines."""
        return self.row_stop - self.row_start


@dataclass(frozen=True, slots=True)
class ImagingLayout:
    """How the pages of a recording divide into fields of view.

    Pages come volume by volume; in a volume slice by slice in the order of ``hStackManager.zs``, then the fly-back
    frames of the objective, which hold nothing; in a frame channel by channel.
    """

    fovs: tuple[FovLayout, ...]
    #: Depths per volume, without fly-back frames.
    n_slices: int
    #: Frames per volume that are recorded while the objective flies back.
    n_flyback: int
    #: Numbers of the channels saved, in the order of the pages.
    channels: tuple[int, ...]
    #: Index into ``channels`` of the one that shows activity: the first green one.
    functional_channel: int
    #: Rows and columns of a page.
    page_height: int
    page_width: int

    @property
    def n_channels(self) -> int:
        """Number of pages per frame."""
        return len(self.channels)

    @property
    def frames_per_volume(self) -> int:
        """Slices and fly-back frames."""
        return self.n_slices + self.n_flyback

    @property
    def pages_per_volume(self) -> int:
        """Pages from one volume to the next."""
        return self.frames_per_volume * self.n_channels

    def slices_of(self, frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Tell which slice each frame of a bout shows.

        Parameters
        ----------
        frames
            (n,) i8, places of frames in the bout: ScanImage's ``frameNumbers`` less 1.

        Returns
        -------
        ndarray
            (n,) i8, 0-based slice within the volume; -1 where the objective flies back.
        """
        place = frames % self.frames_per_volume
        return np.where(place < self.n_slices, place, -1)

    def n_frames(self, fov: int, n_pages: int) -> int:
        """Count the frames of a FOV in its functional channel that a bout of ``n_pages`` pages holds."""
        first_page = self.fovs[fov].slice_index * self.n_channels + self.functional_channel
        return max(0, -(-(n_pages - first_page) // self.pages_per_volume))

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
        fovs = tuple(_fov(fov, where) for fov in meta.fovs)
        _check_depths(meta, where)
        _check_rows(fovs, meta, where)
        _check_gaps(fovs, meta, where)
        return cls(
            fovs,
            meta.n_slices,
            meta.n_flyback,
            meta.channels_saved,
            meta.functional_channel,
            meta.page_height,
            meta.page_width,
        )


def _fov(fov: Fov, where: str) -> FovLayout:
    first, n_lines = fov.line_indices[0], len(fov.line_indices)
    if fov.line_indices != tuple(range(first, first + fov.ny)):
        found = f"{n_lines} lines from {first} to {fov.line_indices[-1]}"
        raise _impossible(where, f"FOV[{fov.index}].lineIdx", f"{fov.ny} consecutive lines", found)
    return FovLayout(fov.index, fov.name, fov.slice_index, first - 1, first - 1 + n_lines, fov.nx)


def _check_depths(meta: ImagingMetadata, where: str) -> None:
    """Each FOV must be at the depth of its slice.

    The rig's MATLAB code numbers the slices by depth; where they were scanned in another order it is wrong.
    """
    zs = meta.scanned_depths_um or ()
    if len(zs) < 2:
        return
    for fov in meta.fovs:
        if fov.depths_um and (fov.slice_index >= len(zs) or fov.depths_um[0] != zs[fov.slice_index]):
            depth = fov.depths_um[0]
            expected = f"the slice that is scanned at {depth} µm (depths in order of scanning: {list(zs)})"
            raise _impossible(where, f"FOV[{fov.index}].slice_id", expected, f"slice {fov.slice_index}")


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
        if fov.nx != width:
            raise _impossible(where, f"FOV[{fov.index}].nXnYnZ", f"the page's width {width}", f"{fov.nx}")
    for a, b in _neighbours(fovs):
        if b.row_start < a.row_stop:
            expected, found = f"lines after those of {a.name} ({a.row_stop})", f"line {b.row_start + 1}"
            raise _impossible(where, f"FOV[{b.index}].lineIdx", expected, found)


def _neighbours(fovs: tuple[FovLayout, ...]) -> list[tuple[FovLayout, FovLayout]]:
    """Pairs of FOVs of one slice that follow each other down the page."""
    ordered = sorted(fovs, key=lambda f: (f.slice_index, f.row_start))
    return [(a, b) for a, b in itertools.pairwise(ordered) if a.slice_index == b.slice_index]


def _impossible(where: str, field: str, expected: str, found: str) -> MetadataError:
    remedy = "Move the metadata file away; it is made again from the tifs"
    return MetadataError(problem(where, field=field, expected=expected, found=found, remedy=remedy))
