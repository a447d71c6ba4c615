"""The files that keep results with a session.

What belongs here: ``reports/qc`` of a session, written and read. A result is read with the limits that hold now, so
that another limit changes verdicts without anything being measured again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import InputFileError, MissingInputError
from ..json_text import json_text
from ..opening import read_json
from .judging import DEFAULT_LIMITS, Limits, as_read
from .record import QCResult, Verdict


def qc_path(asset: str) -> str:
    """Path of the stored verdicts on an asset, below the session."""
    return f"reports/qc/{asset}.json"


def results_to_json(results: tuple[QCResult, ...]) -> str:
    """Make the text of the file of verdicts; a value that is no number is null in it."""
    records = [{**asdict(result), "verdict": result.verdict.name} for result in results]
    return json_text(records, indent=1, nulls=True) + "\n"


def read_results(session_path: Path, asset: str, limits: Limits = DEFAULT_LIMITS) -> tuple[QCResult, ...]:
    """Read the stored verdicts on an asset, judged by these limits; none if it was not made.

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
        return tuple(as_read(_result(record), limits) for record in records)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputFileError.at(
            file, expected="verdicts as JSON", found=repr(error), remedy=f"Materialise {asset} again"
        ) from error


def _result(record: Mapping[str, Any]) -> QCResult:
    known = {name: value for name, value in record.items() if name != "figure"}  # files of meso 0.1 have it, empty
    return QCResult(**{**known, "verdict": Verdict[record["verdict"]]})


def stored_results(session_path: Path, limits: Limits = DEFAULT_LIMITS) -> dict[str, tuple[QCResult, ...]]:
    """Read the stored verdicts on all assets of a session, by asset; limits and errors as :func:`read_results`."""
    folder = (session_path / qc_path("x")).parent
    try:
        files = sorted(folder.glob("*.json"))
    except OSError as error:
        expected, remedy = "a folder that can be read", "Give the platform's user the right to read it"
        raise InputFileError.at(folder, expected=expected, found=error.strerror or str(error), remedy=remedy) from error
    return {file.stem: read_results(session_path, file.stem, limits) for file in files}
