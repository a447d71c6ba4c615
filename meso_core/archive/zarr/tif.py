"""One tif of `imaging.frames.zarr` as a source of pages.

What belongs here: its headers, without unpacking a pixel, and its pages, hashed on the way. What does not: the layout
of the folder (``frames``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np

from ...errors import InputFileError
from ...scanimage import PageBlock, ScanImageTif, TifSummary
from ...scanimage.frames.sources import summary_of
from ...scanimage.tiff.ifd import DamagedTifError, Heads
from ..rawtif import other_content
from .frames import OTHER_CHUNK, FramesFolder, RebuiltTif
from .shards import damaged


class ZarrTif:
    """Pages of one tif of an archive folder; a :class:`~meso_core.scanimage.frames.sources.TifSource`.

    Parameters
    ----------
    folder
        The archive.
    index
        Number of the tif.
    sha256
        Of the tif, as it was recorded; by default as the folder itself says.
    workers
        Cores that unpack; all by default.
    """

    is_indexed = True

    def __init__(
        self, folder: FramesFolder, index: int, *, sha256: str | None = None, workers: int | None = None
    ) -> None:
        self._folder, self._index, self._workers = folder, index, workers
        self._expected = folder.members[index].sha256 if sha256 is None else sha256

    @property
    def name(self) -> str:
        """Name of the tif, as the rig wrote it."""
        return self._folder.members[self._index].name

    @cached_property
    def tif(self) -> ScanImageTif:
        """Index of the tif.

        Raises
        ------
        ArchiveError
            If its headers are not those of as many pages as the folder holds.
        """
        bytes_of = _WithoutPixels(self._folder, self._index)
        try:
            tif = ScanImageTif(Path(self.name), bytes_of)
        except InputFileError as error:
            raise damaged(self._folder.path, f"headers that cannot be read: {error}") from error
        if not np.array_equal(tif.data_offsets, bytes_of.data_offsets):
            raise damaged(
                self._folder.path, f"{bytes_of.data_offsets.size} pages of {self.name}, not those of its headers"
            )
        return tif

    @property
    def summary(self) -> TifSummary | None:
        """What the headers say."""
        return summary_of(self.tif)

    @property
    def damage(self) -> DamagedTifError | None:
        """Where the tif ended early or broke off when it was archived."""
        return self.tif.damage

    def heads(self) -> Iterator[Heads]:
        """Yield what the pages say of themselves."""
        yield self.tif.heads

    def blocks(self, max_bytes: int = 1 << 25) -> Iterator[PageBlock]:
        """Yield pages in file order, at most about ``max_bytes``.

        The tif is rebuilt and hashed on the way, in a thread: checksums show damage, but only the hash shows that
        somebody changed a pixel.

        Raises
        ------
        ArchiveError
            If a shard is damaged, or, after the last page, if this is not the tif that was archived.
        """
        rebuilt, sha256, heads, done = RebuiltTif(self._folder, self._index), hashlib.sha256(), self.tif.heads, 0
        first = self._folder.first_page(self._index)
        stop = first + self._folder.members[self._index].n_pages
        pages = max(1, max_bytes // (2 * self._folder.shape[1] * self._folder.shape[2]))
        with ThreadPoolExecutor(1, thread_name_prefix="sha256") as thread:
            for block in self._folder.blocks(first, stop, workers=self._workers):
                hashed = thread.submit(_hash_all, sha256, rebuilt.pages(block))
                for start in range(0, len(block), pages):
                    part = block[start : start + pages]
                    yield PageBlock(part, heads[done : done + len(part)])
                    done += len(part)
                hashed.result()
        _hash_all(sha256, rebuilt.rest())
        if sha256.hexdigest() != self._expected:
            raise other_content(self._folder.path, self.name)


class _WithoutPixels:
    """The bytes of a tif in an archive folder, with zeros where pixels are; a chunk of them is held in memory."""

    def __init__(self, folder: FramesFolder, index: int) -> None:
        self._rebuilt = RebuiltTif(folder, index)
        self.data_offsets = self._rebuilt.data_offsets
        self._page_bytes = 2 * folder.shape[1] * folder.shape[2]
        self._size, self._position = folder.members[index].size, 0
        self._window, self._window_start = np.empty(0, np.uint8), 0
        if np.any(np.diff(self.data_offsets, prepend=-self._page_bytes, append=self._size) < self._page_bytes):
            raise damaged(folder.path, f"pages of {folder.members[index].name} at impossible places")

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place, from the start or from the end."""
        self._position = offset + (self._size if whence == 2 else 0)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        left = max(self._size - self._position, 0)
        data = bytearray(left if size < 0 else min(size, left))
        self.readinto(memoryview(data))
        return bytes(data)

    def readinto(self, buffer: memoryview, /) -> int:
        """Put the next bytes into a buffer."""
        done = 0
        while done < len(buffer) and self._position < self._size:
            n = self._piece(buffer[done:])
            done, self._position = done + n, self._position + n
        return done

    def _piece(self, into: memoryview) -> int:
        at = self._position
        page = int(np.searchsorted(self.data_offsets, at, side="right"))
        pixels_end = int(self.data_offsets[page - 1]) + self._page_bytes if page else 0
        if at < pixels_end:
            n = min(len(into), pixels_end - at)
            into[:n] = bytes(n)
            return n
        end = int(self.data_offsets[page]) if page < self.data_offsets.size else self._size
        start = at - page * self._page_bytes
        if not self._window_start <= start < self._window_start + self._window.size:
            self._window, self._window_start = self._rebuilt.read_other(start, start + OTHER_CHUNK), start
        piece = self._window[start - self._window_start :][: min(len(into), end - at)]
        into[: piece.size] = piece.data
        return int(piece.size)


def _hash_all(sha256: hashlib._Hash, pieces: Iterable[memoryview]) -> None:
    for piece in pieces:
        sha256.update(piece)
