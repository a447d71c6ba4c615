"""Reading the MATLAB files that an experimenter leaves, and finding out when one is damaged.

What belongs here: MAT-files and the shapes that MATLAB gives numbers and names. What does not: what they mean
(``frame_qc``).
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputFileError
from ..opening import RECORD_BYTES, TABLE_BYTES, read_plain

#: Type of a packed variable in a version 5 MAT-file.
_PACKED = 15


def load_mat(path: Path, fields: tuple[str, ...]) -> dict[str, Any]:
    """Load a MAT-file that must hold some fields.

    Raises
    ------
    InputFileError
        If it is cut short, does not load, or lacks a field.
    """
    from scipy.io import loadmat

    def bad(found: str, field: str | None = None) -> InputFileError:
        expected = f"a MATLAB file (version 7 or older) with {' and '.join(fields)}"
        remedy = "Copy the file again from the rig, or write it again with save(..., '-v7')"
        return InputFileError.at(path, field=field, expected=expected, found=found, remedy=remedy)

    packed = read_plain(path, TABLE_BYTES)
    if (missing := _missing_bytes(packed)) > 0:
        raise bad(f"a file cut short by {missing} bytes or more")
    if _unpacked_bytes(packed) > RECORD_BYTES:
        raise bad(f"variables of more than {RECORD_BYTES} bytes once unpacked")
    try:
        content: dict[str, Any] = loadmat(io.BytesIO(packed), squeeze_me=True, simplify_cells=True)
    except Exception as error:  # scipy's reader fails in many ways on a damaged file
        raise bad(f"a file that does not load ({type(error).__name__}: {error})") from error
    for field in fields:
        if field not in content:
            raise bad("no such field", field)
    return content


def _variables(content: bytes) -> list[tuple[int, int, int]]:
    """Return type, start and end of each variable of a version 5 MAT-file; of other versions, none."""
    if content[124:128] not in (b"\0\1IM", b"\1\0MI"):
        return []  # its reader must judge
    order: Literal["little", "big"] = "little" if content[126:128] == b"IM" else "big"
    found, end = [], 128
    while end < len(content):
        kind, size = (int.from_bytes(content[at : at + 4], order) for at in (end, end + 4))
        start, end = end + 8, end + 8 + size
        found.append((kind, start, end))
    return found


def _missing_bytes(content: bytes) -> int:
    """Return how many bytes the last variable of a version 5 MAT-file lacks; scipy's reader does not notice a few."""
    return max((end - len(content) for _, _, end in _variables(content)), default=0)


def _unpacked_bytes(content: bytes) -> int:
    """Count the bytes of packed variables, as far as is allowed, without keeping them."""
    total = 0
    for kind, start, end in _variables(content):
        unpacker, left = zlib.decompressobj(), content[start:end] if kind == _PACKED else b""
        try:
            while left and total <= RECORD_BYTES:
                total += len(unpacker.decompress(left, 1 << 20))
                left = unpacker.unconsumed_tail
        except zlib.error:
            continue  # its reader says what is wrong
    return total


def read_numbers(path: Path, field: str, value: ArrayLike) -> NDArray[np.float64]:
    """Return a field's whole numbers as a vector.

    Raises
    ------
    InputFileError
        If it holds something else.
    """
    try:
        numbers = np.atleast_1d(np.asarray(value)).reshape(-1).astype(np.float64)
        whole = bool((numbers == np.floor(numbers)).all())
    except (TypeError, ValueError) as error:
        found = f"{type(value).__name__}"
        remedy = "Copy the file again from the rig"
        raise InputFileError.at(path, field=field, expected="numbers", found=found, remedy=remedy) from error
    if not whole:
        raise InputFileError.at(
            path, field=field, expected="whole numbers", found="fractions", remedy="Write the file again"
        )
    return numbers


def read_names(value: ArrayLike) -> list[str]:
    """Return MATLAB's cell array of text as a list; an empty cell is an empty text."""
    if isinstance(value, str):
        return [value]
    return [item if isinstance(item, str) else "" for item in np.atleast_1d(np.asarray(value, dtype=object))]
