"""suite2p's pickled files (``db.npy``, ``stat.npy`` …), read without running what is in them.

What belongs here: the reader, and the few names that such a file may use. A pickle can name any function of Python and
have it called; whoever may write into a session could so run programs as the platform's user.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from ...errors import InputFileError
from ...opening import RECORD_BYTES, read_header, read_plain

#: Kinds of numbers and texts; no structures, whose layout a file could forge.
_PLAIN_TYPE = re.compile(r"[biufcSUO]\d+")


class _Kind:
    """Stands for a dtype; all that a file may say of it is its kind and byte order."""

    def __init__(self, kind: str, *_: object) -> None:
        if not _PLAIN_TYPE.fullmatch(kind):
            raise pickle.UnpicklingError(f"values of type {kind!r}")
        self.dtype = np.dtype(kind)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("a structure")
        if state[1] in "<>":
            self.dtype = self.dtype.newbyteorder(state[1])


class _Values(np.ndarray):
    """Stands for an array while it is filled."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, kind, fortran, data = state[-4:]
        super().__setstate__((1, shape, kind.dtype, fortran, data))


def _empty(*_: object) -> _Values:
    return _Values(0)


def _number(kind: _Kind, data: bytes) -> np.generic:
    number: np.generic = np.frombuffer(data, kind.dtype, 1)[0]
    return number


def _buffer(data: bytes, kind: _Kind, shape: tuple[int, ...], order: Literal["C", "F"]) -> np.ndarray:
    return np.frombuffer(data, kind.dtype).reshape(shape, order=order)


def _encoded(text: str, encoding: str) -> bytes:
    if encoding != "latin1":  # by which old pickles spell bytes
        raise pickle.UnpicklingError(f"bytes as {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""  # by which old pickles spell the empty ones


def _path(*parts: str) -> PurePosixPath:
    return PurePosixPath(*parts)


#: Module and name in a file → what it stands for; none of it does anything but make values.
_NAMES: Mapping[tuple[str, str], Any] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _empty for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _number for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _buffer for core in ("core", "_core")},
    ("numpy", "ndarray"): "named, never called",
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _encoded,
    **{(module, "bytes"): _no_bytes for module in ("builtins", "__builtin__")},
    **{(m, f"{p}Path"): _path for m in ("pathlib", "pathlib._local") for p in ("Posix", "Windows", "PurePosix")},
}


class _Reader(pickle.Unpickler):
    """Knows the names of arrays and plain values alone."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  pickle's
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"{module}.{name}, which is neither an array nor a plain value")
        return _NAMES[module, name]


def _plain(value: Any) -> Any:  # noqa: ANN401  of a stranger
    """Give arrays their usual class, at any depth."""
    if isinstance(value, _Values):
        value = value.view(np.ndarray)
        if value.dtype.hasobject:
            for at in np.ndindex(value.shape):
                value[at] = _plain(value[at])
        return value
    if isinstance(value, dict):
        return {_plain(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(part) for part in value)
    return value


def read_objects(path: Path, remedy: str) -> np.ndarray:
    """Read a ``.npy`` file of numbers, or of dictionaries of arrays and plain values; nothing in it is run.

    Parameters
    ----------
    path
        The file.
    remedy
        What a person does where it is damaged.

    Returns
    -------
    numpy.ndarray
        Any shape.

    Raises
    ------
    MissingInputError
        If it is not there.
    InputFileError
        If it is no such file, or names anything but arrays and plain values.
    """
    content = io.BytesIO(read_plain(path, RECORD_BYTES))
    try:
        shape, fortran, dtype = read_header(content)
        if dtype.hasobject:
            array = _plain(_Reader(content).load())
            array = array if isinstance(array, np.ndarray) else np.array(array, dtype=object)
            return array.reshape(shape)
        flat = np.frombuffer(content.getbuffer()[content.tell() :], dtype)
        return flat.reshape(shape, order="F" if fortran else "C").copy()
    except Exception as error:  # a damaged pickle fails in many ways
        found = f"{type(error).__name__}: {error}"
        raise InputFileError.at(
            path, expected="suite2p's numbers and dictionaries", found=found, remedy=remedy
        ) from error
