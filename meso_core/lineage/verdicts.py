"""The verdicts of audits, kept with the session: the last one whole, of the earlier ones a line each.

What belongs here: ``.meso/audit`` of a session, written and read.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputFileError, MissingInputError, SettingsError
from ..json_text import json_text
from ..opening import is_there, read_plain
from ..session import MESO_FOLDER
from ..storage import storage_errors, write_file
from ..storage.files.atomic import make_folder
from .findings import AuditVerdict, Finding, Kind, read_verdict

#: Below the session.
LAST_VERDICT, EARLIER_VERDICTS = f"{MESO_FOLDER}/audit/last.json", f"{MESO_FOLDER}/audit/history.jsonl"
ACCEPTED = f"{MESO_FOLDER}/audit/accepted.jsonl"
#: What no run can bring back: a record that was edited or lost, and has no backup.
_ACCEPTABLE = frozenset({Kind.EDITED, Kind.HISTORY, Kind.CLOCK})
#: How many earlier audits are told.
_LAST = 10


def keep_verdict(session_path: Path, verdict: AuditVerdict) -> bool:
    """Keep a verdict with the session: whole where it finds something else than the last one, and as a line anyway.

    Nothing waits for the disk: after a loss of power, an audit can be had again.

    Returns
    -------
    bool
        Whether it finds something else than the last one did.
    """
    last = last_verdict(session_path)
    is_news = last is None or set(last.findings) != set(verdict.findings)
    if is_news or last is None or last.deep != verdict.deep:
        text = json_text(verdict.as_record(), indent=1) + "\n"
        write_file(session_path / LAST_VERDICT, text.encode(), flush=False)
    counts = Counter(finding.kind.value for finding in verdict.findings)
    line = {"audited_at": verdict.audited_at, "deep": verdict.deep, "faults": len(verdict.faults), "findings": counts}
    _append(session_path / EARLIER_VERDICTS, line, flush=False)
    return is_news


def accept_findings(session_path: Path, verdict: AuditVerdict, who: str, why: str) -> tuple[Finding, ...]:
    """Keep that a person has looked at what no run can bring back, and leaves it as it is.

    Edited and lost records, and times of a clock that was wrong; all else is mended by what its finding says.

    Returns
    -------
    tuple of Finding
        Those that are accepted now.

    Raises
    ------
    SettingsError
        Without a name or a reason.
    """
    if not who.strip() or not why.strip():
        found = f"{who!r}, {why!r}"
        raise SettingsError.at("--accept", expected="who and why", found=found, remedy="Give your name and the reason")
    chosen = [finding for finding in verdict.faults if finding.kind in _ACCEPTABLE]
    told = f"{who} on {verdict.audited_at}: {why}"
    accepted = tuple(replace(finding, accepted=told) for finding in chosen)
    for finding in accepted:
        _append(session_path / ACCEPTED, finding.as_record(), flush=True)
    return accepted


def with_accepted(session_path: Path, verdict: AuditVerdict) -> AuditVerdict:
    """Mark the findings that a person has accepted.

    Raises
    ------
    InputFileError
        If the file of them is damaged.
    """
    file = session_path / ACCEPTED
    if not verdict.faults or not is_there(file):
        return verdict
    try:
        lines = [json.loads(line) for line in read_plain(file).decode().splitlines()]
        known = {tuple(line[name] for name in _SAME): str(line["accepted"]) for line in lines}
    except (ValueError, KeyError, TypeError) as error:
        remedy = "Move the file away, audit again, accept again"
        raise InputFileError.at(file, expected="accepted findings", found=repr(error), remedy=remedy) from error
    findings = [
        replace(finding, accepted=known.get(tuple(finding.as_record()[name] for name in _SAME), ""))
        for finding in verdict.findings
    ]
    return replace(verdict, findings=tuple(sorted(findings, key=lambda finding: not finding.is_fault)))


#: Two findings are the same if these are.
_SAME = ("kind", "session", "asset", "path", "expected", "found")


def _append(path: Path, record: object, *, flush: bool) -> None:
    """Add a line to a file; ``flush`` waits until it is on the disk."""
    make_folder(path.parent)
    with storage_errors(path), path.open("ab") as file:
        file.write((json_text(record) + "\n").encode())
        file.flush()
        if flush:
            os.fsync(file.fileno())


def last_verdict(session_path: Path) -> AuditVerdict | None:
    """Read the last verdict; None where the session was never audited, or the power went before it reached the disk.

    Audits that found the same since, at the same depth, are lines of the history.

    Raises
    ------
    InputFileError
        If the file is damaged.
    """
    file, remedy = session_path / LAST_VERDICT, "Remove the file, audit again"
    try:
        if not (text := read_plain(file)).strip(b"\0"):
            return None
    except MissingInputError:
        return None
    try:
        record = json.loads(text)
        return read_verdict(record)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise InputFileError.at(file, expected="a verdict of an audit", found=repr(error), remedy=remedy) from error


def earlier_verdicts(session_path: Path) -> tuple[str, ...]:
    """Last lines of the history of verdicts, newest first, as they were written."""
    file = session_path / EARLIER_VERDICTS
    lines = read_plain(file).decode("utf-8", "replace").splitlines() if is_there(file) else []
    return tuple(reversed(lines[-_LAST:]))


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One audit of a session, as the history keeps it."""

    #: ISO 8601, UTC.
    audited_at: str
    deep: bool
    #: How many findings ask for something to be done.
    n_faults: int


@dataclass(frozen=True, slots=True)
class LastAudit:
    """What the last audit of a session found, and when there was one."""

    #: The verdict, from the first audit that found this.
    verdict: AuditVerdict
    #: Audits, newest first. The last one found what the verdict says.
    history: tuple[AuditLine, ...]

    @property
    def at(self) -> str:
        """When the last audit was, ISO 8601, UTC; audits that find the same at the same depth keep the verdict."""
        return max(str(self.verdict.audited_at), self.history[0].audited_at if self.history else "")


def last_audit(session_path: Path) -> LastAudit | None:
    """Read the last verdict with its history, of which damaged lines are left out; None where there was no audit.

    Raises
    ------
    InputFileError
        If the file of the verdict, or of the history, cannot be read.
    """
    verdict = last_verdict(session_path)
    return None if verdict is None else LastAudit(verdict, tuple(_lines(earlier_verdicts(session_path))))


def _lines(texts: tuple[str, ...]) -> Iterator[AuditLine]:
    for text in texts:
        try:
            record = json.loads(text)
            yield AuditLine(str(record["audited_at"]), bool(record["deep"]), int(record["faults"]))
        except (ValueError, RecursionError, KeyError, TypeError):  # the power went while it was written
            continue
