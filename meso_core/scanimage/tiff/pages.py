"""The pages of a ScanImage BigTIFF, found without reading a pixel.

What belongs here: where in a file the page directories (IFDs), the frame descriptions, the headers and the pixels
are, and where the whole pages end. What does not: what a header means, and the pixels themselves.

ScanImage writes a file from front to back: the 16 bytes of the BigTIFF header, the header texts, then page after page
an IFD, its description (padded to a fixed length) and its pixels. Directories are therefore equally far apart. That
is used, and verified for each page; where a page deviates the chain of directories is followed instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from ...errors import InputFileError, MissingInputError, StorageError, problem
from ...opening import RandomFile, open_plain
from .holes import bytes_in_holes
from .ifd import (
    DESCRIPTION,
    ENTRY,
    FRAME,
    HEAD,
    RECOPY,
    STRIPS,
    DamagedTifError,
    Heads,
    Page,
    check_scanimage,
    decode_text,
    first_directory,
    first_frame,
    odd_page,
    parse_frame,
    read_page,
)

#: Bytes that may lie behind the last page, besides as many as before: what is more is no recording.
MOST_BEHIND_BYTES = 1 << 28


@runtime_checkable
class FarFile(RandomFile, Protocol):
    """Bytes that come over a network, where a request takes long whatever it asks for."""

    def read_evenly(self, start: int, stride: int, n: int, width: int, /) -> bytes:
        """Return ``n`` ranges of ``width`` bytes, ``stride`` bytes from one to the next, one behind the other."""

    def zeros_from(self, start: int, /) -> int:
        """Tell how many bytes at the end of the file, behind ``start``, are zeros, as far as some of them show."""


#: Gives the index of a tif by its path.
Index: TypeAlias = Callable[[Path], "ScanImageTif"]


class ScanImageTif:
    """Index of a ScanImage BigTIFF: its headers and where each page is. No pixel is read.

    Parameters
    ----------
    path
        The file.
    opened
        Where its bytes are, if they are not in the file.

    Attributes
    ----------
    n_pages : int
        Number of whole pages; 0 where not even the first is whole.
    damage : DamagedTifError or None
        Where, and how, the file ends early or breaks off after its whole pages.
    data_offsets : ndarray of int64, shape (n_pages,)
        Where the pixels of each page begin, in bytes.
    heads : ndarray of HEAD, shape (n_pages,)
        Frame number (from 1; the channels of a frame share one) and time (s since the start of the acquisition, by
        ScanImage's clock) of each page.
    software, artist : str
        The ``SI.x = value`` lines, and the RoiGroups as JSON text; empty without a whole page.

    Raises
    ------
    MissingInputError
        If there is no such file.
    InputFileError
        If it is no ScanImage BigTIFF.
    StorageError
        If the server on which its bytes are does not give them.
    """

    def __init__(self, path: str | os.PathLike[str], opened: RandomFile | None = None) -> None:
        self.path = Path(path)
        self.software = self.artist = self.description = ""
        self.damage: DamagedTifError | None = None
        self._first: Page | None = None
        try:
            with self._opened() if opened is None else nullcontext(opened) as self._file:
                self.n_bytes = self._file.seek(0, os.SEEK_END)
                self._walk()
        except (MissingInputError, StorageError):
            raise
        except OSError as e:
            remedy = "Copy the file from the rig again, to another disk if this one fails"
            message = problem(self.path, expected="a readable file", found=str(e), remedy=remedy)
            raise InputFileError(message) from e
        del self._file

    def _opened(self) -> FileIO:
        return cast("FileIO", open_plain(self.path, buffering=0))

    def _fetch(self, offset: int, n_bytes: int) -> bytes:
        if offset + n_bytes > self.n_bytes:
            raise self._truncated(offset + n_bytes)
        self._file.seek(offset)
        return self._file.read(n_bytes)

    def _truncated(self, needed: int) -> DamagedTifError:
        found = f"a file cut off at {self.n_bytes} bytes"
        return DamagedTifError(self.path, len(self._frames), f"at least {needed} bytes", found)

    @property
    def page(self) -> Page:
        """The first page.

        Raises
        ------
        InputFileError
            If not even that is whole.
        """
        if self._first is None:
            raise self.damage or DamagedTifError(self.path, 0, "a whole page", "none")
        return self._first

    @property
    def frame_numbers(self) -> npt.NDArray[np.int64]:
        """Frame number of each page, shape (n_pages,)."""
        return np.asarray(self.heads["number"])

    def _walk(self) -> None:
        """Visit all directories, by runs of equally spaced ones, as far as they are whole."""
        self._frames: list[tuple[int, int, float]] = []
        self._starts: list[npt.NDArray[np.int64]] = []
        try:
            offset = first_directory(self.path, self._fetch(0, min(1 << 16, self.n_bytes)))
            while offset:
                offset = self._walk_from(offset)
        except DamagedTifError as damage:
            self.damage = damage
        self.data_offsets = np.concatenate([np.empty(0, np.int64), *self._starts])
        self.n_pages = self.data_offsets.size
        end = int(self.data_offsets.max(initial=0)) + (0 if self._first is None else self._first.data_bytes)
        self._check_end(end)
        self.heads: Heads = np.array(self._frames, HEAD)
        del self._frames, self._starts

    def _check_end(self, end: int) -> None:
        """Refuse a file in which far too much lies behind its last page; what was written behind a damaged page may."""
        behind, found = self.n_bytes - end, f"{self.n_bytes} bytes"
        if self.damage is not None and behind > end + MOST_BEHIND_BYTES:
            behind, are = _nothing_from(self._file, end)
            found += f", of which {behind} {are}"
        if behind > end + MOST_BEHIND_BYTES:
            expected = f"an end soon after the last page, which ends at byte {end}"
            raise InputFileError.at(self.path, expected=expected, found=found, remedy=RECOPY)

    def _walk_from(self, offset: int) -> int:
        """Read a page and those after it that are spaced equally; returns where the chain goes on (0: nowhere)."""
        page = read_page(self.path, len(self._frames), offset, self._fetch)
        if page.data_offset + page.data_bytes > self.n_bytes:
            raise self._truncated(page.data_offset + page.data_bytes)
        text = self._fetch(page.description_offset, page.description_bytes)
        if self._first is None:
            self._read_headers(page, text)
        elif page.layout != self._first.layout:
            found, expected = ("{} x {} px, {}".format(*p.layout) for p in (page, self._first))
            raise odd_page(self.path, len(self._frames), expected + " as page 0", found)
        self._frames.append(parse_frame(FRAME.search(text)) if self._frames else first_frame(self.path, text))
        self._starts.append(np.array([page.data_offset]))
        return self._regular_run(page) if page.next_offset else 0

    def _read_headers(self, page: Page, description: bytes) -> None:
        software, artist = self._text(*page.software), self._text(*page.artist)
        check_scanimage(self.path, software)
        self._first, self.software, self.artist, self.description = page, software, artist, decode_text(description)

    def _text(self, offset: int, n_bytes: int) -> str:
        return decode_text(self._fetch(offset, n_bytes)) if n_bytes else ""

    def _regular_run(self, first: Page) -> int:
        """Find the pages after ``first`` that are its copy, shifted by a constant stride.

        Returns
        -------
        int
            Where the chain goes on after the run (0: nowhere).
        """
        stencil = _Stencil.of(first, self._fetch(first.offset, first.n_bytes))
        offset, batch, n_before = first.next_offset, 1, 1
        # a page whose directory or pixels would pass the end of the file is left to the careful reader
        while stencil and (n := min(batch, (self.n_bytes - stencil.n_bytes - offset) // stencil.stride + 1)) > 0:
            raw = self._gather(offset, stencil.stride, n, stencil.width)
            pages = stencil.matching(raw, n_before)
            last = offset + (len(pages) - 1) * stencil.stride
            circular = len(pages) > 0 and 0 < pages[-1, 0] <= last
            whole = pages[: len(pages) - circular]
            self._read_frames(raw, len(whole), first.description_offset - first.offset, first.description_bytes)
            self._starts.append(whole[:, 2])
            if circular:
                expected, found = f"the next directory after byte {last}", f"one at byte {pages[-1, 0]}"
                raise odd_page(self.path, len(self._frames), expected, found)
            if not len(pages):
                break
            offset = int(pages[-1, 0])
            if offset != last + stencil.stride:
                break
            n_before += n
            batch = min(batch * 4, 1024)
        return offset

    def _gather(self, offset: int, stride: int, n: int, width: int) -> npt.NDArray[np.uint8]:
        """Directories and descriptions of ``n`` pages, shape (n, width)."""
        file = self._file
        if isinstance(file, FarFile):
            return np.frombuffer(file.read_evenly(offset, stride, n, width), np.uint8).reshape(n, width)
        raw = np.empty((n, width), np.uint8)
        flat = raw.data.cast("B")
        for i in range(n):
            file.seek(offset + i * stride)
            file.readinto(flat[i * width : (i + 1) * width])
        return raw

    def _read_frames(self, raw: npt.NDArray[np.uint8], n: int, start: int, n_bytes: int) -> None:
        data, width = raw.data.cast("B"), raw.shape[1]
        search, frames = FRAME.search, self._frames
        for i in range(n):
            at = i * width + start
            frames.append(parse_frame(search(data, at, at + n_bytes)))

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


def _nothing_from(file: RandomFile, start: int) -> tuple[int, str]:
    """Tell how many bytes behind a place hold nothing, and what they are."""
    if isinstance(file, FarFile):
        return file.zeros_from(start), "are zeros, as far as some of them show"
    holes = bytes_in_holes(file.fileno(), start) if isinstance(file, FileIO) else 0
    return holes, "were never written"


def _leading(flags: npt.NDArray[np.bool_]) -> int:
    """Count the leading True."""
    return int(flags.size if flags.all() else np.argmin(flags))
