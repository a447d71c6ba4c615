"""What the microscope says of an imaging bout: its metadata and when it took each frame on its own clock.

What belongs here: reading those two files of each bout. What does not: the DAQ.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputFileError, MissingInputError, problem
from ..scanimage import ImagingLayout, load_meta_files
from ..session import IMAGING_META_FILE, IMAGING_TIMES_FILE, imaging_bouts
from .npy import NpyFile


@dataclass(frozen=True, slots=True)
class ImagingBout:
    """One imaging bout as the microscope saw it."""

    #: Name of the folder, as in ``raw_imaging_data_00``.
    name: str
    #: Imaging metadata of the bout.
    meta: Mapping[str, Any]
    #: (n_frames,) f8, s since the acquisition's start, microscope clock.
    frame_timestamps: NDArray[np.float64]

    @property
    def n_frames(self) -> int:
        """Number of frames on file; each depth is a frame of its own, the channels of a frame are not."""
        return int(self.frame_timestamps.size)


def load_imaging_bouts(session_path: str | os.PathLike[str]) -> tuple[ImagingBout, ...]:
    """Read metadata and frame timestamps of all imaging bouts of a session.

    Parameters
    ----------
    session_path
        Session folder.

    Returns
    -------
    tuple of ImagingBout
        In the order of the folders' numbers.

    Raises
    ------
    MissingInputError
        If a bout lacks one of the files.
    InputFileError, MetadataError
        If one is damaged or does not hold what it must.
    """
    folders = imaging_bouts(session_path)
    _, metas = load_meta_files(session_path)
    return tuple(_load(folder, meta) for folder, meta in zip(folders, metas, strict=True))


def _load(folder: Path, meta: Mapping[str, Any]) -> ImagingBout:
    path = folder / IMAGING_TIMES_FILE
    if not path.is_file():
        remedy = "Make the imaging metadata from the tifs first"
        raise MissingInputError(problem(path, expected="frame timestamps", found="no such file", remedy=remedy))
    file = NpyFile(path)
    stamps = np.array(file.mapped(), dtype=np.float64).reshape(-1)
    if not file.is_vector or not np.isfinite(stamps).all():
        found = f"shape {file.shape}" if not file.is_vector else "NaN or infinity"
        remedy = "Take the file away and make the imaging metadata again from the tifs"
        raise InputFileError(problem(path, expected="one finite time per page", found=found, remedy=remedy))
    n_channels = ImagingLayout.from_meta(dict(meta), str(folder / IMAGING_META_FILE)).n_channels
    return ImagingBout(folder.name, meta, _per_frame(stamps, n_channels))


def _per_frame(stamps: NDArray[np.float64], n_channels: int) -> NDArray[np.float64]:
    """Return one time per frame: the pages of a frame's channels carry the same time."""
    whole = stamps[: stamps.size - stamps.size % n_channels].reshape(-1, n_channels)
    if n_channels > 1 and whole.size and (whole == whole[:, :1]).all():
        return np.ascontiguousarray(whole[:, 0])  # a frame that lacks a channel at the end is none
    return stamps
