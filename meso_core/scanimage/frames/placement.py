"""Which frame of the recording each page is of, by what the page says of itself.

What belongs here: from frame numbers in file order to places in the bout and channels, and what is wrong with them.
What does not: pixels; which depth a frame shows (``layout``).

A page is never placed by counting pages: a frame is used if as many pages in a row carry its number as channels are
saved, in ascending order of the numbers. So a page that lacks, is there twice or lies elsewhere costs its own frame.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...errors import InputFileError, MesoWarning, MetadataError
from ...session.imaging import FaultKind, PageFault, places_by_times
from ..tiff.ifd import HEAD, DamagedTifError, Heads
from .acquisition import AcquisitionCheck
from .sources import TifSource, fits_promise

Places = npt.NDArray[np.int64]

#: How ScanImage names the tifs of a recording that has one per channel (``logFilePerChannel``).
_CHANNEL_FILE = re.compile(r"_chn(\d+)\.tiff?$", re.IGNORECASE)


def channel_of(tif: str) -> int | None:
    """Tell the channel of a tif that holds only one, by its name; None: its pages are of all channels in turn."""
    match = _CHANNEL_FILE.search(tif)
    return int(match[1]) if match else None


def channels_on_file(bout: str, tifs: Iterable[str], saved: tuple[int, ...]) -> tuple[int, ...]:
    """Tell which of the channels saved the tifs of a bout hold, by their names.

    Warns
    -----
    MesoWarning
        If channels have tifs of their own, and one has none.
    """
    there = {channel_of(name) for name in tifs}
    channels = tuple(channel for channel in saved if channel in there)
    if None in there or not channels or channels == saved:
        return saved
    lacks = ", ".join(str(channel) for channel in saved if channel not in there)
    text = f"the recording saved channels {', '.join(map(str, saved))}, but no tif holds channel {lacks}"
    warnings.warn(f"{bout}: {text}; it is processed without", MesoWarning, stacklevel=3)
    return channels


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
        """Note that frames lack at the end, if fewer than so many were recorded."""
        n_missing = n_places - self._last - 1
        if n_missing > 0:
            end = _Group(self._tif, self._n_tif, 0, 0, n_places, None)
            self._add(FaultKind.MISSING, end, n_frames=n_missing, note=note)

    @property
    def n_places(self) -> int:
        """Number of saved frames up to the last one found, with those that lack before it."""
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


@dataclass(frozen=True, slots=True, eq=False)
class FramesOnFile:
    """The frames of a bout that are whole on file, and what is wrong with the others."""

    #: (n_frames,) i8, place of each frame: ``frameNumbers`` less 1 of its first raw frame; ascending.
    index: Places
    #: (n_frames,) of HEAD: frame number, number within the acquisition, and time of each.
    heads: Heads
    faults: tuple[PageFault, ...]
    #: Whole pages on file, of all channels, used or not.
    n_pages: int
    #: Place of the frame of each page of the tifs of a channel, in file order; -1 where it is left out. The key is None
    #: where all channels are in the same tifs; the pages of a frame are those of its channels in order then.
    places: dict[int | None, Places]

    def starts(self, is_slow_stack: bool) -> Places:
        """Return for each frame where its acquisition begins, (n_frames,) i8: a volume begins there.

        In a slow stack each slice is an acquisition, and volumes go on over them.
        """
        return acquisition_starts(self.heads) * (not is_slow_stack)


def acquisition_starts(heads: Heads) -> Places:
    """Place at which the acquisition of each page begins; a loop has several, of which each begins with a volume."""
    in_acquisition = heads["in_acquisition"]
    return np.where(in_acquisition > 0, np.maximum(heads["number"] - in_acquisition, 0), 0)


class BoutPlacer:
    """Place the pages of a bout whose channels are in the same tifs, or each in tifs of its own.

    Parameters
    ----------
    bout
        Name of the bout, for messages.
    channels
        Numbers of the channels saved, in the order of the pages.
    frames_averaged
        Raw frames per saved frame.
    """

    def __init__(self, bout: str, channels: Sequence[int], frames_averaged: int) -> None:
        self.bout, self.channels, self.averaged = bout, tuple(channels), frames_averaged
        #: By channel; the key is None where all channels are in the same tifs.
        self.placers: dict[int | None, Placer] = {}

    def begin_tif(self, name: str) -> Placer:
        """Choose the placer for the pages of the next tif.

        Raises
        ------
        InputFileError
            If the tif is of a channel that was not saved, or some tifs have one channel and others all.
        """
        channel = channel_of(name)
        is_mixed = bool(self.placers) and (channel is None) != (None in self.placers)
        if is_mixed or channel not in (None, *self.channels):
            channels = ", ".join(map(str, self.channels))
            raise InputFileError.at(
                f"{self.bout}/{name}",
                expected=f"tifs of all channels, or one for each of the channels {channels}",
                found="all channels in this tif" if channel is None else f"a tif of channel {channel}",
                remedy="Move tifs of other recordings out of the bout's folder",
            )
        n_channels = len(self.channels) if channel is None else 1
        placer = self.placers.setdefault(channel, Placer(self.bout, n_channels, self.averaged))
        placer.begin_tif(name)
        return placer

    def frames(self, n_promised: int | None = None) -> FramesOnFile:
        """Join the channels, once all placers have finished.

        Parameters
        ----------
        n_promised
            Pages of all channels that the bout's metadata promise; frames that lack at the end are missing too.

        Raises
        ------
        InputFileError
            If channels have tifs of their own, and one has none.
        """
        without = [channel for channel in self.channels if channel not in self.placers]
        if None not in self.placers and without and self.placers:
            found = f"none of channel {', '.join(map(str, without))}"
            remedy = "Copy the tifs of all channels, or move the metadata file away: it is made again from the tifs"
            expected = f"tifs of the channels {', '.join(map(str, self.channels))}"
            raise InputFileError.at(self.bout, expected=expected, found=found, remedy=remedy)
        placers = list(self.placers.values())
        n_pages, n_places = sum(p.n_pages for p in placers), max((p.n_places for p in placers), default=0)
        if n_promised is not None:
            missing = sum(p.n_missing * p.n_channels for p in placers)
            # else the rig counted the pages that it saved, not those that it took
            if n_promised - n_pages >= missing:
                n_places = max(n_places, n_promised // len(self.channels))
        faults: list[PageFault] = []
        counted: set[int] = set()
        for placer in placers:
            placer.expect(n_places, f"{n_pages} pages of {n_promised}" if n_promised else "another channel has more")
            faults += _count_once(placer.faults, counted, self.averaged) if len(placers) > 1 else placer.faults
        index, heads = placers[0].kept if placers else (np.empty(0, np.int64), np.empty(0, HEAD))
        if placers:
            faults += _contradictions(placers[0], heads, self.averaged)
        for placer in placers[1:]:
            in_both = np.isin(index, placer.kept[0])
            index, heads = index[in_both], heads[in_both]
        places = {channel: placer.places for channel, placer in self.placers.items()}
        return FramesOnFile(index, heads, tuple(faults), n_pages, places)


def check_promise(bout: str, found: FramesOnFile, n_promised: int | None, n_channels: int) -> None:
    """Raise MetadataError if a bout has more pages than its metadata promise; fewer are frames that lack at the end."""
    n_pages = found.index.size * n_channels
    if n_promised is not None and n_pages > n_promised and not fits_promise(n_pages, n_promised, n_channels):
        raise MetadataError.at(
            bout,
            field="nFrames",
            expected=f"{n_promised} pages of {n_channels} channel(s), as the metadata say",
            found=f"{n_pages} pages in its tifs",
            remedy="Move tifs of other recordings out of the bout's folder, or move the metadata file away: it is "
            "made again from the tifs",
        )


def frames_on_file(
    bout: str,
    tifs: Iterable[TifSource],
    channels: Sequence[int],
    frames_averaged: int = 1,
    n_promised: int | None = None,
) -> FramesOnFile:
    """Find the frames of a bout by the heads of its pages.

    Parameters
    ----------
    bout, channels, frames_averaged
        As for :class:`BoutPlacer`.
    tifs
        All tifs of the bout, in order.
    n_promised
        As for :meth:`BoutPlacer.frames`.

    Raises
    ------
    InputFileError
        If a tif is of another recording, or was there before, or tifs are not in order.
    """
    placer, check = BoutPlacer(bout, channels, frames_averaged), AcquisitionCheck(bout)
    for tif in tifs:
        one = placer.begin_tif(tif.name)
        for heads in tif.heads():
            one.add(heads)
        check.add(tif.name, tif.summary)
        one.end_tif(tif.damage)
    for one in placer.placers.values():
        one.finish()
    return placer.frames(n_promised)


def _contradictions(placer: Placer, heads: Heads, averaged: int) -> list[PageFault]:
    """Find where numbers and times of frames do not agree on how many frames lie between; the first is told.

    Between two acquisitions of a loop, and two slices of a slow stack, any time may pass.
    """
    frames, seconds = np.diff(heads["number"]) / averaged, np.diff(heads["time"])
    same = np.diff(acquisition_starts(heads)) == 0
    if not same.any():
        return []
    period = float(np.median((seconds / frames)[same]))
    by_time = seconds / period if period > 0 else frames
    odd = np.flatnonzero(same & (np.abs(by_time - frames) > 0.5))
    if not odd.size:
        return []
    i = int(odd[0]) + 1
    expected, found = (int(heads["number"][i - 1] + averaged * n) for n in (round(by_time[i - 1]), frames[i - 1]))
    note = f"by frameTimestamps_sec and by frameNumbers; {odd.size} of {heads.size} frames"
    tif, page = placer.where(i)
    return [PageFault(FaultKind.TIMES, tif, page, 1, expected, found, 0, _known(heads["time"][i]), note)]


def _count_once(faults: Iterable[PageFault], counted: set[int], averaged: int) -> list[PageFault]:
    """Count a frame that several channels lack once."""
    result = []
    for fault in faults:
        first = 0 if fault.expected is None else fault.expected
        lost = {first + i * averaged for i in range(fault.n_frames)} - counted
        counted |= lost
        result.append(replace(fault, n_frames=len(lost)))
    return result


def heads_by_times(times: npt.NDArray[np.float64], n_channels: int, frames_averaged: int) -> Heads:
    """Make heads where only the times of the pages are known; see :func:`~meso_core.session.imaging.places_by_times`.

    The times may be those of frames instead: then no two that follow each other are equal.
    """
    if n_channels > 1 and 2 * n_channels * np.count_nonzero(np.diff(times) == 0) < times.size:
        times = np.repeat(times, n_channels)
    heads = np.zeros(times.size, HEAD)
    heads["number"] = places_by_times(times, frames_averaged) * frames_averaged + 1
    heads["time"] = times
    return heads


def _known(time: float) -> float | None:
    return float(time) if np.isfinite(time) else None
