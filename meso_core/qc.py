"""Quality control results as typed records.

What belongs here: the record, its verdicts, and how they are kept with a session. One list of such records feeds asset
checks, reports, gates and the command line; how each is shown is their business.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path

from .errors import InputFileError, problem


class Verdict(IntEnum):
    """Outcome of a check, ordered from good to bad."""

    PASS = 0
    WARNING = 1
    FAIL = 2


@dataclass(frozen=True, slots=True)
class QCResult:
    """One question asked of a session's data, and the answer."""

    #: Name of the check in snake case, as in ``frames_match_timestamps``.
    check: str
    verdict: Verdict
    #: What was measured.
    value: float | int | str | None
    #: What it was compared with.
    threshold: float | int | str | None
    #: One sentence for a person: what this means and what to do when it is not a pass.
    message: str
    #: Function that made the verdict, as in ``meso_core.timing``.
    origin: str
    #: FOV folder name where the check is about one FOV.
    fov: str | None = None
    #: Path of a figure below the session, if there is one.
    figure: str | None = None


def worst(results: list[QCResult] | tuple[QCResult, ...]) -> Verdict:
    """Return the worst verdict of a list; an empty list passes."""
    return max((r.verdict for r in results), default=Verdict.PASS)


def qc_path(asset: str) -> str:
    """Path, below the session, of the verdicts on an asset."""
    return f"reports/qc/{asset}.json"


def results_to_json(results: tuple[QCResult, ...]) -> str:
    """Serialise the verdicts on an asset."""
    records = [{**asdict(result), "verdict": result.verdict.name} for result in results]
    return json.dumps(records, indent=1) + "\n"


def read_results(session_path: Path, asset: str) -> tuple[QCResult, ...]:
    """Read the stored verdicts on an asset; none where it was not made.

    Raises
    ------
    InputFileError
        If the file is damaged or cannot be read.
    """
    file = session_path / qc_path(asset)
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
        return tuple(QCResult(**{**record, "verdict": Verdict[record["verdict"]]}) for record in records)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputFileError(
            problem(file, expected="verdicts", found=repr(error), remedy=f"Materialise {asset} again")
        ) from error


def stored_results(session_path: Path) -> dict[str, tuple[QCResult, ...]]:
    """Read the stored verdicts on all assets of a session, by asset; errors as :func:`read_results`."""
    folder = (session_path / qc_path("x")).parent
    return {file.stem: read_results(session_path, file.stem) for file in sorted(folder.glob("*.json"))}
