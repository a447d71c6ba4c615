"""The error family of meso.

What belongs here: the few classes a caller may want to tell apart. What does not: messages. Whoever raises
gives what was expected, what was found, where, and what a person does next to :meth:`MesoError.at`, which lays
that out in one form.
"""

from __future__ import annotations

import os
from typing import Self


class MesoError(Exception):
    """Base of every error that meso raises on purpose."""

    @classmethod
    def at(
        cls, where: str | os.PathLike[str], *, expected: str, found: str, remedy: str, field: str | None = None
    ) -> Self:
        """Make the error with the message that :func:`problem` lays out."""
        return cls(problem(where, expected=expected, found=found, remedy=remedy, field=field))


class InputFileError(MesoError, ValueError):
    """Raised when a file of a session is damaged, of the wrong kind, or holds what it must not."""


class MisfitError(InputFileError):
    """Raised when a file of a session is whole, and does not fit what was recorded."""


class MissingInputError(MesoError, FileNotFoundError):
    """Raised when a file or folder that a step needs is not there."""


class MetadataError(MesoError, ValueError):
    """Raised when imaging metadata lack a field, hold an impossible value, or disagree between bouts."""


class TimingError(MesoError, ValueError):
    """Raised when the DAQ's pulses and the recorded frames cannot be reconciled."""


class SettingsError(MesoError, ValueError):
    """Raised when a setting is unknown or its value is not allowed."""


class AtlasError(MesoError, ValueError):
    """Raised when an atlas or a surface mesh is unusable."""


class LocationError(MesoError, ValueError):
    """Raised when a field of view or an ROI cannot be placed in the brain."""


class ArchiveError(MesoError, ValueError):
    """Raised when an archive is damaged, hostile, or disagrees with the files it should hold."""


class DatasetError(MesoError, ValueError):
    """Raised when values break the contract of an ALF dataset (dtype, shape, finiteness)."""


class StorageError(MesoError, OSError):
    """Raised when files cannot be stored: no room, no right to write, a half-written result."""


class GateError(MesoError, PermissionError):
    """Raised when a quality gate forbids what was asked (removal of raw data, registration)."""


class AlyxError(MesoError, LookupError):
    """Raised when Alyx does not hold what it must, holds it more than once, or refuses what it is sent."""


class AlyxUnavailableError(AlyxError):
    """Raised when Alyx cannot be reached now: what is to be sent waits."""


class StalePlanError(AlyxError):
    """Raised when Alyx holds something else than when a plan was made."""


class ProcessingError(MesoError, RuntimeError):
    """Raised when a computation failed although its input was readable (a suite2p worker died, no ROIs)."""


#: Words in the message of a :class:`WorkStoppedError` that came for want of memory.
NO_MEMORY = "out of memory"


class WorkStoppedError(ProcessingError):
    """Raised when a computation was stopped from outside: it was killed, had no memory, or a disk failed it."""


class EngineError(MesoError, RuntimeError):
    """Raised when the engine that runs the steps, as a scheduler or a broker, is not there or does not answer."""

    #: Whether it may answer when it is asked again.
    passes = False


class CurationError(ProcessingError):
    """Raised when going on would lose what a person has edited by hand."""


class MesoWarning(UserWarning):
    """Category of every warning that meso issues: something was tolerated, and results record it."""


def problem(
    where: str | os.PathLike[str],
    *,
    expected: str,
    found: str,
    remedy: str,
    field: str | None = None,
) -> str:
    """Lay out an error message in the project's one form.

    Parameters
    ----------
    where
        File, folder, session or FOV that the problem is about.
    expected, found
        What should have been there, and what was.
    remedy
        What a person does next, in the imperative.
    field
        Name of the field of the file, if the problem is about one.

    Returns
    -------
    str
        ``where[, field 'x']: expected …, found …. remedy.``

    Examples
    --------
    >>> problem("001/meta.json", field="centerMM", expected="keys ML and AP", found="no centerMM",
    ...         remedy="Add the window centre")
    "001/meta.json, field 'centerMM': expected keys ML and AP, found no centerMM. Add the window centre."
    """
    place = os.fspath(where)
    if field is not None:
        place += f", field '{field}'"
    end = "" if remedy.endswith("?") else "."
    return f"{place}: expected {expected}, found {found}. {remedy.rstrip('.')}{end}"


def brief(value: object) -> str:
    """Show a value in a message: long lists by their length and start, long texts cut."""
    text = f"{len(value)} values from {value[:2]}" if isinstance(value, list) and len(value) > 6 else repr(value)
    return text if len(text) < 80 else text[:77] + "…"


def told(error: Exception) -> str:
    """Tell an error on one line: ours by their message, others with their type too.

    Examples
    --------
    >>> told(OSError("disk full"))
    'unexpected OSError: disk full'
    """
    return str(error) if isinstance(error, MesoError) else f"unexpected {type(error).__name__}: {error}"
