"""From pages to one binary movie per field of view.

What belongs here: the one streaming pass over the raw tifs that cuts each page into its FOVs, drops fly-back lines and
fly-back frames, and writes suite2p's raw binaries. What does not: motion registration.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..errors import InputFileError, MesoWarning, MetadataError, MissingInputError, StorageError, problem
from ..progress import Progress, silent
from ..session import plane_name
from .acquisition import AcquisitionCheck
from .bouts import local_bouts
from .layout import FovLayout, ImagingLayout
from .sources import Block, BoutSource, LocalTif

#: As many frames of int16 as a sum in int32 surely holds.
_MAX_RECENT = 1 << 15
#: A movie is brought to the disk in portions of this size, of which a few may wait.
_FLUSH_BYTES, _MAX_WAITING = 1 << 25, 8
#: About as much is read at a time; larger blocks fall out of the processor's cache.
_BLOCK_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class FovBinary:
    """The raw movie of one field of view: int16, frame after frame, rows of ``nx`` pixels."""

    #: 0-based, in the order of ``meta['FOV']``.
    fov: int
    #: ``planeN``.
    folder: Path
    #: Movie of the functional channel.
    path: Path
    #: Movie of the other channel, if two are saved.
    path_chan2: Path | None
    n_frames: int
    ny: int
    nx: int
    frames_per_bout: tuple[int, ...]
    #: Mean of the functional channel, float64, shape (ny, nx).
    mean: npt.NDArray[np.float64]
    #: Mean of the second channel.
    mean_chan2: npt.NDArray[np.float64] | None = None
    #: Movies of channels beyond two (``data_chan3_raw.bin`` …); suite2p has no use for them.
    paths_more: tuple[Path, ...] = ()


def bin_per_plane(
    bouts: Sequence[BoutSource] | str | os.PathLike[str],
    meta: dict[str, Any],
    out_folder: str | os.PathLike[str],
    *,
    progress: Progress = silent,
    block_bytes: int = _BLOCK_BYTES,
) -> tuple[FovBinary, ...]:
    """Cut the pages of a session into one int16 binary per field of view and channel.

    One pass over the pages in constant memory. The files are those of suite2p's own conversion, bit for bit
    (``data_raw.bin`` for the functional channel, ``data_chan2_raw.bin``); frames of different bouts follow each other.

    Parameters
    ----------
    bouts
        Sources of the pages by bout, or a session folder.
    meta
        Imaging metadata of the session; see :func:`~meso_core.scanimage.load_meta_files`.
    out_folder
        Where the folders ``plane0`` … go (``suite2p`` in the session). What is there stays until all is written.
    progress
        Told the pages done; the total is 0 where a source does not know it.
    block_bytes
        About how much is read at a time.

    Returns
    -------
    tuple of FovBinary
        In the order of ``meta['FOV']``. A recording stopped in the middle of a volume has one frame more in its
        first slices; a MesoWarning says so.

    Raises
    ------
    InputFileError
        If a tif is damaged, or of another recording.
    MetadataError
        If pages and metadata disagree.
    StorageError
        If the movies cannot be written.
    """
    if not isinstance(bouts, Sequence) or isinstance(bouts, str):
        bouts = local_bouts(Path(bouts))
    layout = ImagingLayout.from_meta(meta)
    movies = _Movies(layout, Path(out_folder))
    try:
        for bout in bouts:
            _split_bout(bout, layout, movies, progress, block_bytes)
        return movies.publish()
    except OSError as e:
        if isinstance(e, StorageError | MissingInputError):
            raise
        message = problem(out_folder, expected="room for the movies", found=str(e), remedy="Free space or set rights")
        raise StorageError(message) from e
    finally:
        movies.discard()


def _split_bout(
    bout: BoutSource,
    layout: ImagingLayout,
    movies: _Movies,
    progress: Progress,
    block_bytes: int,
) -> None:
    """Append the pages of one bout to the movies."""
    n_pages, check = 0, AcquisitionCheck(bout.name)
    tifs = tuple(bout.tifs) if isinstance(bout.tifs, Sequence) else bout.tifs
    total = _known_pages(tifs)
    for tif in tifs:
        check.before(tif)
        for block in tif.blocks(block_bytes):
            _check_shape(bout, tif.name, block, layout)
            movies.append(block, n_pages)
            n_pages += block.shape[0]
            progress(n_pages, total, f"pages of {bout.name} split")
        check.after(tif)
    _check_count(bout, layout, n_pages)
    movies.end_bout()


def _known_pages(tifs: Iterable[Any]) -> int:
    """Pages of a bout, 0 where that is not known before they are read."""
    if not isinstance(tifs, tuple) or not all(isinstance(t, LocalTif) for t in tifs):
        return 0
    return sum(t.tif.n_pages for t in tifs)


def _check_shape(bout: BoutSource, name: str, block: Block, layout: ImagingLayout) -> None:
    height, width = block.shape[1:]
    last = max(f.row_stop for f in layout.fovs)
    want = (layout.page_height or height, layout.page_width or layout.fovs[0].nx)
    if (height, width) != want or last > height:
        raise InputFileError(
            problem(
                f"{bout.name}/{name}",
                expected=f"pages of {want[0]} x {want[1]} px as in the metadata",
                found=f"{height} x {width} px",
                remedy="Move tifs of other recordings out of the bout's folder",
            )
        )


def _check_count(bout: BoutSource, layout: ImagingLayout, n_pages: int) -> None:
    """Compare the pages found with the metadata; tell of a volume that is not whole."""
    n_channels = layout.n_channels
    # files made by the rig's MATLAB code count the pages of all channels, newer ones frames
    if bout.n_frames is not None and n_pages not in (bout.n_frames, bout.n_frames * n_channels):
        raise MetadataError(
            problem(
                bout.name,
                field="nFrames",
                expected=f"{bout.n_frames} frames of {n_channels} channel(s), as the metadata say",
                found=f"{n_pages} pages in its tifs",
                remedy="Copy the missing tifs, or make the metadata again if the recording was cut on purpose",
            )
        )
    extra = n_pages % layout.pages_per_volume
    if extra:
        warnings.warn(
            f"{bout.name}: the last volume is not whole ({extra} of {layout.pages_per_volume} pages): "
            "the first slices have one frame more than the others",
            MesoWarning,
            stacklevel=4,
        )


@dataclass
class _Movie:
    """One file being written: a FOV in a channel."""

    fov: FovLayout
    #: Index of the first page of the first volume that belongs to it.
    first_page: int
    path: Path
    part: Path
    file: BinaryIO | None = None
    bout_frames: list[int] = field(default_factory=lambda: [0])
    #: Sum of the frames so far, and of the latest ones (int32 adds twice as fast).
    total: npt.NDArray[np.float64] = field(init=False)
    recent: npt.NDArray[np.int32] = field(init=False)
    n_recent: int = 0
    n_unflushed: int = 0

    def __post_init__(self) -> None:
        self.total = np.zeros((self.fov.ny, self.fov.nx))
        self.recent = np.zeros((self.fov.ny, self.fov.nx), np.int32)

    def open(self) -> BinaryIO:
        """File beside the final one; made on first use."""
        if self.file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self.part.open("wb", buffering=1 << 18)
        return self.file

    def close(self) -> None:
        """Close the file, if it is open."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def append(self, frame: Block) -> None:
        """Write a frame (rows of a page lie in one piece and need no copy) and add it to the mean image's sum.

        Sums of integers are exact. A second thread for them does not pay: the frame is in the processor's cache now.
        """
        self.open().write(frame.data)
        np.add(self.recent, frame, out=self.recent)
        self.bout_frames[-1] += 1
        self.n_recent += 1
        self.n_unflushed += frame.nbytes
        if self.n_recent == _MAX_RECENT:
            self._fold()

    def _fold(self) -> None:
        self.total += self.recent
        self.recent[...] = 0
        self.n_recent = 0

    def mean(self) -> npt.NDArray[np.float64]:
        """Mean image; NaN without frames."""
        self._fold()
        n = sum(self.bout_frames)
        return self.total / n if n else np.full(self.total.shape, np.nan)


