"""Tables with one row per frame, written and read a few rows at a time.

What belongs here: npy files as streams, so that a longer session takes no more memory. What does not: their content.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


def start_npy(file: BinaryIO, shape: tuple[int, ...], dtype: str, *, fortran_order: bool = False) -> None:
    """Write the header of an npy file; the values are written later."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": fortran_order, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


@dataclass(frozen=True, slots=True)
class RowFile:
    """An npy file of shape (n_rows, n_columns) that is read by rows and never as a whole."""

    path: Path

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Read rows ``start`` to ``stop``."""
        with self.path.open("rb") as file:
            np.lib.format.read_magic(file)
            (_, width), _, dtype = np.lib.format.read_array_header_1_0(file)
            file.seek(start * width * dtype.itemsize, 1)
            return np.fromfile(file, dtype, (stop - start) * width).reshape(stop - start, width)
