"""MAT-files of version 7.3, which are HDF5.

What belongs here: how MATLAB lays out its classes in HDF5. The values come out as scipy gives those of older versions.

Notes
-----
A variable is an HDF5 dataset of the shape of MATLAB's in reverse order; its attribute ``MATLAB_class`` tells the class.
Characters are UTF-16 numbers, a cell array is a dataset of references, a struct a group, and what is empty holds its
size instead of values (``MATLAB_empty``). Objects (``MATLAB_object_decode``), ``string`` among them, are numbers of
entries in a store that MATLAB does not document.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import h5py

#: MATLAB writes its own header before that of HDF5.
_SIGNATURE, _SIGNATURE_AT = b"\x89HDF\r\n\x1a\n", (0, 512)
#: Far more than a recording has frames.
_MOST_VALUES = 10**8
_NUMBERS = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that only MATLAB can read."""

    #: Its class, as in ``string``.
    kind: str


def is_mat73(content: bytes) -> bool:
    """Whether the content of a file is of version 7.3."""
    return any(content[at : at + len(_SIGNATURE)] == _SIGNATURE for at in _SIGNATURE_AT)


def load_mat73(content: bytes) -> dict[str, Any]:
    """Load all variables; vectors have one dimension, a cell array of one is what it holds."""
    import h5py

    with h5py.File(io.BytesIO(content), "r") as file:
        return {name: _value(entry, file) for name, entry in file.items() if not name.startswith("#")}


def _value(entry: h5py.Dataset | h5py.Group, file: h5py.File) -> Any:  # noqa: ANN401  what MATLAB saved
    import h5py

    kind = _class_of(entry)
    if "MATLAB_object_decode" in entry.attrs or "MATLAB_sparse" in entry.attrs:
        return Unreadable(kind)
    if isinstance(entry, h5py.Group):
        return {name: _value(part, file) for name, part in entry.items()}
    if entry.attrs.get("MATLAB_empty", 0):
        return "" if kind == "char" else np.empty(0, object if kind == "cell" else np.float64)
    if entry.size > _MOST_VALUES:
        raise ValueError(f"{entry.name} with {entry.size} values")
    values = np.asarray(entry[()])
    if h5py.check_ref_dtype(entry.dtype) is not None:  # a cell array, or a field of an array of structs
        cells = np.empty(values.size, object)
        for i, reference in enumerate(values.reshape(-1)):
            cells[i] = _value(file[reference], file)
        return cells if cells.size != 1 else cells[0]
    if kind == "char":
        return _text(np.atleast_2d(values.T))
    if kind == "logical":
        return np.squeeze(values.T).astype(bool)
    if kind in _NUMBERS and values.dtype.kind in "iuf":
        return np.squeeze(values.T)
    return Unreadable(kind)


def _class_of(entry: h5py.Dataset | h5py.Group) -> str:
    kind = entry.attrs.get("MATLAB_class", b"struct" if hasattr(entry, "items") else b"value of an unknown class")
    return kind.decode("latin-1") if isinstance(kind, bytes) else str(kind)


def _text(codes: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401  one text, or an array of them
    rows = [np.ascontiguousarray(row, dtype="<u2").tobytes().decode("utf-16-le", errors="replace") for row in codes]
    return rows[0] if len(rows) == 1 else np.array(rows)
