"""MAT-files of version 7.3 as MATLAB lays them out: HDF5 behind a header of 512 bytes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

CLASSES = {
    "f8": "double",
    "f4": "single",
    **{f"{k}{n}": f"{'u' * (k == 'u')}int{8 * n}" for k in "iu" for n in (1, 2, 4, 8)},
}


class Cell:
    """A cell array: its values in MATLAB's order, and its shape."""

    def __init__(self, values, shape=None):
        self.values, self.shape = list(values), shape or (1, len(values))


class Char:
    """A character matrix: rows of equal length."""

    def __init__(self, *rows):
        self.rows = rows


class Objects:
    """A value of a class that MATLAB keeps elsewhere, as ``string``."""

    def __init__(self, kind="string"):
        self.kind = kind


def save_mat73(path, **variables):
    """Write variables: arrays of two dimensions, bool for logical, text, a Cell, a Char, a dict for a struct."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            _write(file, name, value)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Fri Mar  3 10:00:00 2023 HDF5 schema 1.00 ."
    with Path(path).open("r+b") as raw:
        raw.write(header.ljust(116) + bytes(8) + b"\x00\x02IM")


def _write(parent, name, value):
    if isinstance(value, dict):
        group = parent.create_group(name)
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        for field, inner in value.items():
            _write(group, field, inner)
        return group
    if isinstance(value, Cell):
        return _cell(parent, name, value)
    if isinstance(value, Objects):
        # what it refers to lies in #subsystem#/MCOS
        entry = parent.create_dataset(name, data=np.array([[0xDD000000, 2, 1, 1, 1, 1]], np.uint32))
        entry.attrs["MATLAB_class"] = np.bytes_(value.kind)
        entry.attrs["MATLAB_object_decode"] = np.int32(3)
        return entry
    if isinstance(value, str):
        value = Char(value)
    if isinstance(value, Char):
        codes = np.array([[ord(c) for c in row] for row in value.rows], np.uint16)
        return _array(parent, name, codes, "char", decode=2)
    value = np.atleast_2d(np.asarray(value))
    if value.dtype == bool:
        return _array(parent, name, value.astype(np.uint8), "logical", decode=1)
    return _array(parent, name, value, CLASSES[value.dtype.str[1:]])


def _array(parent, name, value, kind, decode=None):
    if value.size == 0:
        entry = parent.create_dataset(name, data=np.array(value.shape, np.uint64))
        entry.attrs["MATLAB_empty"] = np.uint8(1)
    else:
        entry = parent.create_dataset(name, data=np.ascontiguousarray(value.T))
    entry.attrs["MATLAB_class"] = np.bytes_(kind)
    if decode is not None:
        entry.attrs["MATLAB_int_decode"] = np.int32(decode)
    return entry


def _cell(parent, name, cell):
    if not cell.values:
        return _array(parent, name, np.empty((0, 0)), "cell")
    store = parent.file.require_group("#refs#")
    refs = [_write(store, f"{name}_{i}", value).ref for i, value in enumerate(cell.values)]
    references = np.empty(len(refs), h5py.ref_dtype)
    references[:] = refs
    shape = tuple(reversed(cell.shape))  # MATLAB's order is that of HDF5 with the dimensions reversed
    entry = parent.create_dataset(name, data=references.reshape(shape), dtype=h5py.ref_dtype)
    entry.attrs["MATLAB_class"] = np.bytes_("cell")
    return entry
