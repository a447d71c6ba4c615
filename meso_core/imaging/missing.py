"""Fields of view that fail alone: which errors are about one field of view, and what those who gather are told.

What belongs here: telling an error of one FOV from one of the machine, the disk or a choice of the run, and the verdict
on what is missing. What does not: the work, and what is published in its place (``session``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import CurationError, MesoError, ProcessingError, SettingsError, StorageError, WorkStoppedError
from ..qc import QCResult, Verdict
from ..session import LEFT_OUT_FOVS, fov_name

T = TypeVar("T")

_ORIGIN = "meso_core.imaging"
_CHECK = "all_fields_published"
#: Errors that say nothing of a FOV: of the disk, of a setting, of the machine; and one that keeps what a person made,
#: which publishing the other FOVs would remove.
_OF_THE_RUN = (StorageError, SettingsError, WorkStoppedError, CurationError)


@dataclass(frozen=True)
class FailedFov:
    """A field of view that failed for a reason of its own."""

    fov: int
    #: What was wrong, and what a person does: one line, the same each time that it fails in the same way.
    reason: str

    @property
    def name(self) -> str:
        """Name of the ALF folder, as in ``FOV_00``."""
        return fov_name(self.fov)


def alone(fov: int, work: Callable[[], T], below: Path) -> T | FailedFov:
    """Do the work of one FOV; an error of it becomes a result, so that the others go on.

    Parameters
    ----------
    fov
        Index of the FOV.
    work
        Called once.
    below
        Folder whose path is left out of the reason.

    Raises
    ------
    MesoError
        If it is not about this FOV: of storage or settings, a worker that was killed or had no memory, or an edit by
        hand that would be lost. A run again may succeed, or a person has to choose.
    """
    try:
        return work()
    except _OF_THE_RUN:
        raise
    except MesoError as error:
        first = str(error).partition("\n")[0]  # a log that follows has another time in it each time
        return FailedFov(fov, first.replace(f"{os.fspath(below)}/", ""))


def refuse_nothing(identity: str, done: Sequence[object], failed: Sequence[FailedFov]) -> None:
    """Refuse to go on where every FOV failed.

    Raises
    ------
    ProcessingError
        With the reasons of all FOVs.
    """
    if done:
        return
    raise ProcessingError.at(
        identity,
        expected="at least one field of view without an error",
        found="; ".join(f"{one.name}: {one.reason.rstrip('.')}" for one in failed) or "none",
        remedy="Remove the causes, and run again",
    )


def missing_qc(n_published: int, missing: Mapping[str, str], left_out: Collection[str] = ()) -> tuple[QCResult, ...]:
    """Ask whether all FOVs are published that should be: ``all_fields_published``, for each that is not.

    One that a person leaves out passes, and is told.

    Parameters
    ----------
    n_published
        Number of FOVs that are.
    missing
        Name of each FOV that is not → why.
    left_out
        Names of those that a setting leaves out.
    """
    n_wanted = n_published + len(missing)
    told_out = tuple(
        QCResult(
            _CHECK, Verdict.PASS, n_published, n_wanted, f"{fov} is left out, as {LEFT_OUT_FOVS} says.", _ORIGIN, fov
        )
        for fov in sorted(left_out)
    )
    if not missing:
        message = f"All {'other ' if left_out else ''}{n_wanted} fields of view are published."
        return (QCResult(_CHECK, Verdict.PASS, n_published, n_wanted, message, _ORIGIN), *told_out)
    told = f"{n_published} of {n_wanted} fields of view are published, the others are missing; a run again makes them."
    failed = (
        QCResult(_CHECK, Verdict.FAIL, n_published, n_wanted, f"{fov} is missing: {why} {told}", _ORIGIN, fov)
        for fov, why in sorted(missing.items())
    )
    return (*failed, *told_out)
