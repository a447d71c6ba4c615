"""Times that a server gave to raw tifs when they were moved or written again, and those that they have.

What belongs here: the record, ``.meso/raw_times.jsonl``, and reading it. S3 gives each object the time at which it was
written, and no other. Without this record a tif that was put back would count as a new one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from ..errors import InputFileError, MissingInputError
from ..json_text import json_text
from ..opening import RECORD_BYTES, read_plain
from ..session import MESO_FOLDER, ListedFile
from .report import ArchiveReport

TIMES_PATH = f"{MESO_FOLDER}/raw_times.jsonl"


@dataclass(frozen=True, slots=True)
class GivenTime:
    """A tif with the time that a server gave it."""

    #: Path below the session.
    path: str
    size: int
    #: Time that the server gave, and the tif's own, ns since 1970.
    given_ns: int
    mtime_ns: int


def given_times(session_path: Path) -> tuple[GivenTime, ...]:
    """Read the record of a session; a line that is none does not count: then the tif counts as a new one."""
    try:
        lines = read_plain(session_path / TIMES_PATH, RECORD_BYTES).splitlines()
    except (MissingInputError, InputFileError):
        return ()
    found = []
    for line in lines:
        try:
            path, size, given_ns, mtime_ns = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if type(path) is str and all(type(number) is int for number in (size, given_ns, mtime_ns)):
            found.append(GivenTime(path, size, given_ns, mtime_ns))
    return tuple(found)


def times_text(times: Iterable[GivenTime]) -> bytes:
    """Write the record: a line each."""
    return b"".join(json_text(list(astuple(time))).encode() + b"\n" for time in times)


def own_times(times: Iterable[GivenTime]) -> Mapping[tuple[str, int, int], int]:
    """Path, size and given time → the tif's own time."""
    return {(time.path, time.size, time.given_ns): time.mtime_ns for time in times}


def with_own_times(files: Iterable[ListedFile], times: Iterable[GivenTime]) -> tuple[ListedFile, ...]:
    """Give listed files the times that they have, where a server gave them others."""
    own = own_times(times)
    return tuple(replace(f, mtime_ns=own.get((f.path, f.size, f.mtime_ns), f.mtime_ns)) for f in files)


def report_with_own_times(report: ArchiveReport, times: Iterable[GivenTime]) -> ArchiveReport:
    """Give the members of an archive the times that they have: it may have been made of tifs that were put back."""
    own, bout = own_times(times), report.bout
    members = (
        replace(m, mtime_ns=own.get((f"{bout}/{m.name}", m.size, m.mtime_ns), m.mtime_ns)) for m in report.members
    )
    return replace(report, members=tuple(members))
