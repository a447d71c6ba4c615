"""Reading the MATLAB files that an experimenter leaves, and finding out when one is damaged.

What belongs here: MAT-files of all versions and the shapes that MATLAB gives numbers and names. What does not: what
they mean (``frame_qc``), and the layout of version 7.3 (``mat73``).
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.exceptions import ComplexWarning
from numpy.typing import NDArray

from ..errors import InputFileError
from ..opening import RECORD_BYTES, TABLE_BYTES, read_plain
from .mat73 import Unreadable, is_mat73, load_mat73

#: Type of a packed variable in a version 5 MAT-file.
_PACKED = 15
#: A struct may hold the fields, or a struct in it.
_DEEPEST = 3


def load_mat(path: Path, fields: tuple[str, ...]) -> dict[str, Any]:
    """Load a MAT-file of any version (4, 6, 7, 7.3) that must hold some fields, at its top or in one struct.

    Raises
    ------
    InputFileError
        If it is cut short, does not load, lacks a field, or has a field of a class that cannot be read.
    """

    def bad(found: str, field: str | None = None) -> InputFileError:
        expected = f"a MATLAB file with {' and '.join(fields)}"
        remedy = (
            "Copy the file again from the rig, write it again with save(..., '-v7'), or move it away: then no frame of "
            "this bout is rated"
        )
        return InputFileError.at(path, field=field, expected=expected, found=found, remedy=remedy)

    packed = read_plain(path, TABLE_BYTES)
    if (missing := _missing_bytes(packed)) > 0:
        raise bad(f"a file cut short by {missing} bytes or more")
    if _unpacked_bytes(packed) > RECORD_BYTES:
        raise bad(f"variables of more than {RECORD_BYTES} bytes once unpacked")
    try:
        content = load_mat73(packed) if is_mat73(packed) else _load_mat5(packed)
    except Exception as error:  # the readers fail in many ways on a damaged file
        raise bad(f"a file that does not load ({type(error).__name__}: {error})") from error
    holders = [holder for holder in _structs(content) if all(field in holder for field in fields)]
    if len(holders) > 1 and holders[0] is not content:
        raise _bad_content(path, fields[0], "one struct that holds it", f"{len(holders)} of them", "Keep one of them")
    best = holders[0] if holders else content
    for field in fields:
        if field not in best:
            names = ", ".join(sorted(name for name in best if not name.startswith("__"))) or "nothing"
            remedy = "Save it under this name; the file of another program does not belong here"
            raise _bad_content(path, field, "this variable, or one struct that holds it", names, remedy)
    return {field: _readable(path, field, best[field]) for field in fields}


def _load_mat5(packed: bytes) -> dict[str, Any]:
    """Load a file of version 4, 6 or 7; of what it holds as objects only the names and classes are known."""
    from scipy.io import loadmat, matlab

    content: dict[str, Any]
    try:
        with warnings.catch_warnings(action="error", category=ComplexWarning):
            # mat_dtype tells what is logical
            content = loadmat(io.BytesIO(packed), squeeze_me=True, simplify_cells=True, mat_dtype=True)
    except ComplexWarning:  # it would drop the imaginary part
        content = loadmat(io.BytesIO(packed), squeeze_me=True, simplify_cells=True)
    # scipy files all objects under one name, which is none of theirs
    for entry in [value for value in content.values() if isinstance(value, matlab.MatlabOpaque)]:
        for name, _, kind, _ in np.atleast_1d(entry).tolist():
            content[bytes(name).decode("latin-1")] = Unreadable(bytes(kind).decode("latin-1"))
    return content


def _structs(content: dict[str, Any], depth: int = 0) -> Iterator[dict[str, Any]]:
    yield content
    if depth < _DEEPEST:
        for value in content.values():
            if isinstance(value, dict):
                yield from _structs(value, depth + 1)


def _readable(path: Path, field: str, value: object) -> Any:  # noqa: ANN401  what MATLAB saved
    for part in np.ravel(np.asarray(value, dtype=object)):
        if isinstance(part, Unreadable):
            write = f"cellstr({field})" if part.kind == "string" else f"double({field})"
            remedy = f"In MATLAB, set {field} = {write} and save the file again with save(..., '-v7')"
            expected = "numbers, or a cell array of character vectors"
            raise _bad_content(path, field, expected, f"a MATLAB {part.kind}, which only MATLAB reads", remedy)
    return value


def _bad_content(path: Path, field: str, expected: str, found: str, remedy: str) -> InputFileError:
    return InputFileError.at(path, field=field, expected=expected, found=found, remedy=remedy)


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


def read_numbers(path: Path, field: str, value: object) -> NDArray[np.float64]:
    """Return a field's whole numbers as a vector: a row, a column, a scalar, or none.

    Raises
    ------
    InputFileError
        If it holds something else.
    """
    write = f"In MATLAB, set {field} to a vector of whole numbers and save the file again"
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or array.size not in (0, max(array.shape, default=1)):
        raise _bad_content(path, field, "numbers in a vector", _kind(value), write)
    numbers = np.atleast_1d(array).reshape(-1).astype(np.float64)
    if not bool((numbers == np.floor(numbers)).all()):
        raise _bad_content(path, field, "whole numbers", "fractions, or NaN", write)
    return numbers


def _kind(value: object) -> str:
    """Describe what a field holds instead."""
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, dict):
        return f"a struct with {', '.join(value)}"
    array = np.asarray(value)
    what = {"O": "a cell array", "U": "text", "c": "complex numbers"}.get(array.dtype.kind, f"{array.dtype}")
    return f"{what} of {' x '.join(map(str, array.shape)) or '1'}"


def read_names(path: Path, field: str, value: object) -> list[str]:
    """Return MATLAB's names as a list: a cell array of text, a character matrix, or one text.

    Blanks at the end are padding. An empty cell is an empty text.

    Raises
    ------
    InputFileError
        If it holds something else.
    """
    if isinstance(value, str):
        return [_text(value)]
    names = []
    for item in np.atleast_1d(np.asarray(value, dtype=object)).reshape(-1):
        text = item
        if isinstance(item, np.ndarray) and item.size <= 1:  # an empty cell, or a cell in a cell
            text = item.reshape(-1)[0] if item.size else ""
        if not isinstance(text, str):
            remedy = f"In MATLAB, set {field} = {{'name of 0', 'name of 1', …}} and save the file again"
            raise _bad_content(path, field, "a cell array of character vectors", f"in it {_kind(item)}", remedy)
        names.append(_text(text))
    return names


def _text(text: str) -> str:
    return str(text).rstrip(" \0")
