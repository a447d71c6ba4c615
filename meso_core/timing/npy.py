"""Reading columns of a large ``.npy`` file through small windows.

What belongs here: the header, its checks, and windows onto the data. What does not: what the numbers mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputFileError, problem

#: Size of a window in bytes: large enough that the loop costs nothing, small enough to stay in the CPU's cache.
WINDOW_BYTES = 2**21


class NpyFile:
    """A ``.npy`` file of real numbers, checked but not read.

    Parameters
    ----------
    path
        The file.
    ndim
        Number of dimensions it must have, if that is known.

    Raises
    ------
    InputFileError
        If the header is damaged, the data are cut short, or they are not real numbers.
    """

    def __init__(self, path: Path, ndim: int | None = None) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                self.shape, self.fortran, self.dtype = read(file)
                self.offset = file.tell()
        except (ValueError, SyntaxError, EOFError, TypeError) as error:
            raise self._bad("a .npy array", f"a damaged header ({error})") from error
        if self.dtype.kind not in "iuf":
            raise self._bad("real numbers", f"dtype {self.dtype}")
        if ndim is not None and len(self.shape) != ndim:
            raise self._bad(f"{ndim} dimensions", f"shape {self.shape}")
        expected, found = self.offset + self.size * self.dtype.itemsize, path.stat().st_size
        if found != expected:
            raise self._bad(f"{expected} bytes, as its header says for shape {self.shape}", f"{found} bytes")

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def is_vector(self) -> bool:
        """Whether this is a row of numbers; MATLAB writes such as a single column."""
        return len(self.shape) == 1 or (len(self.shape) == 2 and 1 in self.shape)

    def mapped(self) -> NDArray[Any]:
        """Memory-map the whole array, read-only."""
        if self.size == 0:
            return np.empty(self.shape, self.dtype)
        order: Literal["F", "C"] = "F" if self.fortran else "C"
        return np.memmap(self.path, self.dtype, mode="r", offset=self.offset, shape=self.shape, order=order)

    def take(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Return elements of a vector, window by window.

        Parameters
        ----------
        indices
            (n,) int64, ascending.
        """
        n_window = max(1, WINDOW_BYTES // self.dtype.itemsize)
        taken = np.empty(indices.size, self.dtype)
        for first in range(0, self.size, n_window):
            start, stop = np.searchsorted(indices, (first, first + n_window))
            if start < stop:
                n = min(n_window, self.size - first)
                place = self.offset + first * self.dtype.itemsize
                window = np.memmap(self.path, self.dtype, mode="r", offset=place, shape=(n,))
                taken[start:stop] = window[indices[start:stop] - first]
        return taken

    def column_blocks(self, columns: Sequence[int]) -> Iterator[tuple[int, tuple[NDArray[Any], ...]]]:
        """Yield columns of a 2-D array, block by block.

        Each block maps its own window of the file and lets it go: a map of the whole file would leave all of it
        resident.

        Parameters
        ----------
        columns
            0-based columns.

        Yields
        ------
        int
            First row of the block.
        tuple of ndarray
            (n_rows,) for each column, of the file's type; valid until the next block.
        """
        n_rows, n_columns = self.shape
        item = self.dtype.itemsize
        rows = max(1, WINDOW_BYTES // (item if self.fortran else item * n_columns))
        for first in range(0, n_rows, rows):
            n = min(rows, n_rows - first)
            if self.fortran:
                starts = [self.offset + (column * n_rows + first) * item for column in columns]
                windows = [np.memmap(self.path, self.dtype, mode="r", offset=s, shape=(n,)) for s in starts]
                yield first, tuple(np.asarray(w) for w in windows)
            else:
                start = self.offset + first * n_columns * item
                window = np.asarray(np.memmap(self.path, self.dtype, mode="r", offset=start, shape=(n, n_columns)))
                yield first, tuple(window[:, column] for column in columns)

    def _bad(self, expected: str, found: str) -> InputFileError:
        return InputFileError(
            problem(self.path, expected=expected, found=found, remedy="Copy the file again from the rig")
        )
