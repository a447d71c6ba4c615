"""The pages of a ScanImage BigTIFF, found without reading a pixel.

What belongs here: where in a file the page directories (IFDs), the frame descriptions, the headers and the pixels
are, and whether all of them are there. What does not: what a header means, and the pixels themselves.

ScanImage writes a file from front to back: the 16 bytes of the BigTIFF header, the header texts, then page after page
an IFD, its description (padded to a fixed length) and its pixels. Directories are therefore equally far apart. That
is used, and verified for each page; where a page deviates the chain of directories is followed instead.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ...errors import InputFileError, MissingInputError, problem
from ...opening import open_plain
from .ifd import (
    DESCRIPTION,
    ENTRY,
    FRAME,
    RECOPY,
    STRIPS,
    Page,
    check_scanimage,
    decode_text,
    first_directory,
    odd_page,
    parse_frame,
    read_page,
)

#: Bytes that may lie behind the last page, besides as many as before: what is more is no recording.
MOST_BEHIND_BYTES = 1 << 20


class ScanImageTif:
    """Index of a ScanImage BigTIFF: its headers and where each page is. No pixel is read.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    n_pages : int
    page : Page
        The first page.
    data_offsets : ndarray of int64, shape (n_pages,)
        Where the pixels of each page begin, in bytes.
    frame_numbers : ndarray of int64, shape (n_pages,)
        ScanImage's frame numbers, from 1; the channels of a frame share one.
    frame_timestamps : ndarray of float64, shape (n_pages,)
        Seconds since the start of the acquisition, by ScanImage's clock.
    software, artist : str
        The ``SI.x = value`` lines, and the RoiGroups as JSON text.

    Raises
    ------
    MissingInputError
        If there is no such file.
    InputFileError
        If it is no ScanImage BigTIFF, or not all of it is there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            with cast("FileIO", open_plain(self.path, buffering=0)) as self._file:
                self.n_bytes = self._file.seek(0, os.SEEK_END)
                self._walk()
        except MissingInputError:
            raise
        except OSError as e:
            remedy = "Check the read permission and the disk"
            message = problem(self.path, expected="a readable file", found=str(e), remedy=remedy)
            raise InputFileError(message) from e
        del self._file

    def _fetch(self, offset: int, n_bytes: int) -> bytes:
        if offset + n_bytes > self.n_bytes:
            raise self._truncated(offset + n_bytes)
        self._file.seek(offset)
        return self._file.read(n_bytes)

    def _truncated(self, needed: int) -> InputFileError:
        return InputFileError.at(
            self.path,
            field=f"page {len(self._frames)}",
            expected=f"at least {needed} bytes",
            found=f"a file cut off at {self.n_bytes} bytes",
            remedy=RECOPY,
        )

    def _walk(self) -> None:
        """Visit all directories, by runs of equally spaced ones."""
        self._frames: list[tuple[int, float]] = []
        starts: list[npt.NDArray[np.int64]] = []
        offset = first_directory(self.path, self._fetch(0, min(1 << 16, self.n_bytes)))
        while offset:
            page = read_page(self.path, len(self._frames), offset, self._fetch)
            if page.data_offset + page.data_bytes > self.n_bytes:
                raise self._truncated(page.data_offset + page.data_bytes)
            if not self._frames:
                self._read_headers(page)
            elif page.layout != self.page.layout:
                found, expected = ("{} x {} px, {}".format(*p.layout) for p in (page, self.page))
                raise odd_page(self.path, len(self._frames), expected + " as page 0", found)
            text = self._fetch(page.description_offset, page.description_bytes)
            self._frames.append(parse_frame(self.path, len(self._frames), text))
            starts.append(np.array([page.data_offset]))
            offset = page.next_offset
            if offset:
                offset, run = self._regular_run(page)
                starts.append(run)
        self.data_offsets = np.concatenate(starts)
        self.n_pages = self.data_offsets.size
        end = int(self.data_offsets.max()) + self.page.data_bytes
        if self.n_bytes > 2 * end + MOST_BEHIND_BYTES:
            expected, found = f"an end soon after the last page, which ends at byte {end}", f"{self.n_bytes} bytes"
            raise InputFileError.at(self.path, expected=expected, found=found, remedy=RECOPY)
        numbers, times = zip(*self._frames, strict=True)
        self.frame_numbers = np.array(numbers, np.int64)
        self.frame_timestamps = np.array(times, np.float64)
        del self._frames

    def _read_headers(self, page: Page) -> None:
        self.page = page
        self.software = self._text(*page.software)
        self.artist = self._text(*page.artist)
        self.description = self._text(page.description_offset, page.description_bytes)
        check_scanimage(self.path, self.software)

    def _text(self, offset: int, n_bytes: int) -> str:
        return decode_text(self._fetch(offset, n_bytes)) if n_bytes else ""

    def _regular_run(self, first: Page) -> tuple[int, npt.NDArray[np.int64]]:
        """Find the pages after ``first`` that are its copy, shifted by a constant stride.

        Returns
        -------
        next_offset : int
            Where the chain goes on after the run (0: nowhere).
        data_offsets : ndarray of int64, shape (n_run,)
        """
        stencil = _Stencil.of(first, self._fetch(first.offset, first.n_bytes))
        offset, batch, n_before = first.next_offset, 1, 1
        runs = [np.empty(0, np.int64)]
        # a page whose directory or pixels would pass the end of the file is left to the careful reader
        while stencil and (n := min(batch, (self.n_bytes - stencil.n_bytes - offset) // stencil.stride + 1)) > 0:
            raw = self._gather(offset, stencil.stride, n, stencil.width)
            pages = stencil.matching(raw, n_before)
            self._read_frames(raw, len(pages), first.description_offset - first.offset, first.description_bytes)
            runs.append(pages[:, 2])
            if not len(pages):
                break
            last, offset = offset + (len(pages) - 1) * stencil.stride, int(pages[-1, 0])
            if offset and offset <= last:
                expected, found = f"the next directory after byte {last}", f"one at byte {offset}"
                raise odd_page(self.path, len(self._frames) - 1, expected, found)
            if offset != last + stencil.stride:
                break
            n_before += n
            batch = min(batch * 4, 1024)
        return offset, np.concatenate(runs)

    def _gather(self, offset: int, stride: int, n: int, width: int) -> npt.NDArray[np.uint8]:
        """Directories and descriptions of ``n`` pages, shape (n, width)."""
        raw = np.empty((n, width), np.uint8)
        flat, file = raw.data.cast("B"), self._file
        for i in range(n):
            file.seek(offset + i * stride)
            file.readinto(flat[i * width : (i + 1) * width])
        return raw

    def _read_frames(self, raw: npt.NDArray[np.uint8], n: int, start: int, n_bytes: int) -> None:
        data, width = raw.data.cast("B"), raw.shape[1]
        search, frames = FRAME.search, self._frames
        for i in range(n):
            at = i * width + start
            match = search(data, at, at + n_bytes)
            if match is None:
                raise odd_page(self.path, len(frames), "a description with frameNumbers", "none")
            frames.append((int(match[1]), float(match[2])))

    @cached_property
    def header(self) -> dict[str, Any]:
        """The ``SI.`` lines as values; see :func:`~meso_core.scanimage.tiff.pages.header.parse_si_header`."""
        from .header import parse_si_header

        return parse_si_header(self.software)


@dataclass(frozen=True, slots=True)
class _Stencil:
    """What the pages of a run have in common: a directory but for three numbers that move on with the page."""

    directory: npt.NDArray[np.uint8]
    #: Bytes of the directory that do not move.
    fixed: npt.NDArray[np.bool_]
    #: Where the offsets of the next directory, the description and the pixels stand, and those of the first page.
    columns: tuple[int, ...]
    offsets: npt.NDArray[np.int64]
    #: Bytes from page to page; from a page's start to the end of its description, and of its pixels.
    stride: int
    width: int
    n_bytes: int

    @classmethod
    def of(cls, page: Page, directory: bytes) -> _Stencil | None:
        """Make the stencil of a page; None where its description or strips are not laid out as ScanImage does."""
        tags = np.frombuffer(directory[8:-8], ENTRY)
        width = max(page.n_bytes, page.description_offset + page.description_bytes - page.offset)
        if page.description_offset < page.offset or width > 1 << 16 or tags["count"][tags["tag"] == STRIPS] != 1:
            return None
        places = [20 + 20 * int(np.flatnonzero(tags["tag"] == tag)[0]) for tag in (DESCRIPTION, STRIPS)]
        columns = (page.n_bytes - 8, *places)
        fixed = np.ones(page.n_bytes, bool)
        for column in columns:
            fixed[column : column + 8] = False
        offsets = np.array([page.next_offset, page.description_offset, page.data_offset])
        end = max(width, page.data_offset + page.data_bytes - page.offset)
        stride = page.next_offset - page.offset
        return cls(np.frombuffer(directory, np.uint8), fixed, columns, offsets, stride, width, end)

    def matching(self, raw: npt.NDArray[np.uint8], n_before: int) -> npt.NDArray[np.int64]:
        """Three moving offsets of the leading pages that fit, shape (n, 3).

        Parameters
        ----------
        raw
            Directories read at equal distances, shape (n_read, width).
        n_before
            Pages of the run before these, with the first.
        """
        found = np.stack([raw[:, c : c + 8].copy().view("<i8")[:, 0] for c in self.columns], axis=1)
        expected = self.offsets + self.stride * (n_before + np.arange(len(raw)))[:, None]
        n = len(self.directory)
        same = (raw[:, :n][:, self.fixed] == self.directory[self.fixed]).all(axis=1)
        same &= (found[:, 1:] == expected[:, 1:]).all(axis=1)
        # the page whose chain leads elsewhere is the last of the run
        chained = found[:, 0] == expected[:, 0]
        return found[: min(_leading(same), _leading(chained) + 1)]


def _leading(flags: npt.NDArray[np.bool_]) -> int:
    """Count the leading True."""
    return int(flags.size if flags.all() else np.argmin(flags))
