"""Which rows of which page belong to which field of view.

What belongs here: the geometry of pages, from metadata. What does not: pixels and files.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import MetadataError, problem
from ..session import fov_name
from .header import parse_si_header

_META = "_ibl_rawImagingData.meta.json"


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

    @classmethod
    def from_meta(cls, meta: dict[str, Any], where: str = _META) -> ImagingLayout:
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
        try:
            raw = meta.get("rawScanImageMeta", {})
            fovs = tuple(_fov(i, fov, where) for i, fov in enumerate(meta["FOV"]))
            channels = tuple(int(c) for c in np.atleast_1d(meta["channelSaved"]))
            green = meta.get("channelID", {}).get("green", ())
        except (KeyError, TypeError, ValueError) as e:
            raise MetadataError(
                problem(
                    where,
                    field=str(e.args[0]) if isinstance(e, KeyError) else "FOV",
                    expected="FOV with slice_id, lineIdx and nXnYnZ, and channelSaved",
                    found="none" if isinstance(e, KeyError) else str(e),
                    remedy="Make the metadata again from the tifs with extract_imaging_meta",
                )
            ) from e
        if not fovs or not channels:
            found = f"{len(fovs)} FOVs, {len(channels)} channels"
            raise _impossible(where, "FOV", "at least one FOV and one channel", found)
        functional = next((i for i, c in enumerate(channels) if c in np.atleast_1d(green)), 0)
        n_slices, n_flyback = _slices(raw.get("Software", ""), 1 + max(f.slice_index for f in fovs))
        _check_rows(fovs, raw.get("Height"), raw.get("Width"), where)
        return cls(fovs, n_slices, n_flyback, channels, functional, raw.get("Height"), raw.get("Width"))


def _fov(index: int, fov: dict[str, Any], where: str) -> FovLayout:
    lines = np.atleast_1d(fov["lineIdx"]).astype(int)
    nx, ny = (int(n) for n in fov["nXnYnZ"][:2])
    if lines.size != ny or lines[0] < 1 or np.any(np.diff(lines) != 1):
        expected = f"{ny} consecutive lines, from 1"
        raise _impossible(where, f"FOV[{index}].lineIdx", expected, f"{lines.size} lines from {lines[:1]}")
    return FovLayout(index, fov_name(index), int(fov["slice_id"]), int(lines[0]) - 1, int(lines[-1]), nx)


def _slices(software: str, n_used: int) -> tuple[int, int]:
    """Slices and fly-back frames per volume, from the header where there is one."""
    header = parse_si_header("\n".join(line for line in software.splitlines() if "hStackManager." in line))
    return stack_frames(header, n_used)


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
    n_slices = max(n_used, int(header.get("SI.hStackManager.numFramesPerVolume") or 1))
    n_all = int(header.get("SI.hStackManager.numFramesPerVolumeWithFlyback") or n_slices)
    return n_slices, max(0, n_all - n_slices)


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
    remedy = "Make the metadata again from the tifs with extract_imaging_meta"
    return MetadataError(problem(where, field=field, expected=expected, found=found, remedy=remedy))
