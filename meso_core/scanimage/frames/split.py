"""From pages to one binary movie per field of view.

What belongs here: the one streaming pass over the raw tifs that cuts each page into its FOVs and drops fly-back lines
and fly-back frames, and what is checked before and after it. What does not: how movies are written; motion
registration.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import InputFileError, MesoWarning, MetadataError, problem
from ...progress import Progress, silent
from ...session import IMAGING_META_FILE
from ...session.imaging import ImagingMetadata
from ..layout import ImagingLayout
from ..metadata.bouts import local_bouts
from ..metadata.channels import check_channels
from ..metadata.parse import as_imaging_metadata
from .acquisition import AcquisitionCheck
from .binaries import FovBinary, Movies
from .sources import Block, BoutSource, LocalTif, TifSummary, fits_promise

#: Bytes read at a time, about; larger blocks do not stay in the processor's cache.
_BLOCK_BYTES = 1 << 22


def bin_per_plane(
    bouts: Sequence[BoutSource] | str | os.PathLike[str],
    meta: Mapping[str, Any] | ImagingMetadata,
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
        Imaging metadata of the session, or the content of its file.
    out_folder
        Where the folders ``plane0`` … go (``suite2p`` in the session). What is there stays until all is written.
    progress
        Told the pages done; the total is 0 where a source does not know it.
    block_bytes
        About how much is read at a time.

    Returns
    -------
    tuple of FovBinary
        In the order of the metadata's FOVs. A recording stopped in the middle of a volume has one frame more in its
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
    meta = as_imaging_metadata(meta)
    check_channels(meta, IMAGING_META_FILE)
    layout = ImagingLayout.from_meta(meta)
    known = [_inspect(bout) for bout in bouts]
    total = 0 if None in known else sum(n or 0 for n in known)
    for bout, n_pages in zip(bouts, known, strict=True):
        if n_pages is not None:
            _check_count(bout, layout, n_pages)
    movies, done = Movies(layout, Path(out_folder)), 0
    try:
        movies.check_room(sum(n or 0 for n in known))
        for bout in bouts:
            n_pages = 0
            for block in _pages(bout, layout, block_bytes):
                movies.append(block, n_pages)
                n_pages, done = n_pages + block.shape[0], done + block.shape[0]
                progress(done, total, "pages split")
            _check_count(bout, layout, n_pages)
            _tell_of_cut_volume(bout, layout, n_pages)
            movies.end_bout()
        _check_no_fov_is_empty(movies, str(out_folder), done)
        return movies.publish()
    finally:
        movies.discard()


def _inspect(bout: BoutSource) -> int | None:
    """Check the tifs of a bout that are local files, before any pixel is read; return their number of pages.

    None where a bout has other sources, which are checked as they are read.
    """
    if not isinstance(bout.tifs, Sequence) or not all(isinstance(t, LocalTif) for t in bout.tifs):
        return None
    check, n_pages = AcquisitionCheck(bout.name), 0
    for tif in bout.tifs:
        check.add(tif.name, tif.summary)
        n_pages += tif.summary.n_pages
    return n_pages


def _pages(bout: BoutSource, layout: ImagingLayout, block_bytes: int) -> Iterator[Block]:
    """Yield the pages of a bout, checked."""
    check = AcquisitionCheck(bout.name)
    for tif in bout.tifs:
        for block in tif.blocks(block_bytes):
            _check_shape(bout, tif.name, block, layout)
            yield block
        # a stream knows its headers when it has been read; plain arrays have none
        summary = getattr(tif, "summary", None)
        if isinstance(summary, TifSummary):
            check.add(tif.name, summary)


def _check_shape(bout: BoutSource, name: str, block: Block, layout: ImagingLayout) -> None:
    height, width = block.shape[1:]
    want = (layout.page_height, layout.page_width)
    if (height, width) != want:
        raise InputFileError(
            problem(
                f"{bout.name}/{name}",
                expected=f"pages of {want[0]} x {want[1]} px as in the metadata",
                found=f"{height} x {width} px",
                remedy="Move tifs of other recordings out of the bout's folder",
            )
        )


def _check_count(bout: BoutSource, layout: ImagingLayout, n_pages: int) -> None:
    """Compare the pages found with the metadata."""
    if bout.n_pages is not None and not fits_promise(n_pages, bout.n_pages, layout.n_channels):
        raise MetadataError(
            problem(
                bout.name,
                field="nFrames",
                expected=f"{bout.n_pages} pages of {layout.n_channels} channel(s), as the metadata say",
                found=f"{n_pages} pages in its tifs",
                remedy="Copy the missing tifs, or make the metadata again if the recording was cut on purpose",
            )
        )


def _check_no_fov_is_empty(movies: Movies, where: str, n_pages: int) -> None:
    if movies.empty_fovs():
        raise InputFileError(
            problem(
                where,
                expected="at least one whole volume",
                found=f"{n_pages} pages, none of {', '.join(movies.empty_fovs())}",
                remedy="Leave the session out if its recording was stopped at once",
            )
        )


def _tell_of_cut_volume(bout: BoutSource, layout: ImagingLayout, n_pages: int) -> None:
    """Warn of a recording that stopped in the middle of a volume; missing fly-back frames do not matter."""
    per_slice = layout.stack.frames_per_slice // layout.stack.frames_averaged or 1
    extra = n_pages % layout.pages_per_volume
    if 0 < extra < layout.n_slices * per_slice * layout.n_channels:
        n_more = -(-extra // (layout.n_channels * per_slice))
        more = "one frame" if per_slice == 1 else f"up to {per_slice} frames"
        warnings.warn(
            f"{bout.name}: the last volume is incomplete ({extra} of {layout.pages_per_volume} pages): "
            f"the first {n_more} of {layout.n_slices} slices have {more} more than the others",
            MesoWarning,
            stacklevel=3,
        )
