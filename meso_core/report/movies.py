"""The movie of a field of view beside the page: raw and registered frames of the same moments.

What belongs here: from tifs and the registered movie to one small file, or why there is none. What does not: which
stretch it is (``measure``), how it is encoded (``draw``), and where it is shown (``page``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import MesoError
from ..imaging.fovs import plane
from ..opening import read_plain
from ..scanimage import ChosenFrames, ImagingLayout
from ..session import BoutMetadata, Fov
from .draw.movie import FRAMES_PER_S, frame_of, poster, side_by_side, webm
from .inputs import ReportInputs
from .measure.clock import FovClock
from .measure.motion import FovMotion
from .measure.stretch import liveliest, smaller

#: Folder of the movies, beside the page.
MOVIES = "session_movies"
#: A movie is about a megabyte; more than this is none of ours.
_MOST_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class FovMovie:
    """Raw and registered frames of one field side by side."""

    #: Path below the folder of the page.
    path: str
    #: WebM. Equal inputs give equal bytes.
    content: bytes
    #: Data URI of a picture of it.
    poster: str
    width: int
    height: int
    #: What it shows, s: its first moment, and how long that took.
    first_s: float
    recorded_s: float
    #: How long it is shown, s.
    shown_s: float


class MovieMaker:
    """Makes the movies of a session's fields."""

    def __init__(self, inputs: ReportInputs) -> None:
        self._inputs = inputs
        self._readers: Mapping[str, ChosenFrames] = {}
        if inputs.metadata is not None and inputs.raw_tifs:
            layout = ImagingLayout.from_meta(inputs.metadata.imaging)
            self._readers = {bout: ChosenFrames(bout, tifs, layout) for bout, tifs in inputs.raw_tifs.items()}

    def make(self, fov: Fov, motion: FovMotion | None, clock: FovClock | None) -> FovMovie | str:
        """Make the movie of a field; or say why there is none, as the end of a sentence."""
        if motion is None or clock is None:
            return self._inputs.why_missing("motion_registered_frames", fov.name)
        if fov.name not in self._inputs.movies:
            return self._inputs.no_movies or "the registered movie is not there"
        if self._inputs.no_raw and fov.name not in self._inputs.kept_movies:
            return self._inputs.no_raw
        try:
            return self._make(fov, motion, clock)
        except MesoError as error:
            return str(error).rstrip(".")

    def _make(self, fov: Fov, motion: FovMotion, clock: FovClock) -> FovMovie | str:
        assert self._inputs.metadata is not None, "there is a clock"
        bouts = self._inputs.metadata.bouts
        if len(clock.edges) != len(bouts) + 1:
            return "the registered movie has other frames than the metadata list"
        first, last = liveliest(motion, clock.edges)
        if last - first < 2:
            return "no bout has two frames of it"
        number = int(np.searchsorted(clock.edges, first, side="right")) - 1
        bout = bouts[number]
        if self._inputs.no_raw:
            content = read_plain(self._inputs.kept_movies[fov.name], _MOST_BYTES)
        elif bout.name not in self._readers:
            return f"{bout.name} has no raw tifs"
        else:
            own = slice(first - clock.edges[number], last - clock.edges[number])
            raw = smaller(self._readers[bout.name].read(fov.index, _places(bout, fov)[own]))
            movie = plane.open_frames(self._inputs.movies[fov.name], fov.shape)
            content = webm(side_by_side(raw, smaller(movie[k] for k in range(first, last))))
        # of the movie itself, so that the page is the same where that was kept
        middle, seconds = frame_of(content, (last - first) // 2), clock.seconds[first:last]
        return FovMovie(
            f"{MOVIES}/{fov.name}.webm",
            content,
            poster(middle),
            middle.shape[1],
            middle.shape[0],
            float(seconds[0]),
            float(np.median(np.diff(seconds))) * len(seconds),
            len(seconds) / FRAMES_PER_S,
        )


def _places(bout: BoutMetadata, fov: Fov) -> NDArray[np.int64]:
    """Places of the frames of a field in a bout."""
    return np.asarray(bout.frame_index[bout.imaging.stack.slices_of(bout.frames_in_acquisition) == fov.slice_index])
