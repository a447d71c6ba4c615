"""Frames of a registered movie, wherever it lies.

What belongs here: opening it for measures, which ask for a few hundred frames of thousands. What does not: measuring.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputFileError
from ..imaging.fovs import plane
from ..opening import RandomFile
from ..scanimage.tiff.pages import FarFile
from .inputs import FarMovie, ReportInputs

#: Bytes of frames that are kept, for several measures ask for the same ones.
_KEPT_BYTES = 1 << 28


class FarFrames:
    """Frames of a movie that is read where a measure asks: what looks like (n_frames, ny, nx) int16 to it.

    Parameters
    ----------
    opened
        The movie's bytes.
    n_bytes
        How many they are.
    shape
        Rows and columns of a frame.
    """

    def __init__(self, opened: RandomFile, n_bytes: int, shape: tuple[int, int]) -> None:
        self._opened = opened
        self._of_frame = 2 * shape[0] * shape[1]
        self.shape = (n_bytes // self._of_frame, *shape)
        self._kept: dict[int, NDArray[np.int16]] = {}

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frames: int | slice | np.integer[Any]) -> NDArray[np.int16]:
        """Return a frame (ny, nx), or some (n, ny, nx)."""
        if isinstance(frames, slice):
            return np.stack([self._frame(number) for number in range(*frames.indices(len(self)))])
        return self._frame(int(frames))

    def _frame(self, number: int) -> NDArray[np.int16]:
        if number not in self._kept:
            if (len(self._kept) + 1) * self._of_frame > _KEPT_BYTES:
                self._kept.pop(next(iter(self._kept)))
            content = self._read(number * self._of_frame)
            if len(content) != self._of_frame:
                raise InputFileError.at(
                    "the registered movie",
                    expected=f"{self._of_frame} bytes of frame {number}",
                    found=f"{len(content)} bytes",
                    remedy="Run again when nobody writes it",
                )
            self._kept[number] = np.frombuffer(content, np.int16).reshape(self.shape[1:])
        return self._kept[number]

    def _read(self, start: int) -> bytes:
        if isinstance(self._opened, FarFile):  # whose blocks would bring parts of frames that nobody asks for
            return self._opened.read_evenly(start, self._of_frame, 1, self._of_frame)
        self._opened.seek(start)
        return self._opened.read(self._of_frame)


@contextmanager
def opened_movie(inputs: ReportInputs, fov: str, shape: tuple[int, int]) -> Iterator[Any]:
    """Open the registered movie of a FOV as (n_frames, ny, nx) int16; None where there is none.

    Raises
    ------
    StorageError
        If it is on a server that does not give it, or is another one at the end.
    """
    if fov in inputs.movies:
        yield plane.open_frames(inputs.movies[fov], shape)
    elif fov in inputs.far_movies:
        yield from _far(inputs.far_movies[fov], shape)
    else:
        yield None


def _far(movie: FarMovie, shape: tuple[int, int]) -> Iterator[FarFrames]:
    with movie.opened() as opened:
        yield FarFrames(opened, movie.n_bytes, shape)
