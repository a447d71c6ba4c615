"""One page directory (IFD) of a ScanImage BigTIFF.

What belongs here: the bytes of a directory and of the description that goes with it, however they are fetched. What
does not: files, and how directories follow each other.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import InputFileError, problem

#: ``fetch(offset, n_bytes)`` gives bytes of the file; it raises where they are not there.
Fetch = Callable[[int, int], bytes]

ENTRY = np.dtype([("tag", "<u2"), ("type", "<u2"), ("count", "<u8"), ("value", "<u8")])
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8, 18: 8}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, DESCRIPTION, STRIPS = 256, 257, 258, 259, 270, 273
_SAMPLES, _STRIP_BYTES, _X_RES, _Y_RES, _RES_UNIT, _SOFTWARE, _ARTIST, _FORMAT = 277, 279, 282, 283, 296, 305, 315, 339
FRAME = re.compile(
    rb"frameNumbers *= *(\d+)(?:[\s\S]*?frameNumberAcquisition *= *(\d+))?"
    rb"[\s\S]*?frameTimestamps_sec *= *([-+]?\d+\.?\d*(?:[eE][-+]?\d+)?)"
)
#: What a page says of itself: ``frameNumbers`` (0: it names none), ``frameNumberAcquisition`` (0: not told), and
#: ``frameTimestamps_sec``.
HEAD = np.dtype([("number", "<i8"), ("in_acquisition", "<i8"), ("time", "<f8")])
Heads = npt.NDArray[Any]
_OLD_SCANIMAGE = re.compile(rb"scanimage\.SI|SI[45]?\.\w+ *=|state\.(?:software|acq)\.")
_MAX_TEXT = 1 << 26
#: What to do about a tif of which nothing can be used.
RECOPY = (
    "Copy the file from the rig again. If the rig's is the same, or is no recording, move it out of the bout's folder: "
    "the others are used, and missing frames are named (MESO_DAMAGED_FRAMES=salvage)"
)


class DamagedTifError(InputFileError):
    """Raised, and caught within this package, where a tif ends or breaks off: its pages before that are whole."""

    def __init__(self, name: str | os.PathLike[str], index: int, expected: str, found: str) -> None:
        remedy = SALVAGE if index else RECOPY
        super().__init__(problem(name, field=f"page {index}", expected=expected, found=found, remedy=remedy))
        self.found = f"expected {expected}, found {found}"


#: What to do about a tif that ends early or breaks off.
SALVAGE = "Copy the file from the rig again, or set MESO_DAMAGED_FRAMES=salvage to use its whole pages"


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
    """Offset of the first IFD.

    Parameters
    ----------
    name
        File, for messages.
    head
        Its first bytes, 16 or more; with 64 kB an old ScanImage file can be distinguished from a picture.

    Raises
    ------
    InputFileError
        If the file is no BigTIFF as ScanImage writes it.
    """
    expected = "a BigTIFF recording of ScanImage 2016 or newer"
    if len(head) >= 16 and head[:8] == b"II+\x00\x08\x00\x00\x00":
        return int(struct.unpack("<Q", head[8:16])[0])
    if len(head) < 16 or not any(head):
        found = "zeros only" if len(head) >= 16 else f"a file cut off at {len(head)} bytes"
        raise DamagedTifError(name, 0, expected, found)
    if head[:4] not in (b"II*\x00", b"MM\x00*"):
        found, remedy = f"a file that begins with {head[:8]!r}", RECOPY
    elif _OLD_SCANIMAGE.search(head):
        found = "a classic TIFF of an older ScanImage, whose headers name neither ROIs nor times of pages"
        remedy = "Convert the recording with ScanImage's own tools, or move it out of the bout's folder"
    else:
        found = "a plain TIFF without ScanImage header (a picture, or an image of another program)"
        remedy = "Move files that are no recordings out of the bout's folder"
    raise InputFileError.at(name, expected=expected, found=found, remedy=remedy)


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
        expected, found = "a directory with 1 to 4096 tags", f"{count} tags at byte {offset}"
        # a disk that lost power leaves zeros where nothing was written yet
        raise odd_page(name, index, expected, found) if count else DamagedTifError(name, index, expected, found)
    body = fetch(offset + 8, count * ENTRY.itemsize + 8)
    (next_offset,) = struct.unpack("<Q", body[-8:])
    if next_offset and next_offset <= offset:
        raise odd_page(name, index, f"the next directory after byte {offset}", f"one at byte {next_offset}")
    tags = _Tags(name, index, offset, np.frombuffer(body[:-8], ENTRY))
    height, width = tags.number(_HEIGHT), tags.number(_WIDTH)
    if height < 1 or width < 1:
        raise odd_page(name, index, "an image", f"{height} x {width} px")
    storage = tuple(tags.number(tag, 1) for tag in (_COMPRESSION, _SAMPLES, _BITS, _FORMAT))
    if storage[:3] != (1, 1, 16) or storage[3] not in (1, 2):
        found = "compression {}, {} samples of {} bits, sample format {}".format(*storage)
        raise odd_page(name, index, "uncompressed 16-bit integers, one sample per pixel", found)
    description = tags.text(DESCRIPTION)
    return Page(
        offset=offset,
        n_bytes=16 + int(count) * ENTRY.itemsize,
        next_offset=int(next_offset),
        height=height,
        width=width,
        dtype=np.dtype("<i2" if storage[3] == 2 else "<u2"),
        data_offset=tags.strip_start(fetch, height * width * 2),
        data_bytes=height * width * 2,
        description_offset=description[0],
        description_bytes=description[1],
        software=tags.text(_SOFTWARE),
        artist=tags.text(_ARTIST),
        resolution=(tags.ratio(_X_RES), tags.ratio(_Y_RES), tags.number(_RES_UNIT, 1)),
    )


class _Tags:
    """Tags of one directory; ``name`` and ``index`` are for messages."""

    def __init__(self, name: str | os.PathLike[str], index: int, offset: int, entries: npt.NDArray[Any]) -> None:
        self.name, self.index = name, index
        self.entries = {int(e["tag"]): e for e in entries}
        self.places = {int(e["tag"]): offset + 20 + 20 * i for i, e in enumerate(entries)}

    def number(self, tag: int, default: int | None = None) -> int:
        """Return a whole number from the directory."""
        if tag not in self.entries:
            if default is None:
                raise odd_page(self.name, self.index, f"the TIFF tag {tag}", "none")
            return default
        size = _TYPE_BYTES.get(int(self.entries[tag]["type"]), 8)
        return int(self.entries[tag]["value"]) & ((1 << 8 * size) - 1)

    def text(self, tag: int) -> tuple[int, int]:
        """Offset and length of a text; (0, 0) where there is none."""
        entry = self.entries.get(tag)
        if entry is None or entry["type"] != 2 or not 0 < entry["count"] < _MAX_TEXT:
            return 0, 0
        length = int(entry["count"])
        # up to 8 characters are stored in the directory itself
        return (int(entry["value"]) if length > 8 else self.places[tag]), length

    def ratio(self, tag: int) -> float:
        """Return a rational number; 0 where there is none."""
        value = int(self.entries[tag]["value"]) if tag in self.entries else 1 << 32
        return (value & 0xFFFFFFFF) / max(value >> 32, 1)

    def strip_start(self, fetch: Fetch, n_bytes: int) -> int:
        """Offset of the page's pixels, which must lie in one piece."""
        found = "no strips"
        if STRIPS in self.entries and _STRIP_BYTES in self.entries:
            starts, sizes = (_numbers(self.entries[tag], fetch) for tag in (STRIPS, _STRIP_BYTES))
            in_one_piece = starts.size == sizes.size > 0 and np.all(starts[:-1] + sizes[:-1] == starts[1:])
            if in_one_piece and sizes.sum() == n_bytes and starts[0] > 0:
                return int(starts[0])
            found = f"{starts.size} strips of {int(sizes.sum())} bytes in all, not in one piece"
        raise odd_page(self.name, self.index, f"{n_bytes} bytes of pixels in one piece", found)


