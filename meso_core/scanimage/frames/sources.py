"""Pages of a bout as a stream of arrays, wherever they are stored.

What belongs here: reading pixels forward, from a file or from a stream that cannot go back. What does not: which
rows of a page belong to whom.
"""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from ...errors import InputFileError, MesoWarning
from ...opening import open_plain
from ..tiff.ifd import Page, check_scanimage, decode_text, first_directory, parse_frame, read_page
from ..tiff.pages import ScanImageTif

#: Headers and descriptions between pixels are far smaller.
_MAX_GAP = 1 << 26

Block = npt.NDArray[np.int16]


class TifSource(Protocol):
    """Something that gives the pages of one tif, in order."""

    @property
    def name(self) -> str:
        """Name of the tif, as the rig wrote it."""

    def blocks(self, max_bytes: int) -> Iterator[Block]:
        """Yield pages in file order, shape (n_pages, page_height, page_width), about ``max_bytes`` at a time.

        A block is its consumer's for as long as it, or a view of it, is kept: it never changes.
        """


class ForwardStream(Protocol):
    """A stream of bytes that need not be able to go back."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Put the next bytes into a buffer; returns how many, none only at the end."""


@dataclass(frozen=True, slots=True)
class TifSummary:
    """What the headers of one tif say, for telling whether tifs belong together."""

    n_pages: int
    page_shape: tuple[int, int]
    software: str
    artist: str
    first_frame: int
    last_frame: int
    #: Date and time of the acquisition's start, as ScanImage wrote it.
    epoch: str


@dataclass(frozen=True, slots=True)
class BoutSource:
    """The tifs of one imaging bout."""

    #: Folder name of the bout, as in ``raw_imaging_data_00``.
    name: str
    tifs: Iterable[TifSource]
    #: Pages that the metadata of the bout promise (``nFrames``; see :func:`fits_promise`); None: not checked.
    n_pages: int | None = None


def fits_promise(n_pages: int, promised: int, n_channels: int) -> bool:
    """Whether a bout has the pages that ``nFrames`` of its metadata promises.

    The rig counts the pages of all channels; some metadata count frames, and a frame has a page per channel.
    """
    return n_pages in (promised, promised * n_channels)


def epoch_of(description: str) -> str:
    """Start of the acquisition as its frame descriptions tell it."""
    return next((line.partition("=")[2].strip() for line in description.splitlines() if line.startswith("epoch")), "")


def _as_int16(block: npt.NDArray[Any], name: str) -> Block:
    """Pixels as int16; unsigned ones are halved, as suite2p does."""
    if block.dtype == np.dtype("<u2"):
        warnings.warn(f"{name}: pixels are uint16; they are halved to fit int16, as suite2p does", MesoWarning, 3)
        return (block // 2).astype(np.int16)
    return block.view(np.int16)


class _PageBuffers:
    """Memory for blocks of pages, used again when a block is gone (fresh memory costs a page fault per 4 kB).

    A block owns its memory until neither the block nor any view of it exists any more. So a block that a consumer keeps
    never changes; keeping many blocks only takes more memory.
    """

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self, n_bytes: int) -> npt.NDArray[np.uint8]:
        """Give ``n_bytes`` of memory, with any content, for one block."""
        memory = self._free.pop() if self._free else bytearray(n_bytes)
        if len(memory) < n_bytes:
            memory = bytearray(n_bytes)
        owner = np.frombuffer(memory, np.uint8)  # every view holds a reference to it: it is gone when the last one is
        weakref.finalize(owner, self._free.append, memory).atexit = False
        return owner[:n_bytes]


