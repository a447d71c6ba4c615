"""The pages of a ScanImage BigTIFF, found without reading a pixel.

What belongs here: where in a file the page directories (IFDs), the frame descriptions, the headers and the pixels
are, and whether all of them are there. What does not: what a header means, and the pixels themselves.

ScanImage writes a file from front to back: the 16 bytes of the BigTIFF header, the header texts, then page after page
an IFD, its description (padded to a fixed length) and its pixels. Directories are therefore equally far apart. That
is used, and verified for each page; where a page deviates the chain of directories is followed instead.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputFileError, MissingInputError, problem
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
            self._file = self.path.open("rb", buffering=0)
        except FileNotFoundError as e:
            message = problem(self.path, expected="a tif", found="no such file", remedy="Check the path")
            raise MissingInputError(message) from e
        with self._file:
            self.n_bytes = self._file.seek(0, os.SEEK_END)
            self._walk()
        del self._file

    def _fetch(self, offset: int, n_bytes: int) -> bytes:
        if offset + n_bytes > self.n_bytes:
            raise self._truncated(offset + n_bytes)
        self._file.seek(offset)
        return self._file.read(n_bytes)

    def _truncated(self, needed: int) -> InputFileError:
        return InputFileError(
            problem(
                self.path,
                field=f"page {len(self._frames)}",
                expected=f"at least {needed} bytes",
                found=f"a file cut off at {self.n_bytes} bytes",
                remedy=RECOPY,
            )
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
        """Pages after ``first`` that are its copy, shifted by a constant stride.

        Returns
        -------
        next_offset : int
            Where the chain goes on after the run (0: nowhere).
        data_offsets : ndarray of int64, shape (n_run,)
        """
        stride = first.next_offset - first.offset
        template = np.frombuffer(self._fetch(first.offset, first.n_bytes), np.uint8)
        # the three numbers that move with the page: its description, its pixels, the next directory
        tags = np.frombuffer(template[8:-8].tobytes(), ENTRY)
        moving = [first.n_bytes - 8]
        moving += [8 + 20 * int(np.flatnonzero(tags["tag"] == tag)[0]) + 12 for tag in (DESCRIPTION, STRIPS)]
        width = max(first.n_bytes, first.description_offset + first.description_bytes - first.offset)
        if first.description_offset < first.offset or width > 1 << 16 or tags["count"][tags["tag"] == STRIPS] != 1:
            return first.next_offset, np.empty(0, np.int64)
        fixed = np.ones(first.n_bytes, bool)
        for column in moving:
            fixed[column : column + 8] = False
        want = np.array([first.next_offset, first.description_offset, first.data_offset])
        runs: list[npt.NDArray[np.int64]] = []
        offset, batch, n_before = first.next_offset, 1, 1
        while True:
            # a page whose directory or pixels would pass the end of the file is left to the careful reader
            last_start = self.n_bytes - max(width, first.data_offset + first.data_bytes - first.offset)
            n = min(batch, (last_start - offset) // stride + 1)
            if n < 1:
                break
            raw = self._gather(offset, stride, n, width)
            values = np.stack([raw[:, c : c + 8].copy().view("<i8")[:, 0] for c in moving], axis=1)
            shift = stride * (n_before + np.arange(n))[:, None]
            same = (raw[:, : first.n_bytes][:, fixed] == template[fixed]).all(axis=1)
            same &= (values[:, 1:] == want[1:] + shift).all(axis=1)
            chained = values[:, 0] == want[0] + shift[:, 0]
            good = _leading(same)
            n_ok = min(good, _leading(chained) + 1)
            self._read_frames(raw, n_ok, first.description_offset - first.offset, first.description_bytes)
            runs.append(values[:n_ok, 2])
            if n_ok:
                here, offset = offset + (n_ok - 1) * stride, int(values[n_ok - 1, 0])
                if offset and offset <= here:
                    expected, found = f"the next directory after byte {here}", f"one at byte {offset}"
                    raise odd_page(self.path, len(self._frames) - 1, expected, found)
            if n_ok < n or not chained[n_ok - 1]:
                break
            n_before += n
            batch = min(batch * 4, 1024)
        return offset, np.concatenate(runs) if runs else np.empty(0, np.int64)

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
        """The ``SI.`` lines as values; see :func:`~meso_core.scanimage.header.parse_si_header`."""
        from .header import parse_si_header

        return parse_si_header(self.software)


def _leading(flags: npt.NDArray[np.bool_]) -> int:
    """Count the leading True."""
    return int(flags.size if flags.all() else np.argmin(flags))
