"""What is said, and done, about frames that are missing or not whole.

What belongs here: the choice between salvage and refusal, the warning, the error and the verdict. What does not:
finding the faults (``placement``).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

from ...errors import InputFileError, MesoWarning
from ...qc import QCResult, Verdict
from ...session.imaging import BoutMetadata, SessionMetadata
from ...session.page_faults import PageFault

#: ``salvage`` the frames that are whole, or ``refuse`` a bout with any that are not.
DamagedFrames = Literal["salvage", "refuse"]
#: A check fails where more than this share of a bout's frames was lost.
MAX_LOST_SHARE = 0.02
_MOST_TOLD = 8
ORIGIN = "meso_core.scanimage.frames"


def tell_of_faults(bout: str, faults: Sequence[PageFault], n_frames: int, damaged_frames: DamagedFrames) -> None:
    """Warn of faults, or refuse them.

    Parameters
    ----------
    bout
        Name of the bout.
    faults
        What is wrong with its pages.
    n_frames
        Number of frames that are whole.
    damaged_frames
        What to do.

    Raises
    ------
    InputFileError
        With ``refuse``, if there are any.

    Warns
    -----
    MesoWarning
        With ``salvage``, if there are any.
    """
    if not faults:
        return
    if damaged_frames == "refuse":
        first = faults[0]
        raise InputFileError.at(
            f"{bout}/{first.tif}",
            field=f"page {first.page}",
            expected="whole frames whose numbers follow each other",
            found=_listed(faults),
            remedy="Copy the tifs again if the rig's are whole, or set MESO_DAMAGED_FRAMES=salvage to use the "
            f"{n_frames} frames that are whole",
        )
    warnings.warn(f"{bout}: {_sentence(faults, n_frames)}", MesoWarning, stacklevel=3)


def check_frames(metadata: SessionMetadata) -> tuple[QCResult, ...]:
    """Ask of each bout whether all its frames are on file, each whole."""
    return tuple(_check(bout) for bout in metadata.bouts)


def _check(bout: BoutMetadata) -> QCResult:
    share = bout.n_lost / max(bout.n_frames + bout.n_lost, 1)
    text = _sentence(bout.faults, bout.n_frames) if bout.faults else f"all {bout.n_frames} frames are whole"
    verdict = Verdict.FAIL if share > MAX_LOST_SHARE else Verdict.WARNING if bout.faults else Verdict.PASS
    return QCResult("frames_are_whole", verdict, bout.n_lost, None, f"{bout.name}: {text}", ORIGIN)


def _sentence(faults: Sequence[PageFault], n_frames: int) -> str:
    n_lost = sum(fault.n_frames for fault in faults)
    lost = "1 frame is" if n_lost == 1 else f"{n_lost} frames are"
    return (
        f"{lost} not on file or not whole, {n_frames} are used. {_listed(faults)}"
        if n_lost
        else (f"{n_frames} frames are used. {_listed(faults)}")
    )


def _listed(faults: Sequence[PageFault]) -> str:
    told = "; ".join(str(fault) for fault in faults[:_MOST_TOLD])
    return told + (f"; and {len(faults) - _MOST_TOLD} more" if len(faults) > _MOST_TOLD else "")
