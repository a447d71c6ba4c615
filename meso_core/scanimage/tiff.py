"""The pages of a ScanImage BigTIFF, found without reading a pixel.

What belongs here: where in a file the page directories (IFDs), the frame descriptions, the headers and the pixels
are, and whether all of them are there. What does not: what a header means, and the pixels themselves.

ScanImage writes a file from front to back: the 16 bytes of the BigTIFF header, the header texts, then page after page
an IFD, its description (padded to a fixed length) and its pixels. Directories are therefore equally far apart. That
is used, and verified for each page; where a page deviates the chain of directories is followed instead.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputFileError, MissingInputError, problem

#: ``fetch(offset, n_bytes)`` gives bytes of the file; it raises where they are not there.
Fetch = Callable[[int, int], bytes]

_ENTRY = np.dtype([("tag", "<u2"), ("type", "<u2"), ("count", "<u8"), ("value", "<u8")])
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8, 18: 8}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _DESCRIPTION, _STRIPS = 256, 257, 258, 259, 270, 273
_SAMPLES, _STRIP_BYTES, _X_RES, _Y_RES, _RES_UNIT, _SOFTWARE, _ARTIST, _FORMAT = 277, 279, 282, 283, 296, 305, 315, 339
_FRAME = re.compile(rb"frameNumbers *= *(\d+)[\s\S]*?frameTimestamps_sec *= *([-+.\deE]+)")
_MAX_TEXT = 1 << 26
_RECOPY = "Copy the file from the rig again; if it is damaged there too, move it out of the bout's folder"


@dataclass(frozen=True, slots=True)
class Page:
    """One directory of a file: where its parts are, and how its pixels are stored."""

    offset: int
    n_bytes: int
    next_offset: int
    height: int
    width: int
    #: ``int16`` or ``uint16``.
    dtype: np.dtype[Any]
    data_offset: int
    data_bytes: int
    description_offset: int
    description_bytes: int
    #: (offset, length) of the texts that describe the whole file.
    software: tuple[int, int]
    artist: tuple[int, int]
    #: Pixels per resolution unit in x and y, and the TIFF code of the unit (3: centimetre).
    resolution: tuple[float, float, int]

    @property
    def layout(self) -> tuple[int, int, str]:
        """Height, width and dtype: what all pages of a recording share."""
        return self.height, self.width, str(self.dtype)


def first_directory(name: str | os.PathLike[str], head: bytes) -> int:
    """Offset of the first IFD, from the first 16 bytes of a file.

    Raises
    ------
    InputFileError
        If the file is no BigTIFF as ScanImage writes it.
    """
    if len(head) < 16:
        raise InputFileError(problem(name, expected="at least 16 bytes", found=f"{len(head)} bytes", remedy=_RECOPY))
    if head[:4] in (b"II*\x00", b"MM\x00*"):
        raise InputFileError(
            problem(
                name,
                expected="a BigTIFF of ScanImage 2016 or newer",
                found="a classic TIFF, which ScanImage used before it wrote BigTIFF, or an image of another program",
                remedy="Convert an old recording with ScanImage's own tools, or move the file out of the bout's folder",
            )
        )
    if head[:8] != b"II+\x00\x08\x00\x00\x00":
        raise InputFileError(
            problem(
                name,
                expected="a little-endian BigTIFF",
                found=f"a file that begins with {head[:8]!r}",
                remedy=_RECOPY,
            )
        )
    return int(struct.unpack("<Q", head[8:16])[0])


def read_page(name: str | os.PathLike[str], index: int, offset: int, fetch: Fetch) -> Page:
    """Read and check one IFD.

    Parameters
    ----------
    name, index
        File and number of the page (0-based), for messages.
    offset
        Where the IFD begins, in bytes.
    fetch
        Gives the file's bytes.

    Raises
    ------
    InputFileError
        If the directory cannot be one of ScanImage (compressed, several samples, not 16 bits, in loose strips).
    """
    (count,) = struct.unpack("<Q", fetch(offset, 8))
    if not 1 <= count <= 4096:
        raise _odd_page(name, index, "a directory with 1 to 4096 tags", f"{count} tags at byte {offset}")
    body = fetch(offset + 8, count * _ENTRY.itemsize + 8)
    (next_offset,) = struct.unpack("<Q", body[-8:])
    if next_offset and next_offset <= offset:
        raise _odd_page(name, index, f"the next directory after byte {offset}", f"one at byte {next_offset}")
    tags = {int(e["tag"]): e for e in np.frombuffer(body[:-8], _ENTRY)}

    def number(tag: int, default: int | None = None) -> int:
        if tag not in tags:
            if default is None:
                raise _odd_page(name, index, f"the TIFF tag {tag}", "none")
            return default
        size = _TYPE_BYTES.get(int(tags[tag]["type"]), 8)
        return int(tags[tag]["value"]) & ((1 << 8 * size) - 1)

    def text(tag: int) -> tuple[int, int]:
        if tag not in tags or tags[tag]["type"] != 2 or not 8 < tags[tag]["count"] < _MAX_TEXT:
            return 0, 0
        return int(tags[tag]["value"]), int(tags[tag]["count"])

    def ratio(tag: int) -> float:
        value = int(tags[tag]["value"]) if tag in tags else 1 << 32
        return (value & 0xFFFFFFFF) / max(value >> 32, 1)

    storage = (number(_COMPRESSION, 1), number(_SAMPLES, 1), number(_BITS, 1), number(_FORMAT, 1))
    if storage not in ((1, 1, 16, 1), (1, 1, 16, 2)):
        found = "compression {}, {} samples of {} bits, sample format {}".format(*storage)
        raise _odd_page(name, index, "uncompressed 16-bit integers, one sample per pixel", found)
    height, width = number(_HEIGHT), number(_WIDTH)
    data_offset = _strip_start(name, index, tags, fetch, height * width * 2)
    description = text(_DESCRIPTION)
    return Page(
        offset=offset,
        n_bytes=16 + int(count) * _ENTRY.itemsize,
        next_offset=int(next_offset),
        height=height,
        width=width,
        dtype=np.dtype("<i2" if storage[3] == 2 else "<u2"),
        data_offset=data_offset,
        data_bytes=height * width * 2,
        description_offset=description[0],
        description_bytes=description[1],
        software=text(_SOFTWARE),
        artist=text(_ARTIST),
        resolution=(ratio(_X_RES), ratio(_Y_RES), number(_RES_UNIT, 1)),
    )


def _strip_start(name: str | os.PathLike[str], index: int, tags: dict[int, Any], fetch: Fetch, n_bytes: int) -> int:
    """Offset of a page's pixels, which must lie in one piece."""
    found = "no strips"
    if _STRIPS in tags and _STRIP_BYTES in tags:
        starts, sizes = (_numbers(tags[tag], fetch) for tag in (_STRIPS, _STRIP_BYTES))
        if starts.size == sizes.size and sizes.sum() == n_bytes and np.all(starts[:-1] + sizes[:-1] == starts[1:]):
            return int(starts[0])
        found = f"{starts.size} strips of {int(sizes.sum())} bytes in all, not in one piece"
    raise _odd_page(name, index, f"{n_bytes} bytes of pixels in one piece", found)


