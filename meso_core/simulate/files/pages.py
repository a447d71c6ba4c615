"""The tifs of a bout.

What belongs here: putting FOVs on pages, and pages into files. What does not: pixels, or the bytes of a tif.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...progress import Progress
from ..plan import SessionPlan
from ..tissue.movie import FovMovie
from .clock import Bout
from .header import descriptions, frame_data, roi_groups_text, start_of_bout
from .plain import PlainMovie
from .rigmeta import pixels_per_cm
from .tif import ScanImageTifWriter

#: Bytes of pages in memory at a time.
_BLOCK_BYTES = 1 << 24
#: Fields of at least this many pixels are drawn by two threads; for smaller ones two threads are slower than one.
_LARGE_FIELD, _THREADS = 1 << 16, 2


def tif_name(plan: SessionPlan, bout: int, number: int, kind: str = "2P") -> str:
    """Name a tif like the rig does: date, experiment, subject, kind, acquisition, file."""
    c = plan.config
    return f"{c.date}_{bout + 1}_{c.subject}_{kind}_00001_{number + 1:05d}.tif"


@dataclass(frozen=True, slots=True)
class TifPlan:
    """Which pages go into one tif."""

    name: str
    #: (n_pages, 2) i8, frame (counted in saved ones) and channel index of each page, in file order.
    pages: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WrittenTif:
    """A tif as it was written."""

    plan: TifPlan
    writer: ScanImageTifWriter

    def whole_pages(self) -> NDArray[np.int64]:
        """Frame and channel index of the pages that are whole in the file as it is now, (n, 2) i8."""
        n_bytes = self.writer.path.stat().st_size if self.writer.path.exists() else 0
        return self.plan.pages[: self.writer.whole_pages(n_bytes)]


def plan_tifs(plan: SessionPlan, bout: Bout) -> list[TifPlan]:
    """List the tifs of a bout as the microscope writes them."""
    c, n = plan.config, len(plan.geometry.saved_frames(len(bout.scanimage)))
    tifs = []
    for number, first in enumerate(range(0, n, c.frames_per_file)):
        frames, channels = np.arange(first, min(first + c.frames_per_file, n)), np.arange(len(c.channels))
        pages = np.stack(np.meshgrid(frames, channels, indexing="ij"), axis=-1).reshape(-1, 2)
        tifs.append(TifPlan(tif_name(plan, bout.index, number), pages))
    return tifs


def write_tifs(
    plan: SessionPlan,
    movies: Sequence[FovMovie | PlainMovie],
    bout: Bout,
    folder: Path,
    tifs: Sequence[TifPlan],
    progress: Progress,
) -> list[WrittenTif]:
    """Write all tifs of a bout; a longer bout takes no more memory."""
    c, g = plan.config, plan.geometry
    text, groups, resolution = frame_data(c, g), roi_groups_text(c), pixels_per_cm(c)
    shape = (g.page_height, g.page_width)
    saved, start = g.saved_frames(len(bout.scanimage)), start_of_bout(c, bout.start_s)
    per_acquisition = c.frames_per_slice if c.stack_mode == "slow" else None
    step = max(_BLOCK_BYTES // (2 * shape[0] * shape[1]), len(c.channels))
    done = sum(c.frames_per_bout[: bout.index])
    large = max(p.ny * p.nx for p in g.fovs) >= _LARGE_FIELD
    written = []
    with ThreadPoolExecutor(_THREADS if large else 1) as pool:
        for one in tifs:
            with ScanImageTifWriter(folder / one.name, text, groups, shape, len(one.pages), resolution) as tif:
                for at in range(0, len(one.pages), step):
                    frames, channels = one.pages[at : at + step].T
                    a, b = int(frames.min()), int(frames.max()) + 1
                    drawn = _pages(plan, movies, bout, a, b, pool)
                    words = descriptions(
                        a, bout.scanimage[saved[a:b]], start, 1, b == len(saved), c.frames_averaged, per_acquisition
                    )
                    tif.write(drawn[(frames - a) * len(c.channels) + channels], [words[k - a] for k in frames.tolist()])
                    progress(done + b, sum(c.frames_per_bout), "frames simulated")
            written.append(WrittenTif(one, tif))
    return written


def _pages(
    plan: SessionPlan, movies: Sequence[FovMovie | PlainMovie], bout: Bout, a: int, b: int, pool: ThreadPoolExecutor
) -> NDArray[np.int16]:
    """Draw saved frames ``a`` to ``b`` of a bout, channels interleaved; what holds no FOV is zero."""
    g, n_channels = plan.geometry, len(plan.config.channels)
    pages = np.zeros((b - a, n_channels, g.page_height, g.page_width), np.int16)

    def paint(i: int) -> None:
        place = g.fovs[i]
        of_bout = g.frames_at(place.slice_id, len(bout.scanimage)) // g.frames_averaged
        first, stop = np.searchsorted(of_bout, (a, b))
        if first == stop:
            return
        before = sum(g.frames_of_fov(i, m) for m in plan.config.frames_per_bout[: bout.index])
        channels = range(n_channels) if place.channel is None else [plan.config.channels.index(place.channel)]
        for channel, images in zip(channels, movies[i].render(before + first, before + stop), strict=True):
            pages[of_bout[first:stop] - a, channel, place.row_start : place.row_stop, : place.nx] = images

    list(pool.map(paint, range(len(movies))))
    return pages.reshape(-1, g.page_height, g.page_width)
