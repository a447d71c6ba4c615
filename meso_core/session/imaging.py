"""How a session was imaged, as typed values that every room works with.

What belongs here: the types alone, with units. What does not: reading, checking and making them
(``scanimage.metadata``), and what follows from them (``scanimage.layout``, ``timing``, ``location``).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..json_text import json_text
from .page_faults import PageFault, places_by_times
from .paths import fov_name

#: Order of a FOV's corners in every array, named as in the metadata file.
CORNERS = ("topLeft", "topRight", "bottomLeft", "bottomRight")

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Corners:
    """The four corners of an image, each a pair of coordinates."""

    top_left: Point
    top_right: Point
    bottom_left: Point
    bottom_right: Point

    def as_array(self) -> NDArray[np.float64]:
        """Return the corners in the order of :data:`CORNERS`, shape (4, 2)."""
        return np.array([self.top_left, self.top_right, self.bottom_left, self.bottom_right], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Fov:
    """One field of view: a ScanImage ROI at one slice."""

    #: 0-based, in the order of ``FOV`` in the metadata file.
    index: int
    #: 0-based place of its slice within a volume (``slice_id``).
    slice_index: int
    #: Its lines of the page, counted from 1 (``lineIdx``).
    line_indices: tuple[int, ...]
    #: Columns and rows of its image.
    nx: int
    ny: int
    #: Depths that are imaged at once; 1 but for microscopes with two planes.
    n_depths: int
    #: Depths, µm (``Zs``).
    depths_um: tuple[float, ...] | None
    #: Corners as scan angles (x, y), degrees.
    deg: Corners
    #: Corners on the coverslip (ML, AP), mm from bregma.
    mm: Corners
    #: ScanImage's id of the ROI; FOVs of one ROI at several depths form a stack.
    roi_uuid: str | None
    #: Number of the channel that shows it, where channels are depths; else None, and all channels show it.
    channel: int | None = None

    @property
    def name(self) -> str:
        """ALF folder, as in ``FOV_00``."""
        return fov_name(self.index)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of its image."""
        return self.ny, self.nx

    @property
    def um_per_pixel(self) -> float:
        """Width of a pixel on the coverslip, µm: the top edge (``MM``) over the pixels per line."""
        return math.dist(self.mm.top_left, self.mm.top_right) * 1000 / self.nx


@dataclass(frozen=True, slots=True)
class WindowCenter:
    """Centre of the cranial window."""

    #: mm from bregma (``centerMM``).
    ml_mm: float
    ap_mm: float
    #: Scan angles, degrees (``centerDeg``).
    x_deg: float | None
    y_deg: float | None


@dataclass(frozen=True, slots=True)
class Orientation:
    """Directions in the image (x right, y down) in which ML and AP grow: unit vectors."""

    positive_ml: Point
    positive_ap: Point


