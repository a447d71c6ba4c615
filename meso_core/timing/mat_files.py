"""Reading the MATLAB files that an experimenter leaves, and finding out when one is damaged.

What belongs here: MAT-files and the shapes that MATLAB gives numbers and names. What does not: what they mean
(``frame_qc``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputFileError, problem


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
        return InputFileError(problem(path, field=field, expected=expected, found=found, remedy=remedy))

    if (missing := _missing_bytes(path)) > 0:
        raise bad(f"a file cut short by {missing} bytes or more")
    try:
        content: dict[str, Any] = loadmat(path, squeeze_me=True, simplify_cells=True)
    except Exception as error:  # scipy's reader fails in many ways on a damaged file
        raise bad(f"a file that does not load ({type(error).__name__}: {error})") from error
    for field in fields:
        if field not in content:
            raise bad("no such field", field)
    return content


def _missing_bytes(path: Path) -> int:
    """Return how many bytes the last variable of a version 5 MAT-file lacks; scipy's reader does not notice a few."""
    with path.open("rb") as file:
        size = path.stat().st_size
        header = file.read(128)
        if header[124:128] not in (b"\0\1IM", b"\1\0MI"):
            return 0  # of another version, which its reader must judge
        order: Literal["little", "big"] = "little" if header.endswith(b"IM") else "big"
        end = 128
        while end < size:
            file.seek(end)
            tag = file.read(8)
            if len(tag) < 8:
                return 8 - len(tag)
            end += 8 + int.from_bytes(tag[4:], order)
    return end - size


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
        raise InputFileError(problem(path, field=field, expected="numbers", found=found, remedy=remedy)) from error
    if not whole:
        raise InputFileError(
            problem(path, field=field, expected="whole numbers", found="fractions", remedy="Write the file again")
        )
    return numbers


def read_names(value: ArrayLike) -> list[str]:
    """Return MATLAB's cell array of text as a list; an empty cell is an empty text."""
    if isinstance(value, str):
        return [value]
    return [item if isinstance(item, str) else "" for item in np.atleast_1d(np.asarray(value, dtype=object))]
