"""Pages of a tif that arrives as a stream which cannot go back, such as a member of an archive.

What belongs here: finding headers, descriptions and pixels on the way. What does not: where the stream comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from ...errors import InputFileError
from ..tiff.ifd import (
    FRAME,
    HEAD,
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
from .sources import PageBlock, PageBuffers, TifSummary, as_int16, epoch_of

#: Headers and descriptions between pixels are far smaller.
_MAX_GAP = 1 << 26


class ForwardStream(Protocol):
    """A stream of bytes that need not be able to go back."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Put the next bytes into a buffer; returns how many, none only at the end."""


class StreamedTif:
    """Pages of a ScanImage tif that arrives as a stream and cannot be read backwards (a member of an archive).

    Parameters
    ----------
    name
        Name of the tif.
    open_stream
        Opens the stream at the tif's first byte; only ``readinto`` is called. It is closed when the pages are read.
    """

    is_indexed = False

    def __init__(self, name: str, open_stream: Callable[[], AbstractContextManager[ForwardStream]]) -> None:
        self.name = name
        self._open = open_stream
        #: What the headers say, and where the stream ended early; None until all pages have been read.
        self.summary: TifSummary | None = None
        self.damage: DamagedTifError | None = None

    def heads(self) -> Iterator[Heads]:
        """Yield what the pages say of themselves; the stream is read to its end for it."""
        return (block.heads for block in self.blocks())

    def blocks(self, max_bytes: int = 1 << 25) -> Iterator[PageBlock]:
        """Yield the pages; see :class:`~meso_core.scanimage.TifSource`.

        Raises
        ------
        InputFileError
            If the stream is no ScanImage tif, or is laid out so that it must be read backwards.
        """
        self.summary = self.damage = None
        try:
            # the stream is told of the damage, since it may be its own
            with self._open() as stream:
                yield from _Forward(self, stream).blocks(max_bytes)
        except DamagedTifError as damage:
            self.damage = damage


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
            raise self._cut(offset + n_bytes)
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
                raise self._cut(self.position + len(into) - done)
            done += n
            self.position += n

    def blocks(self, max_bytes: int) -> Iterator[PageBlock]:
        """Yield whole pages; what ends the stream early is raised after them."""
        offset = first_directory(self.name, self._head())
        page: Page | None = read_page(self.name, 0, offset, self.fetch)
        assert page is not None
        software, artist = (decode_text(self.fetch(*at)) if at[1] else "" for at in (page.software, page.artist))
        check_scanimage(self.name, software)
        description = self.fetch(page.description_offset, page.description_bytes)
        first_frame(self.name, description)
        shape, dtype, n_bytes = (page.height, page.width), page.dtype, page.data_bytes
        n_block, buffer = max(1, max_bytes // n_bytes), PageBuffers()
        damage: DamagedTifError | None = None
        while page is not None and damage is None:
            raw, heads = buffer.take(n_block * n_bytes), np.zeros(n_block, HEAD)
            n = 0
            try:
                while page is not None and n < n_block:
                    heads[n] = self._page(page, raw, n)
                    n, self.index = n + 1, self.index + 1
                    page = self._next(page) if page.next_offset else None
            except DamagedTifError as error:
                damage = error
            block = np.ndarray((n, *shape), dtype, raw)
            del raw
            if n:
                yield PageBlock(as_int16(block, self.name), heads[:n])
            del block
        if self.index:
            epoch = epoch_of(decode_text(description))
            self.source.summary = TifSummary(self.index, shape, software, artist, epoch)
        if damage is not None:
            raise damage

    def _head(self) -> bytes:
        """First bytes of the file; fewer where it has no more."""
        while self.position < 16:
            part = bytearray(16 - self.position)
            n = self.stream.readinto(memoryview(part))
            if not n:
                break
            self.window += part[:n]
            self.position += n
        return bytes(self.window)

    def _page(self, page: Page, raw: np.ndarray[tuple[int], np.dtype[np.uint8]], n: int) -> tuple[int, int, float]:
        """Read the description and the pixels of a page; return its head."""
        text = self.fetch(page.description_offset, page.description_bytes)
        if page.data_offset < self.position:
            raise self._backwards(page.data_offset)
        self.fetch(page.data_offset, 0)
        self._fill(raw.data[n * page.data_bytes : (n + 1) * page.data_bytes])
        self.window, self.window_start = bytearray(), self.position
        return parse_frame(FRAME.search(text))

    def _next(self, page: Page) -> Page:
        following = read_page(self.name, self.index, page.next_offset, self.fetch)
        if following.layout != page.layout:
            found, expected = ("{} x {} px, {}".format(*p.layout) for p in (following, page))
            raise odd_page(self.name, self.index, expected + " as page 0", found)
        return following

    def _cut(self, expected: int) -> DamagedTifError:
        found = f"a file cut off at {self.position} bytes"
        return DamagedTifError(self.name, self.index, f"at least {expected} bytes", found)
