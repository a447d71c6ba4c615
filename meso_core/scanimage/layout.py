"""Which rows of which page belong to which field of view.

What belongs here: the geometry of pages, from metadata. What does not: pixels and files.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import MesoWarning, MetadataError, problem
from ..session import IMAGING_META_FILE, fov_name
from .metadata.fields import OF_LAYOUT, check_fields
from .tiff.header import parse_si_header


def fly_to_lines(seconds: float, line_period: float) -> int:
    """Lines that the resonant scanner passes while the galvos fly.

    The scanner goes forth and back, so the number is even: ``2 * ceil(t / (2 * line_period))``. The rule fits the
    page heights and frame periods of three microscopes.

    Parameters
    ----------
    seconds
        Fly-to time between scanfields, or fly-back time at the end of a frame.
    line_period
        Seconds per line.
    """
    # the quotient is rounded first, lest 2 lines become 4 by the last bit of a header's decimal number
    return 2 * math.ceil(round(seconds / (2 * line_period), 6))


@dataclass(frozen=True, slots=True)
class FovLayout:
    """Where one field of view is in the pages."""

    #: 0-based, in the order of ``meta['FOV']``.
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
    #: Rows and columns of a page; None where the metadata do not tell.
    page_height: int | None
    page_width: int | None

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

    def n_frames(self, fov: int, n_pages: int) -> int:
        """Count the frames of a FOV in its functional channel that a bout of ``n_pages`` pages holds."""
        first_page = self.fovs[fov].slice_index * self.n_channels + self.functional_channel
        return max(0, -(-(n_pages - first_page) // self.pages_per_volume))

    @classmethod
    def from_meta(cls, meta: dict[str, Any], where: str = IMAGING_META_FILE) -> ImagingLayout:
        """Read the layout from imaging metadata.

        Parameters
        ----------
        meta
            Content of ``_ibl_rawImagingData.meta.json`` (0.1.0 or newer; see ``patch_imaging_meta``).
        where
            File that it is from, for messages.

        Raises
        ------
        MetadataError
            If a field is missing, or the lines of the FOVs cannot be.
        """
        check_fields(meta, where, OF_LAYOUT)
        raw = meta.get("rawScanImageMeta", {})
        fovs = tuple(_fov(i, fov, where) for i, fov in enumerate(meta["FOV"]))
        channels = tuple(int(c) for c in np.atleast_1d(meta["channelSaved"]))
        green = meta.get("channelID", {}).get("green", ())
        functional = next((i for i, c in enumerate(channels) if c in np.atleast_1d(green)), 0)
        header = _stack_header(raw.get("Software", ""))
        n_slices, n_flyback = stack_frames(header, 1 + max(f.slice_index for f in fovs))
        _check_depths(meta, header, where)
        _check_rows(fovs, raw.get("Height"), raw.get("Width"), where)
        _check_gaps(meta, fovs, where)
        return cls(fovs, n_slices, n_flyback, channels, functional, raw.get("Height"), raw.get("Width"))


def _fov(index: int, fov: dict[str, Any], where: str) -> FovLayout:
    lines = np.atleast_1d(fov["lineIdx"])
    nx, ny = (int(n) for n in fov["nXnYnZ"][:2])
    if lines.size != ny or ny < 1 or lines[0] < 1 or lines[0] % 1 or np.any(np.diff(lines) != 1):
        expected = f"{ny} consecutive lines, from 1"
        raise _impossible(where, f"FOV[{index}].lineIdx", expected, f"{lines.size} lines from {lines[:1]}")
    return FovLayout(index, fov_name(index), int(fov["slice_id"]), int(lines[0]) - 1, int(lines[-1]), nx)


def _stack_header(software: str) -> dict[str, Any]:
    """Parse what a header tells about the stack."""
    return parse_si_header("\n".join(line for line in software.splitlines() if "hStackManager." in line))


def _check_depths(meta: dict[str, Any], header: dict[str, Any], where: str) -> None:
    """Each FOV must be at the depth of its slice.

    The rig's MATLAB code numbers the slices by depth; where they were scanned in another order it is wrong.
    """
    zs = np.ravel(header.get("SI.hStackManager.zs", []))
    if not header.get("SI.hStackManager.enable", False) or zs.size < 2:
        return
    for i, fov in enumerate(meta["FOV"]):
        depth, slice_id = np.ravel(fov.get("Zs", [])), int(fov["slice_id"])
        if depth.size and (slice_id >= zs.size or depth[0] != zs[slice_id]):
            expected = f"the slice that is scanned at {depth[0]} µm (depths in order of scanning: {zs.tolist()})"
            raise _impossible(where, f"FOV[{i}].slice_id", expected, f"slice {slice_id}")


def _check_gaps(meta: dict[str, Any], fovs: tuple[FovLayout, ...], where: str) -> None:
    """Warn where the lines between two FOVs are not those of the fly-to time."""
    params = meta.get("scanImageParams", {})
    seconds = params.get("hScan2D", {}).get("flytoTimePerScanfield")
    period = params.get("hRoiManager", {}).get("linePeriod")
    if seconds is None or not period:
        return
    gap = fly_to_lines(seconds, period)
    ordered = sorted(fovs, key=lambda f: (f.slice_index, f.row_start))
    for a, b in itertools.pairwise(ordered):
        if a.slice_index == b.slice_index and b.row_start - a.row_stop != gap:
            warnings.warn(
                f"{where}: {b.row_start - a.row_stop} lines between {a.name} and {b.name}, but the fly-to time makes "
                f"{gap}; its lineIdx are used as they are",
                MesoWarning,
                stacklevel=4,
            )
            return


def stack_frames(header: dict[str, Any], n_used: int = 1) -> tuple[int, int]:
    """Slices and fly-back frames per volume.

    Parameters
    ----------
    header
        Parsed ``SI.`` header.
    n_used
        Slices known otherwise; the header may name more, never less.
    """
    if not header.get("SI.hStackManager.enable", False):
        return n_used, 0
    zs = np.atleast_1d(header.get("SI.hStackManager.zs", 0))
    n_slices = max(n_used, _count(header.get("SI.hStackManager.numFramesPerVolume"), zs.size))
    n_all = _count(header.get("SI.hStackManager.numFramesPerVolumeWithFlyback"), n_slices)
    return n_slices, max(0, n_all - n_slices)


def _count(value: Any, default: int) -> int:
    """Read a count, unless it is empty or infinite."""
    return int(value) if isinstance(value, int | float) and math.isfinite(value) and value >= 1 else default


def _check_rows(fovs: tuple[FovLayout, ...], height: int | None, width: int | None, where: str) -> None:
    """FOVs of one slice must not overlap, and all must lie in the page."""
    for fov in fovs:
        if height is not None and fov.row_stop > height:
            field = f"FOV[{fov.index}].lineIdx"
            raise _impossible(where, field, f"lines up to the page's height {height}", f"line {fov.row_stop}")
        if width is not None and fov.nx != width:
            raise _impossible(where, f"FOV[{fov.index}].nXnYnZ", f"the page's width {width}", f"{fov.nx}")
    ordered = sorted(fovs, key=lambda f: (f.slice_index, f.row_start))
    for a, b in itertools.pairwise(ordered):
        if a.slice_index == b.slice_index and b.row_start < a.row_stop:
            expected, found = f"lines after those of {a.name} ({a.row_stop})", f"line {b.row_start + 1}"
            raise _impossible(where, f"FOV[{b.index}].lineIdx", expected, found)


def _impossible(where: str, field: str, expected: str, found: str) -> MetadataError:
    remedy = "Move the metadata file away; it is made again from the tifs"
    return MetadataError(problem(where, field=field, expected=expected, found=found, remedy=remedy))


def um_per_pixel(fov: Mapping[str, Any]) -> float:
    """Width of a pixel on the coverslip, µm: the FOV's top edge (``MM``) over its pixels per line.

    Parameters
    ----------
    fov
        An entry of ``meta['FOV']``.
    """
    corners = fov["MM"]
    return float(math.dist(corners["topLeft"], corners["topRight"]) * 1000 / fov["nXnYnZ"][0])
