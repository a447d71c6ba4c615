"""Which frame of the recording each page is of, by what the page says of itself.

What belongs here: from frame numbers in file order to places in the bout and channels, and what is wrong with them.
What does not: pixels; which depth a frame shows (``layout``).

A page is never placed by counting pages: a frame is used if as many pages in a row carry its number as channels are
saved, in ascending order of the numbers. So a page that is missing, doubled or out of place costs its own frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...errors import InputFileError
from ...session.page_faults import FaultKind, PageFault
from ..tiff.ifd import HEAD, DamagedTifError, Heads

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Group:
    """Pages in a row that carry the same number: those of one frame, if nothing is wrong."""

    tif: str
    page: int
    n_pages: int
    #: Frame number, and place of the frame counted in saved frames.
    number: int
    place: int
    seconds: float | None


class Placer:
    """Place the pages of a bout, given in file order.

    Parameters
    ----------
    bout
        Name of the bout, for messages.
    n_channels
        Pages per frame.
    frames_averaged
        Raw frames per saved frame; their numbers go up by as many.
    """

    def __init__(self, bout: str, n_channels: int = 1, frames_averaged: int = 1) -> None:
        self.bout, self.n_channels, self.averaged = bout, n_channels, frames_averaged
        self.faults: list[PageFault] = []
        self.n_pages = 0
        self._results: list[Places] = []
        self._kept: list[Places] = []
        self._kept_heads: list[Heads] = []
        self._kept_pages: list[Places] = []
        self._tifs: list[tuple[str, int]] = []
        self._last = -1
        #: Pages whose frame may go on, and where they come from.
        self._open: Heads = np.empty(0, HEAD)
        self._open_from: list[tuple[str, int]] = []
        self._tif, self._n_tif, self._tif_after, self._highest = "", 0, -1, -1

    def begin_tif(self, name: str) -> None:
        """Tell that the pages that follow are of another tif."""
        self._tif, self._n_tif, self._highest = name, 0, -1
        self._tifs.append((name, self.n_pages))
        self._tif_after = self._last
        if self._open.size and int(self._places(self._open[:1])[0]) == self._last + 1:
            # pages of a frame that is whole already are no part of it
            self._tif_after += self._open.size >= self.n_channels

    def add(self, heads: Heads) -> Places:
        """Take the next pages.

        Returns
        -------
        ndarray
            (n,) i8, place of the frame of each page that can be told by now, in their order, those of earlier calls
            first: 0-based, counted in raw frames; -1 where a page is left out. The channels of a frame come in order.
        """
        self._highest = max(self._highest, int(self._places(heads).max(initial=-1)))
        return self._decide(heads, is_end=False)

    def end_tif(self, damage: DamagedTifError | None) -> None:
        """Tell that the tif has no more whole pages.

        Raises
        ------
        InputFileError
            If all its frames were there before: it is a tif twice, or tifs are not in order.
        """
        if self._n_tif and self._highest <= self._tif_after:
            last = self._tif_after * self.averaged + 1
            raise InputFileError.at(
                f"{self.bout}/{self._tif}",
                field="frameNumbers",
                expected=f"frames after {last}, which the tifs before it hold",
                found=f"frames up to {self._highest * self.averaged + 1}: the same tif twice, or tifs not in order",
                remedy="Move the tif that is there twice out of the folder, or name the tifs in their order",
            )
        if damage is not None:
            time = float(self._open["time"][-1]) if self._open.size else np.nan
            self._add(FaultKind.CUT, _Group(self._tif, self._n_tif, 1, 0, 0, _known(time)), note=damage.found)

    def finish(self) -> Places:
        """Place what is left, when there is no more."""
        return self._decide(np.empty(0, HEAD), is_end=True)

    def expect(self, n_places: int, note: str) -> None:
        """Note that frames are missing at the end, if fewer than so many were recorded."""
        n_missing = n_places - self._last - 1
        if n_missing > 0:
            end = _Group(self._tif, self._n_tif, 0, 0, n_places, None)
            self._add(FaultKind.MISSING, end, n_frames=n_missing, note=note)

    @property
    def n_places(self) -> int:
        """Number of saved frames up to the last one found, with those missing before it."""
        return self._last + 1

    @property
    def n_missing(self) -> int:
        """Number of frames that no page is of."""
        return sum(fault.n_frames for fault in self.faults if fault.kind is FaultKind.MISSING)

    @property
    def places(self) -> Places:
        """Place of the frame of every page, in file order; -1 where a page is left out."""
        return np.concatenate([np.empty(0, np.int64), *self._results])

    def where(self, frame: int) -> tuple[str, int]:
        """Tif, and page of it, of the first page of a frame that is used."""
        page = int(np.concatenate(self._kept_pages)[frame])
        name, first = next((name, first) for name, first in reversed(self._tifs) if first <= page)
        return name, page - first

    @property
    def kept(self) -> tuple[Places, Heads]:
        """Places (counted in raw frames) of the frames that are used, and the head of the first page of each."""
        places = np.concatenate([np.empty(0, np.int64), *self._kept])
        return places, np.concatenate([np.empty(0, HEAD), *self._kept_heads])

    def _places(self, heads: Heads) -> Places:
        """Places of pages counted in saved frames; the number may be that of the first raw frame or of the last."""
        return np.asarray((heads["number"] - 1) // self.averaged)

    def _decide(self, heads: Heads, *, is_end: bool) -> Places:
        n_before = self._open.size
        pages = np.concatenate([self._open, heads]) if n_before else heads
        if not pages.size:
            return np.empty(0, np.int64)
        places = self._places(pages)
        starts = np.flatnonzero(np.r_[True, places[1:] != places[:-1]])
        counts = np.diff(starts, append=pages.size)
        n_decided = starts.size - (not is_end)
        if self._is_fine(places[starts], counts[:n_decided]):
            result = places[: starts[n_decided] if n_decided < starts.size else pages.size] * self.averaged
            self._last += n_decided
        else:
            origin = [*self._open_from, *((self._tif, self._n_tif + i) for i in range(heads.size))]
            groups = [
                _Group(*origin[a], int(n), int(pages["number"][a]), int(places[a]), _known(pages["time"][a]))
                for a, n in zip(starts, counts, strict=True)
            ]
            result = self._one_by_one(groups, n_decided)
        self._results.append(result)
        used = np.flatnonzero(result >= 0)[:: self.n_channels]
        self._kept.append(result[used])
        self._kept_heads.append(pages[used])
        self._kept_pages.append(used + self.n_pages - n_before)
        self._open = pages[result.size :].copy()
        n_older = max(self._open.size - heads.size, 0)
        n_newer = self._open.size - n_older
        first = self._n_tif + heads.size - n_newer
        self._open_from = self._open_from[len(self._open_from) - n_older :] if n_older else []
        self._open_from += [(self._tif, first + i) for i in range(n_newer)]
        self._n_tif, self.n_pages = self._n_tif + heads.size, self.n_pages + heads.size
        return result

    def _is_fine(self, places: Places, counts: npt.NDArray[np.int64]) -> bool:
        """Whether frames follow each other, each whole."""
        follows = bool((counts == self.n_channels).all()) and places[0] == self._last + 1
        return follows and bool((places[1:] - places[:-1] == 1).all())

    def _one_by_one(self, groups: Sequence[_Group], n_decided: int) -> Places:
        results = [np.empty(0, np.int64)]
        for i, group in enumerate(groups[:n_decided]):
            following = groups[i + 1].place if i + 1 < len(groups) else group.place + 1
            results.append(self._one(group, following))
        return np.concatenate(results)

    def _one(self, group: _Group, following: int) -> Places:
        """Place the pages of one group; the place of the next one tells whether its number can be."""
        left_out = np.full(group.n_pages, -1)
        if group.number == 0:
            self._add(FaultKind.NO_NUMBER, group)
            return left_out
        if group.place <= self._last or self._last < following < group.place > self._last + 1:
            self._add(FaultKind.OUT_OF_ORDER, group)
            return left_out
        n_missing = group.place - self._last - 1
        if n_missing:
            self._add(FaultKind.MISSING, replace(group, n_pages=0), n_frames=n_missing)
        self._last = group.place
        if group.n_pages != self.n_channels:
            if self.n_channels > 1:
                note = f"{group.n_pages} of {self.n_channels} pages"
                self._add(FaultKind.CHANNEL, group, n_frames=1, note=note, place=group.place)
                return left_out
            extra = replace(group, page=group.page + 1, n_pages=group.n_pages - 1)
            self._add(FaultKind.DOUBLED, extra, place=group.place + 1)
        left_out[: self.n_channels] = group.place * self.averaged
        return left_out

    def _add(self, kind: FaultKind, at: _Group, *, n_frames: int = 0, note: str = "", place: int | None = None) -> None:
        """Note a fault; one that goes on from page to page is one fault."""
        shift = at.number - at.place * self.averaged if at.number else 1
        expected = (self._last + 1 if place is None else place) * self.averaged + shift
        found = at.number or None
        if self.faults and kind not in (FaultKind.CUT, FaultKind.MISSING):
            last = self.faults[-1]
            goes_on = last.page + last.n_pages == at.page
            if goes_on and (last.kind, last.tif, last.note) == (kind, at.tif, note):
                n_pages, n_frames = last.n_pages + at.n_pages, last.n_frames + n_frames
                self.faults[-1] = replace(last, n_pages=n_pages, n_frames=n_frames)
                return
        fault = PageFault(kind, at.tif, at.page, at.n_pages, expected, found, n_frames, at.seconds, note)
        self.faults.append(replace(fault, expected=None) if kind is FaultKind.CUT else fault)


def _known(time: float) -> float | None:
    return float(time) if np.isfinite(time) else None
