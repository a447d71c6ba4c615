"""`imaging.frames.zarr`: the frames of a bout for random access, and every byte of its tifs that is not a pixel.

What belongs here: the layout of that folder, writing, reading and verifying it. The layout is plain Zarr v3:

- ``frames``: int16 (n_pages, height, width), all pages of the bout in order, packed by the numeric codec pcodec with a
  CRC-32C; ``zarr.open_group(path)["frames"][100:200]`` reads it (packages zarr, numcodecs and pcodec)
- ``tifs/00000/data_offsets``: int64 (n_pages of that tif,), where in the tif the pixels of each page begin
- ``tifs/00000/other_bytes``: uint8, the bytes between, before and after them (headers, directories, descriptions)
- attribute ``tifs``: name, size, time and hashes of each tif

Chunks are packed and unpacked here on all cores, without zarr's own scheduler, and end up as zarr would write them.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ArchiveError, problem
from ..scanimage import ScanImageTif
from .bzip2 import default_workers
from .report import ArchiveMember
from .tape import check_name

#: pcodec level: 6 packs a third faster than the default 8 and is 1 % larger on photon noise.
LEVEL = 6
CHUNK_BYTES = 16 << 20
LAYOUT_VERSION = 1
#: Unpacking more than this from an archive's own claim is refused.
_LARGEST_CHUNK = 1 << 30

#: What zarr raises for a damaged folder.
_ZARR_ERRORS = (ValueError, KeyError, TypeError, AttributeError, OSError, RuntimeError, NotImplementedError)

Frames = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class FramesFolder:
    """An opened archive folder: what it holds and how it is cut."""

    path: Path
    members: tuple[ArchiveMember, ...]
    #: (n_pages, height, width)
    shape: tuple[int, int, int]
    #: Pages per chunk.
    chunk_pages: int

    def first_page(self, index: int) -> int:
        """Page of ``frames`` at which a tif begins."""
        return sum(m.n_frames for m in self.members[:index])

    def blocks(self, start: int, stop: int, *, workers: int | None = None) -> Iterator[Frames]:
        """Yield pages ``start`` to ``stop`` chunk by chunk, unpacked ahead on several cores.

        Yields
        ------
        ndarray of int16, shape (n, height, width)

        Raises
        ------
        ArchiveError
            If a chunk is missing or damaged.
        """
        n_workers = workers or default_workers()
        ahead: deque[tuple[int, Future[Frames]]] = deque()
        with ThreadPoolExecutor(n_workers, thread_name_prefix="pcodec") as pool:
            for chunk in range(start // self.chunk_pages, -(-stop // self.chunk_pages)):
                ahead.append((chunk, pool.submit(self._chunk, chunk)))
                if len(ahead) > n_workers:
                    yield self._cut(*ahead.popleft(), start, stop)
            while ahead:
                yield self._cut(*ahead.popleft(), start, stop)

    def tif_bytes(self, index: int, *, workers: int | None = None) -> Iterator[memoryview]:
        """Yield the bytes of a tif as the rig wrote them, piece by piece."""
        offsets, other = (
            self._small(index, "data_offsets", "<i8"),
            memoryview(self._small(index, "other_bytes", "u1").tobytes()),
        )
        first, n_pages = self.first_page(index), self.members[index].n_frames
        if offsets.size != n_pages:
            raise _damaged(self.path, f"{offsets.size} offsets for {n_pages} pages of {self.members[index].name}")
        position = page = used = 0
        for block in self.blocks(first, first + n_pages, workers=workers):
            for pixels in block:
                gap = int(offsets[page]) - position
                if gap < 0 or used + gap > len(other):
                    raise _damaged(self.path, f"page {page} of {self.members[index].name} at an impossible place")
                yield other[used : used + gap]
                yield memoryview(pixels).cast("B")
                used, position, page = used + gap, position + gap + pixels.nbytes, page + 1
        yield other[used:]

    def _chunk(self, chunk: int) -> Frames:
        from pcodec import standalone

        file = self.path / "frames" / "c" / str(chunk) / "0" / "0"
        try:
            packed = file.read_bytes()
        except OSError as error:
            raise _damaged(self.path, f"no chunk {chunk} ({error.strerror})") from error
        if len(packed) < 4 or crc32c_of(packed[:-4]) != packed[-4:]:
            raise _damaged(self.path, f"other bytes than were written in chunk {chunk}")
        pages = np.empty((self.chunk_pages, *self.shape[1:]), np.int16)
        try:
            done = standalone.simple_decompress_into(packed[:-4], pages.reshape(-1))
        except (RuntimeError, ValueError, TypeError) as error:
            raise _damaged(self.path, f"chunk {chunk} that is not pcodec ({error})") from error
        if done.n_processed != pages.size or not done.finished:
            raise _damaged(self.path, f"{done.n_processed} values in chunk {chunk}")
        return pages

    def _cut(self, chunk: int, pages: Future[Frames], start: int, stop: int) -> Frames:
        begin = chunk * self.chunk_pages
        return pages.result()[max(start - begin, 0) : stop - begin]

    def _small(self, index: int, name: str, dtype: str) -> npt.NDArray[Any]:
        import zarr

        member = self.members[index]
        try:
            array = zarr.open_array(self.path / "tifs" / f"{index:05d}" / name, mode="r")
            fits = array.ndim == 1 and array.size <= member.size  # no more is read than an honest archive holds
            values = np.asarray(array[:] if fits else []).astype(dtype, copy=False)
        except _ZARR_ERRORS as error:
            raise _damaged(self.path, f"no readable {name} of {member.name} ({error})") from error
        if not fits:
            raise _damaged(self.path, f"{array.size} values of {name} for {member.name}")
        return values


class ZarrTif:
    """Pages of one tif of an archive folder; a :class:`~meso_core.scanimage.sources.TifSource`."""

    def __init__(self, folder: FramesFolder, index: int) -> None:
        self._folder, self._index = folder, index

    @property
    def name(self) -> str:
        """Name of the tif, as the rig wrote it."""
        return self._folder.members[self._index].name

    def blocks(self, max_bytes: int = 1 << 25) -> Iterator[Frames]:
        """Yield pages in file order, shape (n_pages, page_height, page_width), at most about ``max_bytes``."""
        first = self._folder.first_page(self._index)
        pages = max(1, max_bytes // (2 * self._folder.shape[1] * self._folder.shape[2]))
        for block in self._folder.blocks(first, first + self._folder.members[self._index].n_frames):
            for start in range(0, len(block), pages):
                yield block[start : start + pages]


def why_not_zarr(tifs: Sequence[ScanImageTif]) -> str:
    """Say why the tifs of a bout do not fit the folder's layout; empty if they do."""
    first = tifs[0].page
    for tif in tifs:
        if tif.page.layout != first.layout:
            return f"{tif.path.name} has pages of {tif.page.layout}, {tifs[0].path.name} of {first.layout}"
        if tif.page.dtype != np.dtype("<i2"):
            return f"{tif.path.name} has {tif.page.dtype} pixels, not int16"
        if np.any(np.diff(tif.data_offsets) < tif.page.data_bytes):
            return f"{tif.path.name} has pages that are not in order in the file"
    return ""