@dataclass(frozen=True, slots=True)
class StackLayout:
    """How the frames of a bout divide into depths.

    Frames come volume by volume. A volume has all frames of its first slice, then all of the next …, then the frames
    that are recorded while the focus flies back. Frames are those that the scanner takes and that the DAQ gets a pulse
    of; with averaging, a page stands for several.
    """

    #: Depth of each slice in the order of scanning, µm; None where no stack was scanned.
    depths_um: tuple[float, ...] | None = None
    n_slices: int = 1
    #: Frames that follow each other at a slice of a volume (``framesPerSlice``).
    frames_per_slice: int = 1
    #: Frames per volume that are recorded while the focus flies back.
    n_flyback: int = 0
    #: Frames that ScanImage averaged into each page (``logAverageFactor``).
    frames_averaged: int = 1
    #: Whether the objective stops at each slice, which is an acquisition of its own; else it scans on.
    is_slow: bool = False

    @property
    def frames_per_volume(self) -> int:
        """Frames from one volume to the next."""
        return self.n_slices * self.frames_per_slice + self.n_flyback

    def slices_of(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tell which slice each frame of a bout shows.

        Parameters
        ----------
        frames
            (n,) i8, places of frames in the bout: ScanImage's ``frameNumbers`` less 1; for an average, its first.

        Returns
        -------
        ndarray
            (n,) i8, 0-based slice within the volume; -1 where the focus flies back.
        """
        place = frames % self.frames_per_volume // self.frames_per_slice
        return np.where(frames % self.frames_per_volume < self.n_slices * self.frames_per_slice, place, -1)


@dataclass(frozen=True, slots=True)
class ImagingMetadata:
    """Imaging metadata of one bout, checked and up to date.

    Made by :func:`~meso_core.scanimage.parse_imaging_metadata`. None stands for what the file does not tell. Two are
    equal if their files hold the same values; the order of keys does not count.
    """

    #: Version of the metadata format, once brought up to date.
    version: str
    #: When the acquisition started, by the clock of the microscope's computer.
    acquisition_start: datetime | None
    #: Pages of the bout: all slices, fly-back frames and channels (``nFrames`` in the file).
    n_pages: int
    #: Rows and columns of a page.
    page_height: int
    page_width: int
    #: Numbers of the channels saved, from 1, in the order of the pages.
    channels_saved: tuple[int, ...]
    #: Numbers of the channels that detect green light.
    green_channels: tuple[int, ...] | None
    #: Seconds per line of the scanner.
    line_period_s: float
    #: Frames (single slices) per second, Hz.
    frame_rate_hz: float | None
    #: Volumes per second, Hz.
    volume_rate_hz: float
    #: Time that the galvos take from one scanfield to the next, s.
    fly_to_s: float | None
    #: µm in the sample per degree of scan angle.
    objective_um_per_deg: float
    #: How frames divide into depths, by the raw header.
    stack: StackLayout
    #: Depths of the slices, µm: those of the stack, or else those that the file lists (``hStackManager.zs``).
    stack_depths_um: tuple[float, ...] | None
    window: WindowCenter
    orientation: Orientation | None
    #: ``[ML, AP] = [x - x0, y - y0, 1] @ coords_transform``: degrees from the window's centre to mm, 3 rows of 2.
    coords_transform: tuple[Point, ...] | None
    fovs: tuple[Fov, ...]
    #: sha-256 of the values of the file, brought up to date.
    digest: str
    #: The file as JSON text: as it was read, and brought up to date.
    source_json: str = field(repr=False, compare=False)
    patched_json: str = field(repr=False, compare=False)

    @property
    def n_channels(self) -> int:
        """Number of pages per frame."""
        return len(self.channels_saved)

    @property
    def frames_averaged(self) -> int:
        """Frames that ScanImage averaged into each page."""
        return self.stack.frames_averaged

    @property
    def is_slow_stack(self) -> bool:
        """Whether each slice of a volume is an acquisition of its own."""
        return self.stack.is_slow

    @property
    def fov_rate_hz(self) -> float:
        """How often a FOV is imaged, Hz, on average: with several frames per slice they come in bursts."""
        return self.volume_rate_hz * self.stack.frames_per_slice / self.stack.frames_averaged

    @property
    def functional_channel(self) -> int:
        """Index into ``channels_saved`` of the one that shows activity: the first green one, else the first."""
        green = self.green_channels or ()
        return next((i for i, channel in enumerate(self.channels_saved) if channel in green), 0)

    @property
    def channels_are_depths(self) -> bool:
        """Whether each FOV is in one channel only, as with light beads."""
        return any(fov.channel is not None for fov in self.fovs)

    @property
    def channels_used(self) -> tuple[int, ...]:
        """Numbers of the channels that become movies of each FOV: the one that shows activity, and one other.

        The other is the first that is not green, or else the first. Where channels are depths, all are used.
        """
        if self.channels_are_depths:
            return self.channels_saved
        first = self.channels_saved[self.functional_channel]
        others = [channel for channel in self.channels_saved if channel != first]
        second = [channel for channel in others if channel not in (self.green_channels or ())] or others
        return (first, *second[:1])

    @property
    def channels_unused(self) -> tuple[int, ...]:
        """Numbers of the channels that were saved and become no movie."""
        return tuple(channel for channel in self.channels_saved if channel not in self.channels_used)

    def to_json(self) -> str:
        """Return the metadata file, brought up to date, with all that it holds."""
        return self.patched_json

    def to_dict(self) -> dict[str, Any]:
        """Return :meth:`to_json` as a dict of the caller's own."""
        content: dict[str, Any] = json.loads(self.patched_json)
        return content


@dataclass(frozen=True, slots=True, eq=False)
class BoutMetadata:
    """What the microscope says of one imaging bout."""

    #: Name of the folder, as in ``raw_imaging_data_00``.
    name: str
    imaging: ImagingMetadata
    #: (n_pages,) f8, s since the acquisition's start by the microscope's clock, for each page used; read-only.
    page_times: NDArray[np.float64]
    #: (n_frames,) i8, place of each frame on file among those that the microscope took, and among the frame pulses of
    #: the DAQ: ``frameNumbers`` less 1 of its first raw frame. Ascending; read-only. None: by the gaps of the times.
    frame_index: NDArray[np.int64] = None  # type: ignore[assignment]  # (filled in below)
    #: What is wrong with the pages; frames that are missing for that reason are not listed.
    faults: tuple[PageFault, ...] = ()
    #: Places at which the acquisitions of a loop begin, ascending; each begins with a volume.
    acquisition_starts: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        times = np.array(self.page_times, dtype=np.float64)
        times.setflags(write=False)
        object.__setattr__(self, "page_times", times)
        given = self.frame_index is not None
        index = np.array(self.frame_index if given else self._by_times(), np.int64)
        if index.shape != self.frame_times.shape:
            raise ValueError(f"{self.name}: {index.size} places for {self.frame_times.size} frames")
        index.setflags(write=False)
        object.__setattr__(self, "frame_index", index)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BoutMetadata):
            return NotImplemented
        same = (self.name, self.imaging, self.faults) == (other.name, other.imaging, other.faults)
        same = same and self.acquisition_starts == other.acquisition_starts
        same = same and np.array_equal(self.page_times, other.page_times)
        return same and np.array_equal(self.frame_index, other.frame_index)

    def __hash__(self) -> int:
        return hash((self.name, self.imaging.digest, self.page_times.tobytes(), self.frame_index.tobytes()))

    def _by_times(self) -> NDArray[np.int64]:
        return (
            places_by_times(self.frame_times, self.imaging.stack.frames_averaged) * self.imaging.stack.frames_averaged
        )

    @property
    def frame_times(self) -> NDArray[np.float64]:
        """(n_frames,) f8, s, microscope clock, one per frame: each slice is a frame, the channels of it are not.

        The pages of a frame's channels carry the same time. A frame that lacks a channel at the end is none. Where
        the times come one by one although several channels are saved, the file counts frames already.
        """
        times, n_channels = self.page_times, self.imaging.n_channels
        whole = times[: times.size - times.size % n_channels].reshape(-1, n_channels)
        if n_channels > 1 and whole.size and (whole == whole[:, :1]).all():
            return np.ascontiguousarray(whole[:, 0])
        return times

    @property
    def frames_in_acquisition(self) -> NDArray[np.int64]:
        """(n_frames,) i8, place of each frame on file in its acquisition: it decides which slice the frame shows."""
        starts = np.array(self.acquisition_starts, np.int64)
        which = np.searchsorted(starts, self.frame_index, side="right") - 1
        return np.asarray(self.frame_index - starts[np.maximum(which, 0)])

    @property
    def n_frames(self) -> int:
        """Number of frames on file."""
        return int(self.frame_index.size)

    @property
    def n_taken(self) -> int:
        """Number of raw frames that the microscope took up to the last one on file."""
        return int(self.frame_index[-1]) + self.imaging.stack.frames_averaged if self.n_frames else 0

    @property
    def n_lost(self) -> int:
        """Number of frames that were recorded and are not on file, or not whole."""
        return sum(fault.n_frames for fault in self.faults)


@dataclass(frozen=True, slots=True)
class SessionMetadata:
    """What the microscope says of a session: one or more bouts of the same fields of view."""

    #: In the order of the folders' numbers; at least one.
    bouts: tuple[BoutMetadata, ...]

    @property
    def imaging(self) -> ImagingMetadata:
        """Imaging metadata of the session: those of its first bout."""
        return self.bouts[0].imaging

    def to_json(self) -> str:
        """Return all bouts as JSON; :func:`~meso_core.scanimage.parse_session_metadata` reads it back, bit for bit."""
        bouts = [
            {
                "name": bout.name,
                "metadata": bout.imaging.to_dict(),
                "page_times": bout.page_times.tolist(),
                "frame_index": bout.frame_index.tolist(),
                "faults": [asdict(fault) for fault in bout.faults],
                "acquisition_starts": list(bout.acquisition_starts),
            }
            for bout in self.bouts
        ]
        return json_text({"bouts": bouts}) + "\n"
