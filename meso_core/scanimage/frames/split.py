"""From pages to one binary movie per field of view.

What belongs here: the one streaming pass over the raw tifs that cuts each page into its FOVs and drops fly-back lines
and fly-back frames, and what is checked before and after it. What does not: how movies are written; motion
registration.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputFileError, MesoWarning, MetadataError
from ...progress import Progress, silent
from ...session import IMAGING_META_FILE
from ...session.imaging import ImagingMetadata
from ..layout import ImagingLayout
from ..metadata.bouts import local_bouts
from ..metadata.channels import check_channels
from ..metadata.parse import as_imaging_metadata
from .acquisition import AcquisitionCheck
from .binaries import FovBinary, Movies
from .faults import DamagedFrames, tell_of_faults
from .on_file import (
    BoutPlacer,
    FramesOnFile,
    acquisition_starts,
    channel_of,
    channels_of_pages,
    check_promise,
    frames_on_file,
)
from .placement import Places
from .sources import Block, BoutSource

#: Bytes read at a time, about; larger blocks do not stay in the processor's cache.
_BLOCK_BYTES = 1 << 22


def bin_per_plane(
    bouts: Sequence[BoutSource] | str | os.PathLike[str],
    meta: Mapping[str, Any] | ImagingMetadata,
    out_folder: str | os.PathLike[str],
    *,
    damaged_frames: DamagedFrames = "salvage",
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
        Imaging metadata of the session, or the content of its file.
    out_folder
        Where the folders ``plane0`` … go (``suite2p`` in the session). What is there stays until all is written.
    damaged_frames
        What to do about frames that are missing or not whole, where the bout does not list its frames: ``salvage`` the
        others, with a warning, or ``refuse``.
    progress
        Told the pages done; the total is 0 where a source does not know it.
    block_bytes
        About how much is read at a time.

    Returns
    -------
    tuple of FovBinary
        In the order of the metadata's FOVs. A movie holds the frames of its slice that are whole in all channels,
        each once, in ascending order.

    Raises
    ------
    InputFileError
        If a tif is of another recording, or, with ``refuse``, frames are missing or not whole.
    MetadataError
        If pages and metadata disagree.
    StorageError
        If the movies cannot be written.

    Warns
    -----
    MesoWarning
        If frames are missing or not whole, or a recording stopped in the middle of a volume, so that its first slices
        have one frame more.
    """
    if not isinstance(bouts, Sequence) or isinstance(bouts, str):
        bouts = local_bouts(Path(bouts))
    meta = as_imaging_metadata(meta)
    check_channels(meta, IMAGING_META_FILE)
    layout = ImagingLayout.from_meta(meta)
    splits = [_BoutSplit(bout, layout, meta, damaged_frames) for bout in bouts]
    known = [split.inspect() for split in splits]
    total = sum(found.n_pages for found in known if found) if all(known) else 0
    movies, done = Movies(layout, Path(out_folder)), 0
    try:
        movies.check_room(np.concatenate([np.empty(0, np.int64), *(found.index for found in known if found)]))
        for split in splits:
            for n_pages in split.write(movies, block_bytes):
                done += n_pages
                progress(done, total, "pages split")
            movies.end_bout()
        _check_no_fov_is_empty(movies, str(out_folder), done)
        return movies.publish()
    finally:
        movies.discard()


