"""Whether a tif belongs to its bout.

What belongs here: when a raw stack, or a first tif, was taken, compared with when the bouts began. What does not: the
images themselves.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from ..errors import InputFileError, MesoWarning
from ..qc import QCResult, Verdict
from ..session.imaging import BoutMetadata
from .frames.sources import LocalTif, epoch_of

ORIGIN = "meso_core.scanimage.check_references"
#: A reference image is taken at most so long before the session's first bout.
_LONGEST_BEFORE = timedelta(hours=2)
#: The start of an acquisition may be told in two ways, rounded.
_SAME_START = timedelta(seconds=1)


def taken_at(raw: Path | LocalTif) -> datetime | None:
    """When the acquisition of a tif began, by the clock of the microscope's computer; None where it does not tell."""
    source = raw if isinstance(raw, LocalTif) else LocalTif(raw)
    try:
        year, month, day, hour, minute, seconds = (float(p) for p in epoch_of(source.tif.description)[1:-1].split())
        return datetime(int(year), int(month), int(day), int(hour), int(minute)) + timedelta(seconds=seconds)
    except (InputFileError, ValueError, OverflowError):
        return None


def tell_of_another_acquisition(meta: Path, told: datetime | None, first: LocalTif) -> None:
    """Warn if the first tif of a bout began at another time than its metadata tell; a damaged one others refuse."""
    began = taken_at(first) if told else None
    if began and told and abs(began - told) > _SAME_START:
        warnings.warn(
            f"{first.path}: expected an acquisition that began at {told}, as {meta.name} tells, found one of {began}: "
            "is it of another bout or session?",
            MesoWarning,
            stacklevel=5,
        )


def check_references(
    taken: Iterable[tuple[str, datetime | None]], bouts: Sequence[BoutMetadata]
) -> tuple[QCResult, ...]:
    """Ask whether each reference image was taken just before its bout: after the bout before it began.

    Parameters
    ----------
    taken
        Name of the bout's folder, and when its reference image was taken.
    bouts
        What the microscope says of the bouts, in order.
    """
    starts = {bout.name: bout.imaging.acquisition_start for bout in bouts}
    return tuple(_check(bout, when, starts) for bout, when in taken)


def _check(bout: str, when: datetime | None, starts: dict[str, datetime | None]) -> QCResult:
    names, began = list(starts), starts.get(bout)
    before = starts[names[names.index(bout) - 1]] if bout in names[1:] else None
    if when is None or began is None:
        why = "nothing tells when it was taken, or when the bout began; look whether it is of this bout"
    elif when > began:
        why = f"taken at {when}, after the bout began at {began}: it is of another bout or session"
    elif (earliest := before or began - _LONGEST_BEFORE) > when:
        why = f"taken at {when}, before {earliest}: it is of another bout or session"
    else:
        message = f"{bout}: reference image taken at {when}, before the bout began at {began}"
        return QCResult("reference_is_of_its_bout", Verdict.PASS, str(when), str(began), message, ORIGIN)
    shown = None if when is None else str(when), None if began is None else str(began)
    return QCResult("reference_is_of_its_bout", Verdict.WARNING, *shown, f"{bout}: reference image {why}", ORIGIN)