def open_frames(path: Path) -> FramesFolder:
    """Open an archive folder.

    Raises
    ------
    ArchiveError
        If it is not one, or is one of a newer layout.
    """
    import zarr

    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zarr warns that pcodec is not in its specification yet
            frames: Any = group["frames"]
        attributes: dict[str, Any] = group.attrs.asdict()
        version = attributes["layout_version"]
        members = tuple(ArchiveMember(**member) for member in attributes["tifs"])
        folder = FramesFolder(path, members, tuple(frames.shape), frames.chunks[0])
        n_pages, height, width = folder.shape
        fits = sum(m.n_frames for m in members) == n_pages and frames.dtype == np.int16
    except _ZARR_ERRORS as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if version != LAYOUT_VERSION:
        raise _damaged(path, f"layout version {version}")
    if not fits or 2 * folder.chunk_pages * height * width > _LARGEST_CHUNK:
        raise _damaged(path, f"{frames.dtype} frames of shape {folder.shape} for {len(members)} tifs")
    names = [member.name for member in members]
    if len(set(names)) < len(names):
        raise _damaged(path, "the name of a tif twice")
    for name in names:
        check_name(name, str(path))
    return folder


def crc32c_of(packed: bytes) -> bytes:
    """CRC-32C of a chunk, as Zarr's codec of that name appends it."""
    from google_crc32c import value

    return int(value(packed)).to_bytes(4, "little")


def _damaged(path: Path, what: str) -> ArchiveError:
    return ArchiveError(
        problem(
            path,
            expected="a whole archive of frames",
            found=what,
            remedy="Restore this folder from a copy, or archive the tifs again while they exist",
        )
    )
