"""Pages of a bout as a stream of arrays, wherever they are stored.

What belongs here: reading pixels forward, from a file or from a stream that cannot go back. What does not: which
rows of a page belong to whom.
"""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from ...errors import InputFileError, MesoWarning
from ...opening import open_plain
from ..tiff.ifd import DamagedTifError, Heads
from ..tiff.pages import Index, ScanImageTif

Block = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True, eq=False)
class PageBlock:
    """Some pages of a tif that follow each other, and what each says of itself."""

    #: (n_pages, page_height, page_width) i2.
    pixels: Block
    #: (n_pages,) of :data:`~meso_core.scanimage.tiff.ifd.HEAD`.
    heads: Heads


class TifSource(Protocol):
    """Something that gives the pages of one tif, in order."""

    @property
    def name(self) -> str:
        """Name of the tif, as the rig wrote it."""

    @property
    def is_indexed(self) -> bool:
        """Whether :meth:`heads` and the headers are known without reading the pixels."""

    @property
    def summary(self) -> TifSummary | None:
        """What the headers say; None before they are read, and where the tif has no whole page."""

    @property
    def damage(self) -> DamagedTifError | None:
        """Where the tif ends early or breaks off; known once its pages are read."""

    def heads(self) -> Iterator[Heads]:
        """Yield what the whole pages say of themselves, in file order, without their pixels."""

    def blocks(self, max_bytes: int) -> Iterator[PageBlock]:
        """Yield whole pages in file order, about ``max_bytes`` at a time.

        The pixels are their consumer's for as long as they, or a view of them, are kept: they never change.
        """


@dataclass(frozen=True, slots=True)
class TifSummary:
    """What the headers of one tif say, for telling whether tifs belong together."""

    n_pages: int
    page_shape: tuple[int, int]
    software: str
    artist: str
    #: Date and time of the acquisition's start, as ScanImage wrote it.
    epoch: str


@dataclass(frozen=True, slots=True, eq=False)
class BoutSource:
    """The tifs of one imaging bout."""

    #: Folder name of the bout, as in ``raw_imaging_data_00``.
    name: str
    tifs: Iterable[TifSource]
    #: Pages that the metadata of the bout promise (``nFrames``; see :func:`fits_promise`); None: not checked.
    n_pages: int | None = None
    #: (n_frames,) i8, places of the frames that the session's metadata list; None: what the pages say is taken.
    frames: npt.NDArray[np.int64] | None = None


def fits_promise(n_pages: int, promised: int, n_channels: int) -> bool:
    """Whether a bout has the pages that ``nFrames`` of its metadata promises.

    The rig counts the pages of all channels; some metadata count frames, and a frame has a page per channel.
    """
    return n_pages in (promised, promised * n_channels)


def epoch_of(description: str) -> str:
    """Start of the acquisition as its frame descriptions tell it."""
    return next((line.partition("=")[2].strip() for line in description.splitlines() if line.startswith("epoch")), "")


def summary_of(tif: ScanImageTif) -> TifSummary | None:
    """Summarise the headers of a tif; None where it has no whole page."""
    if not tif.n_pages:
        return None
    shape = tif.page.height, tif.page.width
    return TifSummary(tif.n_pages, shape, tif.software, tif.artist, epoch_of(tif.description))


def as_int16(block: npt.NDArray[Any], name: str) -> Block:
    """Pixels as int16; unsigned ones are halved, as suite2p does."""
    if block.dtype == np.dtype("<u2"):
        warnings.warn(f"{name}: pixels are uint16; they are halved to fit int16, as suite2p does", MesoWarning, 3)
        return (block // 2).astype(np.int16)
    return block.view(np.int16)


class PageBuffers:
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
    index
        Makes the index, where the headers are not read from the file itself.
    """

    is_indexed = True

    def __init__(self, path: str | os.PathLike[str] | ScanImageTif, index: Index = ScanImageTif) -> None:
        self.path, self._index = path.path if isinstance(path, ScanImageTif) else Path(path), index
        if isinstance(path, ScanImageTif):
            self.__dict__["tif"] = path

    @property
    def name(self) -> str:
        """File name."""
        return self.path.name

    @cached_property
    def tif(self) -> ScanImageTif:
        """Index of the file."""
        return self._index(self.path)

    @property
    def summary(self) -> TifSummary | None:
        """What the headers say; None where the tif has no whole page."""
        return summary_of(self.tif)

    @property
    def damage(self) -> DamagedTifError | None:
        """Where the tif ends early or breaks off."""
        return self.tif.damage

    def heads(self) -> Iterator[Heads]:
        """Yield what the pages say of themselves."""
        yield self.tif.heads

    def blocks(self, max_bytes: int = 1 << 25) -> Iterator[PageBlock]:
        """Yield the pages; see :class:`TifSource`."""
        tif = self.tif
        if not tif.n_pages:
            return
        page, offsets, buffer = tif.page, tif.data_offsets, PageBuffers()
        n_block = max(1, max_bytes // page.data_bytes)
        with cast("FileIO", open_plain(self.path, buffering=0)) as file:
            for start in range(0, tif.n_pages, n_block):
                part = offsets[start : start + n_block]
                stride = int(part[1] - part[0]) if part.size > 1 else page.data_bytes
                # pages equally and closely spaced are read in one go, with what lies between them
                if 0 <= stride < 2 * page.data_bytes and np.all(np.diff(part) == stride):
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
                yield PageBlock(as_int16(block, self.name), tif.heads[start : start + n_block])
                del block

    def _read(self, file: FileIO, into: npt.NDArray[np.uint8], offset: int, index: int) -> None:
        view, done = into.data, 0
        file.seek(offset)
        while done < len(view):
            n = file.readinto(view[done:])
            if n == 0:
                found = f"an end after {offset + done} bytes: it is shorter than when its headers were read"
                expected = f"at least {offset + len(view)} bytes"
                remedy = "Wait until the copy from the rig has finished, then run again"
                raise InputFileError.at(self.path, field=f"page {index}", expected=expected, found=found, remedy=remedy)
            done += n
