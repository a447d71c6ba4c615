"""The frames of a bout that are on file, whole in all channels.

What belongs here: a bout's tifs and channels taken together, and what their metadata promise. What does not: the frame
of a page (``placement``), and pixels.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...errors import InputFileError, MesoWarning, MetadataError
from ...session.page_faults import FaultKind, PageFault, places_by_times
from ..tiff.ifd import HEAD, Heads
from .acquisition import AcquisitionCheck
from .placement import Placer, Places
from .sources import TifSource, fits_promise

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


def channels_of_pages(places: Places, channels: Sequence[int], own: int | None) -> Places:
    """Tell the index of the channel of each page, (n_pages,), from their places.

    The channels of a frame come in order. ``own`` is the number of the one channel that these tifs hold; None: all.
    """
    if own is not None:
        return np.full(places.size, tuple(channels).index(own))
    return np.asarray(np.maximum(np.cumsum(places >= 0) - 1, 0) % len(channels))


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
            Pages of all channels that the bout's metadata promise; frames missing at the end count too.

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
    """Raise MetadataError if a bout has more pages than its metadata promise; fewer are frames missing at the end."""
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
    return [PageFault(FaultKind.TIMES, tif, page, 1, expected, found, 0, float(heads["time"][i]), note)]


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