class _BoutSplit:
    """One bout on its way into the movies."""

    def __init__(
        self, bout: BoutSource, layout: ImagingLayout, meta: ImagingMetadata, damaged_frames: DamagedFrames
    ) -> None:
        self.bout, self.layout, self.damaged_frames = bout, layout, damaged_frames
        self.averaged, self.is_slow = meta.stack.frames_averaged, meta.stack.is_slow
        #: Frames that are written; None: those that the pages turn out to be of.
        self.frames = bout.frames
        self._twins = _Twins(layout)
        #: What the heads of all pages tell, where they are known before the pixels are read.
        self.found: FramesOnFile | None = None

    def inspect(self) -> FramesOnFile | None:
        """Check the tifs before any pixel is read; None where that takes as long as reading them.

        Where channels have tifs of their own, the frames must be known first: one that a later tif lacks is left out.
        """
        tifs = self.bout.tifs
        indexed = isinstance(tifs, Sequence) and all(tif.is_indexed for tif in tifs)
        if not indexed and (self.frames is not None or not self._has_tifs_by_channel()):
            return None
        found = frames_on_file(self.bout.name, tifs, self.layout.channels, self.averaged, self.bout.n_pages)
        self._check(found)
        self.frames, self.found = found.index, found if indexed else None
        return found

    def _has_tifs_by_channel(self) -> bool:
        if iter(self.bout.tifs) is self.bout.tifs:
            return False  # it can be read once only
        return any(channel_of(tif.name) is not None for tif in itertools.islice(self.bout.tifs, 1))

    def write(self, movies: Movies, block_bytes: int) -> Iterator[int]:
        """Write the frames; yields the number of pages of each block."""
        if self.found is None:
            found = yield from self._write_stream(movies, block_bytes)
        else:
            found = self.found
            yield from self._write_indexed(movies, found, block_bytes)
        self._twins.tell(self.bout.name, self.damaged_frames)
        if not found.faults:
            _tell_of_cut_volume(self.bout, self.layout, found.index - found.starts(self.is_slow))

    def _write_indexed(self, movies: Movies, found: FramesOnFile, block_bytes: int) -> Iterator[int]:
        """Write pages of which it is known where each belongs."""
        known = {key: (places, self._channels(places, key)) for key, places in found.places.items()}
        done = dict.fromkeys(known, 0)
        for tif in self.bout.tifs:
            key, heads = channel_of(tif.name), np.concatenate(list(tif.heads()))
            own = slice(done[key], done[key] + heads.size)
            places, channels = (values[own] for values in known[key])
            slices = self._slices(places, acquisition_starts(heads), key)
            done[key], row = own.stop, 0
            for block in tif.blocks(block_bytes):
                _check_shape(self.bout, tif.name, block.pixels, self.layout)
                rows = slice(row, row + len(block.heads))
                movies.append(block.pixels, slices[rows], channels[rows])
                if key is None and self.layout.n_channels > 1:
                    self._twins.look(block.pixels, places[rows])
                row = rows.stop
                yield len(block.heads)
                del block

    def _write_stream(self, movies: Movies, block_bytes: int) -> Generator[int, None, FramesOnFile]:
        """Write pages that tell on the way what they are; returns what was found.

        The pages of a frame wait until the next frame begins: until then it is not known whether it is whole.
        """
        placer = BoutPlacer(self.bout.name, self.layout.channels, self.averaged)
        check = AcquisitionCheck(self.bout.name)
        waiting: dict[int | None, list[tuple[Block, int]]] = {}
        for tif in self.bout.tifs:
            one, key = placer.begin_tif(tif.name), channel_of(tif.name)
            pages = waiting.setdefault(key, [])
            for block in tif.blocks(block_bytes):
                _check_shape(self.bout, tif.name, block.pixels, self.layout)
                pages += zip(block.pixels, acquisition_starts(block.heads).tolist(), strict=True)
                self._append(movies, pages, one.add(block.heads), key)
                yield len(block.heads)
                del block
            check.add(tif.name, tif.summary)
            one.end_tif(tif.damage)
        for key, one in placer.placers.items():
            self._append(movies, waiting[key], one.finish(), key)
        found = placer.frames(self.bout.n_pages)
        if self.frames is None or self.frames is self.bout.frames:
            self._check(found)
        return found

    def _append(self, movies: Movies, pages: list[tuple[Block, int]], places: Places, key: int | None) -> None:
        now, pages[: places.size] = pages[: places.size], []
        slices = self._slices(places, np.array([start for _, start in now], np.int64), key)
        if key is None and self.layout.n_channels > 1:
            self._twins.look([page for page, _ in now], places)
        movies.append((page for page, _ in now), slices, self._channels(places, key))

    def _slices(self, places: Places, starts: Places, key: int | None) -> Places:
        """Tell the slice of each page; -1 where it is left out: where channels have own tifs, if another lacks it."""
        slices = self.layout.slices_of(places - starts * (not self.is_slow))
        is_used = places >= 0
        if key is not None and self.frames is not None:
            is_used &= np.isin(places, self.frames)
        return np.where(is_used, slices, -1)

    def _channels(self, places: Places, key: int | None) -> Places:
        """Tell the index of the channel of each page."""
        return channels_of_pages(places, self.layout.channels, key)

    def _check(self, found: FramesOnFile) -> None:
        """Compare what was found with the frames listed, or else with the number of pages promised."""
        bout = self.bout
        if bout.frames is None:
            check_promise(bout.name, found, bout.n_pages, self.layout.n_channels)
            tell_of_faults(bout.name, found.faults, found.index.size, self.damaged_frames)
        elif not np.array_equal(found.index, bout.frames):
            number = int(np.setxor1d(found.index, bout.frames)[0]) + 1
            raise MetadataError.at(
                bout.name,
                field="frame_index",
                expected=f"the {bout.frames.size} frames that the session's imaging metadata list",
                found=f"{found.index.size} in its tifs; frame number {number} is the first that differs",
                remedy="Make the imaging metadata again, with the tifs in the bout's folder (`meso restore` brings "
                "archived ones back)",
            )


