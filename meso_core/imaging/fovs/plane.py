"""The folder of one FOV in suite2p's layout.

What belongs here: names of the files in ``planeN``, and reading and writing of suite2p's own files. What does not: the
work.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...errors import InputFileError, MissingInputError
from ...opening import read_plain
from ...storage.files.atomic import replacing, write_file
from ...storage.files.hashing import FileHash
from .objects import read_objects

RAW = "data_raw.bin"
RAW_CHAN2 = "data_chan2_raw.bin"
REGISTERED = "imaging.frames_motionRegistered.bin"
REGISTERED_CHAN2 = "imaging.frames_motionRegistered_chan2.bin"
BAD_FRAMES = "bad_frames.npy"
LOG = "run.log"

REGISTRATION = "registration"
DETECTION = "detection"
#: In their order.
STAGES = (REGISTRATION, DETECTION)
#: What a person does where a file of suite2p is damaged: its marker does not hold then, and it is made again.
_AGAIN = "Move this file away and run motion_registered_frames and rois of this session again"


#: In ``planeN``: the folders, one a line, in which movies lie that were moved out of it.
_MOVED_TO = ".movies"


def find_movie(folder: Path, name: str) -> Path:
    """Path of a movie of a FOV: in its folder, or where :func:`note_moved` says; in its folder where it is nowhere."""
    places = [folder]
    if not (folder / name).is_file() and (folder / _MOVED_TO).is_file():
        places += [folder / line for line in read_plain(folder / _MOVED_TO).decode().splitlines()]
    return next((place / name for place in places if (place / name).is_file()), folder / name)


def note_moved(folder: Path, places: Sequence[Path]) -> None:
    """Note in which folders movies of a FOV are looked for, in this order, where its own folder has none."""
    lines = "".join(f"{os.path.relpath(place, folder)}\n" for place in places)
    if not (folder / _MOVED_TO).is_file() or read_plain(folder / _MOVED_TO) != lines.encode():
        write_file(folder / _MOVED_TO, lines.encode())


class SupportsWrite(Protocol):
    """Something that bytes are written to."""

    def write(self, data: bytes, /) -> int:
        """Write, and return the number of bytes."""


def count_frames(path: Path, shape: tuple[int, int]) -> int:
    """Frames of a binary of int16 frames.

    Raises
    ------
    MissingInputError, InputFileError
        If it is not there, or does not hold whole frames.
    """
    if not path.is_file():
        raise MissingInputError.at(
            path, expected="a binary of this FOV's frames", found="no such file", remedy="Split the tifs again"
        )
    frame_bytes = 2 * shape[0] * shape[1]
    n_frames, rest = divmod(path.stat().st_size, frame_bytes)
    if rest or n_frames == 0:
        raise InputFileError.at(
            path,
            expected=f"whole frames of {shape[0]} × {shape[1]} int16",
            found=f"{path.stat().st_size} bytes ({n_frames} frames and {rest} bytes)",
            remedy="Split the tifs again; the file was cut short or belongs to another FOV",
        )
    return n_frames


def has_whole_frames(path: Path, shape: tuple[int, int]) -> bool:
    """Whether a binary is there and holds whole frames; else :func:`count_frames` says what is wrong."""
    return path.is_file() and path.stat().st_size > 0 == path.stat().st_size % (2 * shape[0] * shape[1])


def open_frames(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Map a binary as (n_frames, ny, nx) int16, read-only."""
    return np.memmap(path, np.int16, "r", shape=(count_frames(path, shape), *shape))


def load_dict(path: Path) -> dict[str, Any]:
    """Read one of suite2p's dictionaries (``db.npy``, ``reg_outputs.npy`` …); errors as :func:`read_objects`."""
    content = read_objects(path, _AGAIN)
    value = content.item() if content.size == 1 else None
    if not isinstance(value, dict):
        raise InputFileError.at(path, expected="a dictionary", found=f"shape {content.shape}", remedy=_AGAIN)
    return value


def save_objects(path: Path, content: Mapping[str, Any] | np.ndarray) -> FileHash:
    """Write one of suite2p's dictionaries, or its array of ROIs, whole or not at all.

    Parameters
    ----------
    path
        File that ``numpy.load(path, allow_pickle=True)`` will read.
    content
        A dictionary, or an array of dictionaries.

    Returns
    -------
    FileHash
        What was written.
    """
    with replacing(path) as file:
        dump_objects(file, content)
    return file.content


def dump_objects(file: SupportsWrite, content: Mapping[str, Any] | np.ndarray) -> None:
    """Write objects as ``numpy.save`` does, equal values in equal bytes.

    ``numpy.save`` pickles an object that occurs twice by reference, so that equal values give unequal bytes, depending
    on which of them are one object in memory. Here every value is written out.
    """
    array = content if isinstance(content, np.ndarray) else np.array(dict(content), dtype=object)
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": array.shape})
    pickler = pickle.Pickler(file, protocol=4)
    pickler.fast = True
    pickler.dump(array)


def save_array(path: Path, array: np.ndarray) -> FileHash:
    """Write an array as ``.npy``, whole or not at all, and return its hashes."""
    with replacing(path) as file:
        np.save(file, array, allow_pickle=False)
    return file.content


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process had begun to write; one process at a time works in a FOV's folder."""
    for left in folder.glob(".*.part"):
        if left.is_file():
            left.unlink()
