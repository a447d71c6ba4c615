"""From pages to one binary movie per field of view.

What belongs here: the one streaming pass over the raw tifs that cuts each page into its FOVs, drops fly-back lines and
fly-back frames, and writes suite2p's raw binaries. What does not: motion registration.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
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

#: About as much is read at a time; larger blocks fall out of the processor's cache.
_BLOCK_BYTES = 1 << 24


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
        with ThreadPoolExecutor(1) as helper:
            for bout in bouts:
                _split_bout(bout, layout, movies, progress, block_bytes, helper)
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
    helper: ThreadPoolExecutor,
) -> None:
    """Append the pages of one bout to the movies."""
    n_pages, check = 0, AcquisitionCheck(bout.name)
    tifs = tuple(bout.tifs) if isinstance(bout.tifs, Sequence) else bout.tifs
    total = _known_pages(tifs)
    for tif in tifs:
        check.before(tif)
        for block in tif.blocks(block_bytes):
            _check_shape(bout, tif.name, block, layout)
            movies.append(block, n_pages, helper)
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
    total: npt.NDArray[np.int64] | None = None

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

    def write(self, pages: Block) -> None:
        """Append frames: the FOV's rows of its pages, which lie in one piece and need no copy."""
        file = self.open()
        for page in pages:
            file.write(page[self.fov.row_start : self.fov.row_stop].data)
        self.bout_frames[-1] += len(pages)

    def add(self, pages: Block) -> None:
        """Add frames to the sum for the mean image. Sums of integers are exact, whatever the block size."""
        rows = pages[:, self.fov.row_start : self.fov.row_stop]
        if self.total is None:
            self.total = np.zeros(rows.shape[1:], np.int64)
        self.total += rows.sum(axis=0, dtype=np.int32)

    def mean(self) -> npt.NDArray[np.float64]:
        """Mean image."""
        n = sum(self.bout_frames)
        if self.total is None or not n:
            return np.full((self.fov.ny, self.fov.nx), np.nan)
        return self.total.astype(np.float64) / n


def _add_all(shares: list[tuple[_Movie, Block]]) -> None:
    for movie, pages in shares:
        if len(pages):
            movie.add(pages)


class _Movies:
    """All files of a run. They get their names only when the last page is written."""

    def __init__(self, layout: ImagingLayout, out_folder: Path) -> None:
        self.layout, self.out_folder = layout, out_folder
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

    def append(self, block: Block, n_before: int, helper: ThreadPoolExecutor) -> None:
        """Write a block of pages, the first of which is page ``n_before`` of the bout."""
        per_volume = self.layout.pages_per_volume
        shares = [(m, block[(m.first_page - n_before) % per_volume :: per_volume]) for m in self.movies]
        # numpy releases the interpreter while it sums, the system while it writes: both go on at once
        sums = helper.submit(_add_all, shares)
        for movie, pages in shares:
            if len(pages):
                movie.write(pages)
        sums.result()

    def end_bout(self) -> None:
        for movie in self.movies:
            movie.bout_frames.append(0)

    def publish(self) -> tuple[FovBinary, ...]:
        """Flush all files, then give them their names."""
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
        for movie in self.movies:
            movie.close()
            movie.part.unlink(missing_ok=True)