def _numbers(entry: Any, fetch: Fetch) -> npt.NDArray[np.int64]:
    """Values of a tag of whole numbers."""
    size, count = _TYPE_BYTES.get(int(entry["type"]), 8), int(entry["count"])
    raw = entry["value"].tobytes() if size * count <= 8 else fetch(int(entry["value"]), size * count)
    return np.frombuffer(raw, f"<u{size}", count).astype(np.int64)


def _odd_page(name: str | os.PathLike[str], index: int, expected: str, found: str) -> InputFileError:
    return InputFileError(problem(name, field=f"page {index}", expected=expected, found=found, remedy=_RECOPY))


def parse_frame(name: str | os.PathLike[str], index: int, description: bytes | bytearray) -> tuple[int, float]:
    """Frame number and time (s since the acquisition's start) from the description of a page."""
    match = _FRAME.search(description)
    if match is None:
        raise _odd_page(name, index, "a description with frameNumbers and frameTimestamps_sec", "none")
    return int(match[1]), float(match[2])


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
        self._file.seek(min(offset, self.n_bytes))
        data = self._file.read(n_bytes)
        if len(data) < n_bytes:
            raise self._truncated(offset + n_bytes)
        return data

    def _truncated(self, needed: int) -> InputFileError:
        return InputFileError(
            problem(
                self.path,
                field=f"page {len(self._frames)}",
                expected=f"at least {needed} bytes",
                found=f"a file cut off at {self.n_bytes} bytes",
                remedy=_RECOPY,
            )
        )

    def _walk(self) -> None:
        """Visit all directories, by runs of equally spaced ones."""
        self._frames: list[tuple[int, float]] = []
        starts: list[npt.NDArray[np.int64]] = []
        offset = first_directory(self.path, self._fetch(0, min(16, self.n_bytes)))
        while offset:
            page = read_page(self.path, len(self._frames), offset, self._fetch)
            if page.data_offset + page.data_bytes > self.n_bytes:
                raise self._truncated(page.data_offset + page.data_bytes)
            if not self._frames:
                self._read_headers(page)
            elif page.layout != self.page.layout:
                found, expected = ("{} x {} px, {}".format(*p.layout) for p in (page, self.page))
                raise _odd_page(self.path, len(self._frames), expected + " as page 0", found)
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
        tags = np.frombuffer(template[8:-8].tobytes(), _ENTRY)
        moving = [first.n_bytes - 8]
        moving += [8 + 20 * int(np.flatnonzero(tags["tag"] == tag)[0]) + 12 for tag in (_DESCRIPTION, _STRIPS)]
        width = max(first.n_bytes, first.description_offset + first.description_bytes - first.offset)
        if first.description_offset < first.offset or width > 1 << 16 or tags["count"][tags["tag"] == _STRIPS] != 1:
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
                offset = int(values[n_ok - 1, 0])
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
        search, frames = _FRAME.search, self._frames
        for i in range(n):
            at = i * width + start
            match = search(data, at, at + n_bytes)
            if match is None:
                raise _odd_page(self.path, len(frames), "a description with frameNumbers", "none")
            frames.append((int(match[1]), float(match[2])))

    @cached_property
    def header(self) -> dict[str, Any]:
        """The ``SI.`` lines as values; see :func:`~meso_core.scanimage.header.parse_si_header`."""
        from .header import parse_si_header

        return parse_si_header(self.software)


def _leading(flags: npt.NDArray[np.bool_]) -> int:
    """Count the leading True."""
    return int(flags.size if flags.all() else np.argmin(flags))


def decode_text(raw: bytes) -> str:
    """Text of a TIFF tag, without the zero bytes that pad it."""
    return raw.rstrip(b"\x00").decode("utf-8", errors="replace")


def check_scanimage(name: str | os.PathLike[str], software: str) -> None:
    """Raise InputFileError if the Software tag of a file is not a ScanImage header."""
    if not software.lstrip().startswith("SI.") and "\nSI." not in software:
        raise InputFileError(
            problem(
                name,
                field="Software",
                expected="a ScanImage header (lines 'SI.x = value')",
                found=repr(software[:40]) if software else "none",
                remedy="Move files that are not ScanImage recordings out of the bout's folder",
            )
        )
