"""ScanImage BigTIFF files, written page by page.

What belongs here: the bytes of the container as ScanImage (since 2016, format version 4) lays them out. What does
not: the texts of the header (``header``), or pixels.

Layout, as found in real files: BigTIFF header (16 bytes); ScanImage's static block (magic number, version, two lengths,
frame data, ROI groups, both NUL-terminated); then for each page an IFD of 18 tags, its ImageDescription padded to a
constant length, and one strip of pixels. So the distance between pages is constant.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

_MAGIC = 117637889
_FORMAT_VERSION = 4
_DESCRIPTION_LENGTH = 2000
_SHORT, _ASCII, _RATIONAL, _LONG8 = 3, 2, 5, 16
_TAGS = 18
_IFD_BYTES = 8 + 20 * _TAGS + 8
_DESCRIPTION_BYTES = 2008
#: Offsets, inside an IFD, of the three numbers that differ between pages.
_AT_DESCRIPTION = 8 + 20 * 5 + 12
_AT_STRIP = 8 + 20 * 6 + 12
_AT_NEXT = 8 + 20 * _TAGS


class ScanImageTifWriter:
    """Write one tif of an acquisition; pages are given in blocks and written at once.

    Parameters
    ----------
    path
        File to write.
    frame_data
        Header lines ``SI.x = value``.
    roi_groups
        ROI groups as JSON.
    shape
        Page height and width.
    n_pages
        Number of pages; the IFD of the last page has no successor.
    pixels_per_cm
        Resolution of the first field.
    """

    def __init__(
        self, path: Path, frame_data: str, roi_groups: str, shape: tuple[int, int], n_pages: int, pixels_per_cm: float
    ) -> None:
        self.path, self._shape, self._n_pages, self._done = path, shape, n_pages, 0
        static = frame_data.encode() + b"\0", roi_groups.encode() + b"\0"
        self._first = 32 + len(static[0]) + len(static[1])
        self._first += 4 - self._first % 4
        self._ifd = self._template(len(static[0]), len(static[1]), pixels_per_cm)
        self._stride = _IFD_BYTES + _DESCRIPTION_BYTES + 2 * shape[0] * shape[1]
        self._file = path.open("wb")
        head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, self._first)
        head += struct.pack("<IIII", _MAGIC, _FORMAT_VERSION, len(static[0]), len(static[1]))
        self._file.write((head + static[0] + static[1]).ljust(self._first, b"\0"))

    def _template(self, n_frame_data: int, n_roi_groups: int, pixels_per_cm: float) -> bytes:
        ny, nx = self._shape
        resolution = struct.pack("<II", 2**30, max(round(2**30 / pixels_per_cm), 1))
        tags = (
            (256, _SHORT, 1, nx),
            (257, _SHORT, 1, ny),
            (258, _SHORT, 1, 16),
            (259, _SHORT, 1, 1),
            (262, _SHORT, 1, 1),
            (270, _ASCII, _DESCRIPTION_LENGTH + 1, 0),
            (273, _LONG8, 1, 0),
            (274, _SHORT, 1, 1),
            (277, _SHORT, 1, 1),
            (278, _SHORT, 1, ny),
            (279, _LONG8, 1, 2 * ny * nx),
            (282, _RATIONAL, 1, resolution),
            (283, _RATIONAL, 1, resolution),
            (284, _SHORT, 1, 1),
            (296, _SHORT, 1, 3),
            (305, _ASCII, n_frame_data, 32),
            (315, _ASCII, n_roi_groups, 32 + n_frame_data),
            (339, _SHORT, 1, 2),
        )
        body = struct.pack("<Q", len(tags))
        for code, kind, count, value in tags:
            packed = value if isinstance(value, bytes) else struct.pack("<Q", value)
            body += struct.pack("<HHQ", code, kind, count) + packed
        return body + struct.pack("<Q", 0)

    def write(self, pages: NDArray[np.int16], descriptions: Sequence[str]) -> None:
        """Append pages (n, height, width) with one description each."""
        n = len(descriptions)
        block = np.zeros((n, self._stride), np.uint8)
        block[:, :_IFD_BYTES] = np.frombuffer(self._ifd, np.uint8)
        start = self._first + self._stride * (self._done + np.arange(n, dtype=np.uint64))
        following = start + np.uint64(self._stride)
        following[np.arange(self._done, self._done + n) == self._n_pages - 1] = 0
        for at, value in (
            (_AT_DESCRIPTION, start + np.uint64(_IFD_BYTES)),
            (_AT_STRIP, start + np.uint64(_IFD_BYTES + _DESCRIPTION_BYTES)),
            (_AT_NEXT, following),
        ):
            block[:, at : at + 8] = value.astype("<u8").view(np.uint8).reshape(n, 8)
        text = b"".join(d.encode().ljust(_DESCRIPTION_LENGTH, b" ") for d in descriptions)
        words = np.frombuffer(text, np.uint8).reshape(n, _DESCRIPTION_LENGTH)
        block[:, _IFD_BYTES : _IFD_BYTES + _DESCRIPTION_LENGTH] = words
        pixels = np.ascontiguousarray(pages, "<i2").reshape(n, -1)
        block[:, _IFD_BYTES + _DESCRIPTION_BYTES :] = pixels.view(np.uint8)
        self._file.write(block.data)
        self._done += n

    def whole_pages(self, n_bytes: int) -> int:
        """Count the pages that are whole in the first bytes of the file."""
        return max(min((n_bytes - self._first) // self._stride, self._n_pages), 0)

    def __enter__(self) -> ScanImageTifWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None and self._done != self._n_pages:
            raise AssertionError(f"{self._done} of {self._n_pages} pages written")