class LocalTif:
    """Pages of a ScanImage tif on a local disk.

    Parameters
    ----------
    path
        The file. It is indexed on first use; see :class:`~meso_core.scanimage.ScanImageTif` for what is refused.
    """

    def __init__(self, path: str | os.PathLike[str] | ScanImageTif) -> None:
        self.path = path.path if isinstance(path, ScanImageTif) else Path(path)
        if isinstance(path, ScanImageTif):
            self.__dict__["tif"] = path

    @property
    def name(self) -> str:
        """File name."""
        return self.path.name

    @cached_property
    def tif(self) -> ScanImageTif:
        """Index of the file."""
        return ScanImageTif(self.path)

    @property
    def summary(self) -> TifSummary:
        """What the headers say."""
        t = self.tif
        shape = (t.page.height, t.page.width)
        first, last = int(t.frame_numbers[0]), int(t.frame_numbers[-1])
        return TifSummary(t.n_pages, shape, t.software, t.artist, first, last, epoch_of(t.description))

    def blocks(self, max_bytes: int = 1 << 25) -> Iterator[Block]:
        """Yield the pages; see :class:`TifSource`."""
        tif, page = self.tif, self.tif.page
        offsets, buffer = tif.data_offsets, _PageBuffers()
        n_block = max(1, max_bytes // page.data_bytes)
        with cast("FileIO", open_plain(self.path, buffering=0)) as file:
            for start in range(0, tif.n_pages, n_block):
                part = offsets[start : start + n_block]
                stride = int(part[1] - part[0]) if part.size > 1 else page.data_bytes
                # pages equally and closely spaced are read in one go, with what lies between them
                if stride < 2 * page.data_bytes and np.all(np.diff(part) == stride):
                    raw = buffer.take((part.size - 1) * stride + page.data_bytes)
                    self._read(file, raw, int(part[0]), start)
                else:
                    stride = page.data_bytes
                    raw = buffer.take(part.size * stride)
                    for i, offset in enumerate(part):
                        self._read(file, raw[i * stride : (i + 1) * stride], int(offset), start + i)
                shape = (part.size, page.height, page.width)
                block = np.ndarray(shape, page.dtype, raw, strides=(stride, 2 * page.width, 2))
                del raw
                yield _as_int16(block, self.name)
                del block

    def _read(self, file: FileIO, into: npt.NDArray[np.uint8], offset: int, index: int) -> None:
        view, done = into.data, 0
        file.seek(offset)
        while done < len(view):
            n = file.readinto(view[done:])
            if n == 0:
                raise _cut(self.path, index, offset + len(view), offset + done)
            done += n


class StreamedTif:
    """Pages of a ScanImage tif that arrives as a stream and cannot be read backwards (a member of an archive).

    Parameters
    ----------
    name
        Name of the tif.
    open_stream
        Opens the stream at the tif's first byte; only ``readinto`` is called. It is closed when the pages are read.
    """

    def __init__(self, name: str, open_stream: Callable[[], AbstractContextManager[ForwardStream]]) -> None:
        self.name = name
        self._open = open_stream
        #: What the headers say; None until all pages have been read.
        self.summary: TifSummary | None = None

    def blocks(self, max_bytes: int = 1 << 25) -> Iterator[Block]:
        """Yield the pages; see :class:`TifSource`.

        Raises
        ------
        InputFileError
            If the stream ends early, is no ScanImage tif, or is laid out so that it must be read backwards.
        """
        with self._open() as stream:
            yield from _Forward(self, stream).blocks(max_bytes)


class _Forward:
    """One pass over a stream: a window of what was read but is not pixels, and the position behind it."""

    def __init__(self, source: StreamedTif, stream: ForwardStream) -> None:
        self.source, self.stream = source, stream
        self.name = source.name
        self.window = bytearray()
        self.window_start = 0
        self.position = 0
        self.index = 0

    def fetch(self, offset: int, n_bytes: int) -> bytes:
        """Bytes of the file at or after the start of the window."""
        if offset < self.window_start:
            raise self._backwards(offset)
        missing = offset + n_bytes - self.position
        if missing > _MAX_GAP:
            raise _cut(self.name, self.index, offset + n_bytes, self.position)
        if missing > 0:
            self.window += self._take(missing)
        start = offset - self.window_start
        return bytes(self.window[start : start + n_bytes])

    def _backwards(self, offset: int) -> InputFileError:
        return InputFileError.at(
            self.name,
            field=f"page {self.index}",
            expected="a file laid out from front to back, as ScanImage writes it",
            found=f"a part at byte {offset} after what is at byte {self.position}",
            remedy="Bring the tifs back (`meso restore`) and process them from disk",
        )

    def _take(self, n_bytes: int) -> bytearray:
        data = bytearray(n_bytes)
        self._fill(memoryview(data))
        return data

    def _fill(self, into: memoryview) -> None:
        done = 0
        while done < len(into):
            n = self.stream.readinto(into[done:])
            if not n:
                raise _cut(self.name, self.index, self.position + len(into) - done, self.position)
            done += n
            self.position += n

    def blocks(self, max_bytes: int) -> Iterator[Block]:
        offset = first_directory(self.name, self.fetch(0, 16))
        page = read_page(self.name, 0, offset, self.fetch)
        software, artist = (decode_text(self.fetch(*at)) if at[1] else "" for at in (page.software, page.artist))
        check_scanimage(self.name, software)
        description = self.fetch(page.description_offset, page.description_bytes)
        first = number = parse_frame(self.name, 0, description)[0]
        n_block, buffer = max(1, max_bytes // page.data_bytes), _PageBuffers()
        more = True
        while more:
            raw = buffer.take(n_block * page.data_bytes)
            n = 0
            while more and n < n_block:
                number = self._page(page, raw, n)
                n, self.index = n + 1, self.index + 1
                more = page.next_offset != 0
                if more:
                    page = self._next(page)
            block = np.ndarray((n, page.height, page.width), page.dtype, raw)
            del raw
            yield _as_int16(block, self.name)
            del block
        shape = (page.height, page.width)
        epoch = epoch_of(decode_text(description))
        self.source.summary = TifSummary(self.index, shape, software, artist, first, number, epoch)

    def _page(self, page: Page, raw: npt.NDArray[np.uint8], n: int) -> int:
        """Read the description and the pixels of a page; return its frame number."""
        text = self.fetch(page.description_offset, page.description_bytes)
        number, _ = parse_frame(self.name, self.index, text)
        if page.data_offset < self.position:
            raise self._backwards(page.data_offset)
        self.fetch(page.data_offset, 0)
        self._fill(raw.data[n * page.data_bytes : (n + 1) * page.data_bytes])
        self.window, self.window_start = bytearray(), self.position
        return number

    def _next(self, page: Page) -> Page:
        following = read_page(self.name, self.index, page.next_offset, self.fetch)
        if following.layout != page.layout:
            found, expected = ("{} x {} px, {}".format(*p.layout) for p in (following, page))
            field = f"page {self.index}"
            remedy = "Move tifs of other recordings out of the bout's folder"
            raise InputFileError.at(self.name, field=field, expected=expected, found=found, remedy=remedy)
        return following


def _cut(name: str | os.PathLike[str], index: int, expected: int, found: int) -> InputFileError:
    return InputFileError.at(
        name,
        field=f"page {index}",
        expected=f"at least {expected} bytes",
        found=f"an end after {found} bytes",
        remedy="Copy the file from the rig again",
    )