class _Twins:
    """Looks for frames whose channels show the same pixels: one was saved twice, and the other is missing.

    No header names the channel of a page, so such a frame looks whole. Noise never gives two lines alike; a line
    without light may be alike in all channels, and says nothing.
    """

    def __init__(self, layout: ImagingLayout) -> None:
        self._row = layout.fovs[0].row_start + layout.fovs[0].ny // 2
        self._last: tuple[int, Block] | None = None
        self._frames: list[int] = []

    def look(self, pages: Sequence[Block] | Block, places: Places) -> None:
        """Compare pages of one frame that follow each other, by a line of each; the last page waits for the next."""
        for page, place in zip(pages, places.tolist(), strict=True):
            line = page[self._row]
            if self._last is not None and self._last[0] == place >= 0:
                same = bool((line == self._last[1]).all())
                if same and line.min() < line.max() and place not in self._frames[-1:]:
                    self._frames.append(place)
            self._last = (place, line.copy())

    def tell(self, bout: str, damaged_frames: DamagedFrames) -> None:
        """Warn of such frames, or refuse them."""
        if not self._frames:
            return
        numbers = ", ".join(str(place + 1) for place in self._frames[:8])
        found = f"the same pixels in two channels in {len(self._frames)} frame(s), number {numbers}"
        if damaged_frames == "refuse":
            remedy = "Set MESO_DAMAGED_FRAMES=salvage to use the recording, with a warning"
            raise InputFileError.at(bout, expected="pages of different channels", found=found, remedy=remedy)
        what = "one channel was saved twice, the other is missing. Leave these frames out (badframes.mat)"
        warnings.warn(f"{bout}: {found}: {what}", MesoWarning, stacklevel=3)


def _check_shape(bout: BoutSource, name: str, block: Block, layout: ImagingLayout) -> None:
    height, width = block.shape[1:]
    want = (layout.page_height, layout.page_width)
    if (height, width) != want:
        raise InputFileError.at(
            f"{bout.name}/{name}",
            expected=f"pages of {want[0]} x {want[1]} px as in the metadata",
            found=f"{height} x {width} px",
            remedy="Move tifs of other recordings out of the bout's folder; if the metadata file is of another one, "
            "move that away: it is made again from the tifs",
        )


def _check_no_fov_is_empty(movies: Movies, where: str, n_pages: int) -> None:
    if movies.empty_fovs():
        raise InputFileError.at(
            where,
            expected="at least one whole volume",
            found=f"{n_pages} pages, none of {', '.join(movies.empty_fovs())}",
            remedy="Copy the missing tifs from the rig; if there are no more, leave the session out: it was "
            "stopped at once",
        )


def _tell_of_cut_volume(bout: BoutSource, layout: ImagingLayout, frames: Places) -> None:
    """Warn of a recording that stopped in the middle of a volume; missing fly-back frames do not matter."""
    n_frames = np.bincount(layout.slices_of(frames) + 1, minlength=layout.n_slices + 1)[1:]
    n_more = int(np.count_nonzero(n_frames > n_frames.min()))
    if n_more:
        warnings.warn(
            f"{bout.name}: the last volume is incomplete: the first {n_more} of {layout.n_slices} slices have one "
            "frame more than the others",
            MesoWarning,
            stacklevel=3,
        )