def _numbers(entry: np.void, fetch: Fetch) -> npt.NDArray[np.int64]:
    """Values of a tag of whole numbers."""
    size, count = _TYPE_BYTES.get(int(entry["type"]), 8), int(entry["count"])
    raw = entry["value"].tobytes() if size * count <= 8 else fetch(int(entry["value"]), size * count)
    return np.frombuffer(raw, f"<u{size}", count).astype(np.int64)


def odd_page(name: str | os.PathLike[str], index: int, expected: str, found: str) -> InputFileError:
    """Make the error for a page that cannot be one of ScanImage: damage, if pages before it are."""
    if index:
        return DamagedTifError(name, index, expected, found)
    return InputFileError.at(name, field=f"page {index}", expected=expected, found=found, remedy=RECOPY)


def parse_frame(match: re.Match[bytes] | None) -> tuple[int, int, float]:
    """Read a :data:`HEAD` from what :data:`FRAME` finds in the description of a page."""
    return (0, 0, np.nan) if match is None else (int(match[1]), int(match[2] or 0), float(match[3]))


def first_frame(name: str | os.PathLike[str], description: bytes) -> tuple[int, int, float]:
    """Read what the first page says of itself.

    Raises
    ------
    InputFileError
        If it names no frame: then no page of the file can be placed.
    """
    head = parse_frame(FRAME.search(description))
    if not head[0]:
        raise odd_page(name, 0, "a description with frameNumbers and frameTimestamps_sec", "none")
    return head


def decode_text(raw: bytes) -> str:
    """Text of a TIFF tag, without the zero bytes that pad it."""
    return raw.rstrip(b"\x00").decode("utf-8", errors="replace")


def check_scanimage(name: str | os.PathLike[str], software: str) -> None:
    """Raise InputFileError if the Software tag of a file is not a ScanImage header."""
    if not software.lstrip().startswith("SI.") and "\nSI." not in software:
        raise InputFileError.at(
            name,
            field="Software",
            expected="a ScanImage header (lines 'SI.x = value')",
            found=repr(software[:40]) if software else "none",
            remedy="Move files that are no recordings out of the bout's folder",
        )
