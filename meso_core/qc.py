"""Quality control results as typed records.

What belongs here: the record, its verdicts, and the files that keep them with a session. What does not: thresholds, and
how results are shown. Asset checks, reports, gates and the command line all read these records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from .errors import InputFileError, MissingInputError
from .json_text import json_text
from .opening import read_json


class Verdict(IntEnum):
    """Outcome of a check, ordered from good to bad."""

    PASS = 0
    WARNING = 1
    FAIL = 2


@dataclass(frozen=True, slots=True)
class QCResult:
    """One check of a session's data, and its outcome."""

    #: Name of the check in snake case, as in ``frames_match_timestamps``.
    check: str
    verdict: Verdict
    #: What was measured.
    value: float | int | str | None
    #: What it was compared with.
    threshold: float | int | str | None
    #: One sentence for a person: what it means, and what to do if it is not a pass.
    message: str
    #: Room that made the verdict, as in ``meso_core.timing``.
    origin: str
    #: Folder name of the FOV, if the check is about one.
    fov: str | None = None


def worst(results: list[QCResult] | tuple[QCResult, ...]) -> Verdict:
    """Return the worst verdict of a list; an empty list passes."""
    return max((r.verdict for r in results), default=Verdict.PASS)


def qc_path(asset: str) -> str:
    """Path of the stored verdicts on an asset, below the session."""
    return f"reports/qc/{asset}.json"


def results_to_json(results: tuple[QCResult, ...]) -> str:
    """Make the text of the file of verdicts; a value that is no number is null in it."""
    records = [{**asdict(result), "verdict": result.verdict.name} for result in results]
    return json_text(records, indent=1, nulls=True) + "\n"


def read_results(session_path: Path, asset: str) -> tuple[QCResult, ...]:
    """Read the stored verdicts on an asset; none if it was not made.

    Raises
    ------
    InputFileError
        If the file is damaged or cannot be read.
    """
    file = session_path / qc_path(asset)
    try:
        records = read_json(file, f"Materialise {asset} again")
    except MissingInputError:
        return ()
    try:
        return tuple(_result(record) for record in records)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputFileError.at(
            file, expected="verdicts as JSON", found=repr(error), remedy=f"Materialise {asset} again"
        ) from error


def _result(record: Mapping[str, Any]) -> QCResult:
    known = {name: value for name, value in record.items() if name != "figure"}  # files of meso 0.1 have it, empty
    return QCResult(**{**known, "verdict": Verdict[record["verdict"]]})


def stored_results(session_path: Path) -> dict[str, tuple[QCResult, ...]]:
    """Read the stored verdicts on all assets of a session, by asset; errors as :func:`read_results`."""
    folder = (session_path / qc_path("x")).parent
    return {file.stem: read_results(session_path, file.stem) for file in sorted(folder.glob("*.json"))}