class _Flusher:
    """Brings what is written to the disk while more is being read.

    Waiting for the disk only at the end would take as long again, and let unwritten data fill the memory.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def start(self, file: BinaryIO) -> None:
        """Begin to flush a file; wait if the disk is far behind."""
        self._waiting.append(self._thread.submit(os.fsync, file.fileno()))
        if len(self._waiting) > _MAX_WAITING:
            self._waiting.popleft().result()

    def close(self) -> None:
        """Wait for all; nothing is flushed after that."""
        self._thread.shutdown()

    def finish(self) -> None:
        """Wait for all, and raise what went wrong."""
        while self._waiting:
            self._waiting.popleft().result()


class _Movies:
    """All files of a run. They get their names only when the last page is written."""

    def __init__(self, layout: ImagingLayout, out_folder: Path) -> None:
        self.layout, self.out_folder, self.flusher = layout, out_folder, _Flusher()
        self.by_fov = [[self._movie(fov, c) for c in self._channel_order()] for fov in layout.fovs]
        self.movies = [m for movies in self.by_fov for m in movies]

    def _channel_order(self) -> list[int]:
        """Channels by index into the pages of a frame, the functional one first."""
        first = self.layout.functional_channel
        return [first, *(c for c in range(self.layout.n_channels) if c != first)]

    def _movie(self, fov: FovLayout, channel: int) -> _Movie:
        rank = self._channel_order().index(channel)
        name = "data_raw.bin" if rank == 0 else f"data_chan{rank + 1}_raw.bin"
        path = self.out_folder / plane_name(fov.index) / name
        first_page = fov.slice_index * self.layout.n_channels + channel
        return _Movie(fov, first_page, path, path.with_name(name + ".part"))

    def append(self, block: Block, n_before: int) -> None:
        """Write a block of pages, the first of which is page ``n_before`` of the bout."""
        per_volume = self.layout.pages_per_volume
        for movie in self.movies:
            first = (movie.first_page - n_before) % per_volume
            for page in block[first::per_volume]:
                movie.append(page[movie.fov.row_start : movie.fov.row_stop])
            if movie.n_unflushed > _FLUSH_BYTES:
                self.flusher.start(movie.open())
                movie.n_unflushed = 0

    def end_bout(self) -> None:
        for movie in self.movies:
            movie.bout_frames.append(0)

    def publish(self) -> tuple[FovBinary, ...]:
        """Flush all files, then give them their names."""
        self.flusher.finish()
        for movie in self.movies:
            file = movie.open()
            file.flush()
            os.fsync(file.fileno())
            movie.close()
        for movie in self.movies:
            movie.part.replace(movie.path)
        return tuple(self._result(movies) for movies in self.by_fov)

    @staticmethod
    def _result(movies: list[_Movie]) -> FovBinary:
        main, *others = movies
        fov = main.fov
        frames = tuple(main.bout_frames[:-1])
        second = others[0] if others else None
        return FovBinary(
            fov=fov.index,
            folder=main.path.parent,
            path=main.path,
            path_chan2=second.path if second else None,
            n_frames=sum(frames),
            ny=fov.ny,
            nx=fov.nx,
            frames_per_bout=frames,
            mean=main.mean(),
            mean_chan2=second.mean() if second else None,
            paths_more=tuple(m.path for m in others[1:]),
        )

    def discard(self) -> None:
        """Remove what is not published."""
        self.flusher.close()
        for movie in self.movies:
            movie.close()
            movie.part.unlink(missing_ok=True)
