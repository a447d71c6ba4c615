"""The binary movies while they are being written.

What belongs here: files that get their names only when all are complete, flushed to disk as they grow, and the mean
images that come along. What does not: where the frames come from.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from ...errors import StorageError
from ...session import plane_name
from ...storage.files.atomic import make_folder, part_path, storage_errors
from ..layout import FovLayout, ImagingLayout
from .placement import Places
from .sources import Block

#: A sum in int32 holds this many int16 frames without overflow.
_MAX_RECENT = 1 << 15
#: A movie is flushed to disk in portions of this size; a few may wait.
_FLUSH_BYTES, _MAX_WAITING = 1 << 25, 8
#: Movies of a FOV, that of the channel that shows activity first; suite2p takes two.
_NAMES = ("data_raw.bin", "data_chan2_raw.bin")


@dataclass(frozen=True, slots=True)
class FovBinary:
    """The raw movie of one field of view: int16, frame after frame, rows of ``nx`` pixels."""

    #: 0-based, in the order of the metadata's FOVs.
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


@dataclass
class Movie:
    """One file being written: a FOV in a channel."""

    fov: FovLayout
    #: Index of its channel among the pages of a frame.
    channel: int
    path: Path
    part: Path
    file: BinaryIO | None = None
    started: bool = False
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
            make_folder(self.path.parent)
            for left in {*self.path.parent.glob(f".{self.path.name}.*.part")} - {self.part}:
                left.unlink()  # of a run that was killed
            self.file, self.started = self.part.open("wb", buffering=1 << 18), True
        return self.file

    def close(self) -> None:
        """Close the file, if it is open."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def append(self, frame: Block) -> None:
        """Write a frame (whole rows of a page lie in one piece and need no copy) and add it to the mean image's sum.

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
    """Flushes to disk what is written, while more is being read.

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


class Movies:
    """All movies of a session. They get their names only when the last page is written."""

    def __init__(self, layout: ImagingLayout, out_folder: Path) -> None:
        self.layout, self.out_folder, self.flusher = layout, out_folder, _Flusher()
        self.by_fov = [
            [self._movie(fov, channel, name) for channel, name in zip(layout.channels_of(fov), _NAMES, strict=False)]
            for fov in layout.fovs
        ]
        self.movies = [m for movies in self.by_fov for m in movies]
        #: Movies of which a page holds frames, by slice and channel.
        self.by_page: dict[tuple[int, int], list[Movie]] = {}
        for movie in self.movies:
            self.by_page.setdefault((movie.fov.slice_index, movie.channel), []).append(movie)

    def _movie(self, fov: FovLayout, channel: int, name: str) -> Movie:
        path = self.out_folder / plane_name(fov.index) / name
        return Movie(fov, channel, path, part_path(path))

    def append(self, pages: Iterable[Block], slices: Places, channels: Places) -> None:
        """Write pages.

        Parameters
        ----------
        pages
            Pages, each (height, width).
        slices
            Slice that each page shows; -1 where it shows none, or is not of a frame that is used.
        channels
            Index of the channel of each page.
        """
        with storage_errors(self.out_folder):
            self._append(pages, slices, channels)

    def _append(self, pages: Iterable[Block], slices: Places, channels: Places) -> None:
        for page, where in zip(pages, zip(slices.tolist(), channels.tolist(), strict=True), strict=True):
            for movie in self.by_page.get(where, ()):
                movie.append(np.ascontiguousarray(page[movie.fov.row_start : movie.fov.row_stop, : movie.fov.nx]))
        for movie in self.movies:
            if movie.n_unflushed > _FLUSH_BYTES:
                self.flusher.start(movie.open())
                movie.n_unflushed = 0

    def check_room(self, frames: Places) -> None:
        """Raise StorageError if the movies of frames at so many places do not fit the disk; older ones take room."""
        by_slice = np.bincount(self.layout.slices_of(frames) + 1, minlength=self.layout.n_slices + 1)
        needed = int(sum(2 * m.fov.ny * m.fov.nx * by_slice[m.fov.slice_index + 1] for m in self.movies))
        existing = next(p for p in (self.out_folder, *self.out_folder.absolute().parents) if p.exists())
        free = shutil.disk_usage(existing).free
        if needed > free:
            found, remedy = f"{free / 1e9:.1f} GB", "Free space, or choose another disk for the movies"
            expected = f"{needed / 1e9:.1f} GB of free space"
            raise StorageError.at(self.out_folder, expected=expected, found=found, remedy=remedy)

    def end_bout(self) -> None:
        """Begin to count the frames of the next bout."""
        for movie in self.movies:
            movie.bout_frames.append(0)

    def empty_fovs(self) -> tuple[str, ...]:
        """Names of the FOVs that have no frame so far."""
        return tuple(m.fov.name for m in self.movies if not any(m.bout_frames))

    def publish(self) -> tuple[FovBinary, ...]:
        """Flush all files, then give them their names."""
        with storage_errors(self.out_folder):
            self._publish()
        return tuple(self._result(movies) for movies in self.by_fov)

    def _publish(self) -> None:
        self.flusher.finish()
        for movie in self.movies:
            file = movie.open()
            file.flush()
            os.fsync(file.fileno())
            movie.close()
        for movie in self.movies:
            movie.part.replace(movie.path)

    @staticmethod
    def _result(movies: list[Movie]) -> FovBinary:
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
        )

    def discard(self) -> None:
        """Remove what is not published."""
        self.flusher.close()
        for movie in self.movies:
            # on a full disk even closing fails, which does not matter for a file that is removed
            with suppress(OSError):
                movie.close()
            if movie.started:
                movie.part.unlink(missing_ok=True)
