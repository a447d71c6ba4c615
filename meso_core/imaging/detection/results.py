"""What detection left in the folder of a FOV, read and checked.

What belongs here: reading ``stat.npy`` and ``iscell.npy``, which suite2p's GUI and whoever may write there can change.
What does not: what they are exported as (``export``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import InputFileError
from ...opening import read_array
from ..fovs.objects import read_objects

#: Settings in force when ROIs were detected; ``settings.npy`` beside it is of registration.
SETTINGS = "detect_settings.npy"
#: Whether each ROI is a cell; a person edits it in suite2p's GUI.
CLASSIFICATION = "iscell.npy"
#: What a person does where a result is damaged: it does not hold then, and is made again.
DETECT_AGAIN = "Move this file away and run rois of this session again"
_OF_EACH_ROI = {"ypix", "xpix", "lam", "med"}


def load_stat(folder: Path) -> np.ndarray:
    """Read ``stat.npy``: (n_rois,) dictionaries with the pixels of each ROI.

    Raises
    ------
    MissingInputError, InputFileError
        If it is not there, is damaged, or holds something else.
    """
    path = folder / "stat.npy"
    stat = read_objects(path, DETECT_AGAIN)
    odd = [i for i, roi in enumerate(stat.flat) if not (isinstance(roi, dict) and roi.keys() >= _OF_EACH_ROI)]
    if stat.ndim != 1 or odd:
        found = f"shape {stat.shape}" + (f", and something else as ROI {odd[0]}" if odd else "")
        raise InputFileError.at(
            path, expected="a dictionary with the pixels of each ROI", found=found, remedy=DETECT_AGAIN
        )
    return stat


def load_classification(folder: Path) -> np.ndarray:
    """Read ``iscell.npy``: (n_rois, 2), whether each ROI is a cell, and its probability.

    Raises
    ------
    MissingInputError, InputFileError
        If it is not there, is damaged, or holds something else.
    """
    path = folder / CLASSIFICATION
    iscell = read_array(path, DETECT_AGAIN)
    if iscell.ndim != 2 or iscell.shape[1] != 2 or iscell.dtype.kind not in "biuf":
        found = f"shape {iscell.shape}, dtype {iscell.dtype}"
        raise InputFileError.at(path, expected="two numbers for each ROI", found=found, remedy=DETECT_AGAIN)
    return iscell
