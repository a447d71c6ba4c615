"""Some frames of a field of view, read from where they lie in the tifs of a bout.

What belongs here: finding the pages of frames by their numbers, and reading the lines of one field. What does not:
reading whole bouts (``split``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...errors import InputFileError
from ...opening import open_plain
from ..layout import FovLayout, ImagingLayout
from ..tiff.pages import ScanImageTif
from .on_file import channel_of
from .placement import Places
from .sources import Block


class ChosenFrames:
    """Reads some frames of a bout; only tifs that may hold them are opened.

    Parameters
    ----------
    bout
        Name of the bout, for messages.
    tifs
        Its tifs, in their order.
    layout
        How its pages divide into fields of view.
    """

    def __init__(self, bout: str, tifs: Sequence[Path], layout: ImagingLayout) -> None:
        self._bout, self._tifs, self._layout = bout, tuple(tifs), layout
        self._known: dict[Path, ScanImageTif] = {}

    def read(self, fov: int, places: Places) -> Iterator[Block]:
        """Read frames of a field of view, in the channel that shows activity.

        Parameters
        ----------
        fov
            Its index.
        places
            (n,) i8, ascending: places of frames, as :attr:`~meso_core.session.BoutMetadata.frame_index`.

        Yields
        ------
        ndarray of int16, shape (ny, nx)

        Raises
        ------
        InputFileError
            If the tifs do not hold each frame once, whole in all channels.
        """
        place = self._layout.fovs[fov]
        channel = self._layout.channels_of(place)[0]
        own = [tif for tif in self._tifs if channel_of(tif.name) in (None, self._layout.channels[channel])]
        numbers = np.asarray(places) // self._layout.stack.frames_averaged
        at = self._first_that_may_hold(own, int(numbers[0])) if numbers.size else 0
        done = 0
        while done < numbers.size:
            if at == len(own):
                raise self._odd(int(numbers[done]), "none of its pages")
            tif, is_last = own[at], at + 1 == len(own)
            held = self._numbers(tif)
            last = numbers.size if is_last else int(np.searchsorted(numbers, held.max(initial=-1), side="right"))
            yield from self._of_one_tif(tif, held, place, channel, numbers[done:last])
            done, at = max(done, last), at + 1

    def _of_one_tif(self, path: Path, held: Places, place: FovLayout, channel: int, numbers: Places) -> Iterator[Block]:
        if not numbers.size:
            return
        tif = self._index(path)
        n_pages = self._layout.n_channels if channel_of(path.name) is None else 1
        with open_plain(path) as file:
            for number in numbers.tolist():
                pages = np.flatnonzero(held == number)
                if pages.size != n_pages:
                    raise self._odd(number, f"{pages.size} in {path.name}")
                yield _lines(tif, file, int(pages[channel if n_pages > 1 else 0]), place)

    def _first_that_may_hold(self, tifs: Sequence[Path], number: int) -> int:
        """Find the last tif that does not begin after a frame: numbers rise from tif to tif."""
        low, high = 0, len(tifs) - 1
        while low < high:
            middle = (low + high + 1) // 2
            held = self._numbers(tifs[middle])
            low, high = (middle, high) if held.size and held[0] <= number else (low, middle - 1)
        return low

    def _numbers(self, tif: Path) -> Places:
        """Numbers of the frames of all pages of a tif, from 0, counted in saved frames."""
        return np.asarray((self._index(tif).frame_numbers - 1) // self._layout.stack.frames_averaged)

    def _index(self, tif: Path) -> ScanImageTif:
        if tif not in self._known:
            self._known[tif] = ScanImageTif(tif)
        return self._known[tif]

    def _odd(self, number: int, found: str) -> InputFileError:
        return InputFileError.at(
            self._bout,
            field=f"frame {number * self._layout.stack.frames_averaged + 1}",
            expected="one page of each channel in its tifs",
            found=found,
            remedy="If tifs were removed, bring them back (`meso restore`); if they are damaged, nothing is to be done",
        )


def _lines(tif: ScanImageTif, file: BinaryIO, page: int, place: FovLayout) -> Block:
    """Read the lines of a field of a page."""
    row_bytes = 2 * tif.page.width
    file.seek(int(tif.data_offsets[page]) + place.row_start * row_bytes)
    raw = file.read(place.ny * row_bytes)
    if len(raw) < place.ny * row_bytes:
        raise InputFileError.at(
            tif.path,
            field=f"page {page}",
            expected=f"{place.ny} lines of {row_bytes} bytes",
            found=f"an end after {len(raw)} bytes: it is shorter than when its headers were read",
            remedy="Wait until the copy from the rig has finished, then run again",
        )
    lines = np.frombuffer(raw, tif.page.dtype).reshape(place.ny, tif.page.width)[:, : place.nx]
    # as all pages: unsigned ones are halved (`sources`), which is told where movies are split
    return lines.astype(np.int16) if lines.dtype.kind == "i" else (lines // 2).astype(np.int16)
