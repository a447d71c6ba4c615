"""Labels that a person edited in suite2p's GUI and that no run has taken over yet.

What belongs here: how many, when and by whom, by looking at two small files. What becomes of them is in ``imaging``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .errors import InputFileError, MissingInputError
from .opening import read_array


@dataclass(frozen=True, slots=True)
class HandEdit:
    """A classification of ROIs that is another one than what was published of it."""

    #: File that was edited, below the session.
    path: str
    #: ROIs that are called something else; None where the two lists cannot be compared.
    n_labels: int | None
    #: When it was saved, s since 1970.
    at: float
    #: Owner of the file; empty where the system does not know the name.
    who: str

    def __str__(self) -> str:
        n = self.n_labels
        what = "labels" if n is None else f"{n} label{'' if n == 1 else 's'}"
        by = f" by {self.who}" if self.who else ""
        when = datetime.fromtimestamp(self.at).astimezone().strftime("%Y-%m-%d %H:%M")
        return f"{what} edited by hand on {when}{by} in {self.path}: they wait for the next run"


def hand_edit(session_path: Path, classification: str, published: str) -> HandEdit | None:
    """Compare a classification with the labels that were published from it.

    Parameters
    ----------
    session_path
        Session folder.
    classification
        ``iscell.npy``, (n_rois, 2), by its path below the session.
    published
        ``mpciROIs.mpciROITypes.npy``, (n_rois,), by its path below the session.

    Returns
    -------
    HandEdit or None
        None where the labels are the published ones, or the classification is not there.
    """
    file = session_path / classification
    try:
        status, owner = file.stat(), file.owner()
    except (KeyError, OSError, NotImplementedError):  # a user that this machine does not know; or no file
        owner = ""
        if not file.is_file():
            return None
        status = file.stat()
    n_labels = _n_differing(file, session_path / published)
    return None if n_labels == 0 else HandEdit(classification, n_labels, status.st_mtime, owner)


def _n_differing(file: Path, published: Path) -> int | None:
    try:
        now, before = read_array(file), read_array(published)
    except (InputFileError, MissingInputError):  # whoever reads it for good says what is wrong with it
        return None
    if now.ndim != 2 or now.shape[1:] != (2,) or before.shape != now.shape[:1] or now.dtype.kind not in "biuf":
        return None
    return int(((now[:, 0] > 0) != (before > 0)).sum())
