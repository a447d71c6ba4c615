"""What people say of a session, beside what machines found: accepted, rejected, noted; and both as one list.

What belongs here: the record of a person's verdict, its history in the session (``.meso/verdicts.jsonl``, which only
grows), and the list of all verdicts. What does not: what a gate makes of them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import InputFileError, MissingInputError, SettingsError
from .json_text import json_text
from .opening import RECORD_BYTES, read_plain
from .qc import DEFAULT_LIMITS, Limits, QCResult, Verdict, check_of, stored_results, worst
from .session import MESO_FOLDER
from .storage import storage_errors, write_file
from .storage.files.atomic import make_folder
from .storage.files.locks import locked
from .storage.manifests.records import FieldError, read_record

#: Below the session, a line for each.
PERSON_VERDICTS = f"{MESO_FOLDER}/verdicts.jsonl"
#: What a person may say; a note leaves the verdict before it in force.
ACCEPT, REJECT, NOTE = "accept", "reject", "note"
SAYINGS = (ACCEPT, REJECT, NOTE)


@dataclass(frozen=True, slots=True)
class PersonVerdict:
    """What one person said of a session at one time.

    Raises
    ------
    SettingsError
        Without a name, with a word that is none of :data:`SAYINGS`, or rejected or noted without a word why.
    """

    #: One of :data:`SAYINGS`.
    says: str
    who: str
    note: str
    #: ISO 8601, UTC.
    at: str
    #: Asset → data version of what the person has seen; of what is made later it says nothing.
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.says not in SAYINGS:
            _refuse("one of " + ", ".join(SAYINGS), repr(self.says), "Say one of them")
        if not self.who.strip():
            _refuse("a name", repr(self.who), "Give your name with --by")
        if self.says != ACCEPT and not self.note.strip():
            _refuse("a note that says why", repr(self.note), "Give the reason with --note")

    @property
    def version(self) -> str:
        """Version of it as an input: a hash of all that it says."""
        return hashlib.sha256(json_text(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def told(self) -> str:
        """The verdict in words."""
        did = {ACCEPT: "accepted", REJECT: "rejected", NOTE: "noted"}[self.says]
        return f"{did} by {self.who} on {self.at[:10]}" + (f": {self.note}" if self.note.strip() else "")


def _refuse(expected: str, found: str, remedy: str) -> None:
    raise SettingsError.at("verdict of a person", expected=expected, found=found, remedy=remedy)


@dataclass(frozen=True, slots=True)
class SessionQuality:
    """All verdicts on a session, of machines and of people."""

    #: Asset → what was found when it was made, judged by the limits of now.
    results: Mapping[str, tuple[QCResult, ...]]
    #: What people said, oldest first.
    people: tuple[PersonVerdict, ...] = ()

    @property
    def all_results(self) -> tuple[QCResult, ...]:
        """All that was found, in the order of assets."""
        return tuple(one for results in self.results.values() for one in results)

    @property
    def person(self) -> PersonVerdict | None:
        """The person's verdict that is in force: the last one that is no note."""
        return decision(self.people)

    @property
    def verdict(self) -> Verdict:
        """The worst that was found, whatever a person said."""
        return worst(self.all_results)

    def is_bad(self, versions: Mapping[str, str]) -> bool:
        """Whether a person has rejected the session, or something failed that no person has seen and accepted.

        Parameters
        ----------
        versions
            Asset → its data version now; what was made since the person spoke was not seen.
        """
        person = self.person
        if person is not None and person.says == REJECT:
            return True
        failed = {name for name, results in self.results.items() if worst(results) is Verdict.FAIL}
        seen = {} if person is None else person.versions
        return any(name not in seen or seen[name] != versions.get(name) for name in failed)

    def as_record(self) -> dict[str, Any]:
        """Return JSON values; each result with its unit, and how to read it."""
        person = self.person
        return {
            "verdict": self.verdict.name if self.all_results else "NOT_SET",
            "person": None if person is None else asdict(person),
            "history": [asdict(one) for one in self.people],
            "results": [_record(asset, one) for asset, results in self.results.items() for one in results],
        }


def _record(asset: str, result: QCResult) -> dict[str, Any]:
    row = check_of(result.check)
    more = {"asset": asset, "unit": row.unit, "figure": row.figure, "how_to_read": row.how_to_read}
    return {**asdict(result), "verdict": result.verdict.name, **more}


def session_quality(session_path: Path, limits: Limits = DEFAULT_LIMITS) -> SessionQuality:
    """Read all verdicts on a session.

    Parameters
    ----------
    session_path
        Session folder.
    limits
        Those of a lab.

    Raises
    ------
    InputFileError
        If a record is damaged.
    """
    return SessionQuality(stored_results(session_path, limits), person_verdicts(session_path))


def decision(people: tuple[PersonVerdict, ...]) -> PersonVerdict | None:
    """Return what is in force of what people said: the last one that is no note; None where there is none."""
    return next((one for one in reversed(people) if one.says != NOTE), None)


def keep_person_verdict(
    session_path: Path, says: str, who: str, note: str = "", versions: Mapping[str, str] | None = None
) -> PersonVerdict:
    """Keep what a person says of a session; what was said before stays.

    Parameters
    ----------
    session_path
        Session folder.
    says
        One of :data:`SAYINGS`.
    who, note
        Name of the person, and the reason.
    versions
        Asset → data version of what the person has seen.

    Raises
    ------
    SettingsError
        As :class:`PersonVerdict`.
    InputFileError
        If what was said before is damaged.
    StorageError
        If it cannot be written.
    """
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    made, file = PersonVerdict(says, who, note, now, dict(versions or {})), session_path / PERSON_VERDICTS
    lock = session_path / MESO_FOLDER / "locks" / "verdicts.lock"
    make_folder(lock.parent)
    with storage_errors(file), locked(lock):
        lines = [json_text(asdict(one), sort_keys=True) for one in (*person_verdicts(session_path), made)]
        write_file(file, ("\n".join(lines) + "\n").encode())
    return made


@dataclass(frozen=True, slots=True)
class Sayings:
    """The record of what people said of a session, as one look found it: an input with a version."""

    file: Path
    content: bytes

    @property
    def version(self) -> str:
        """Version of it as an input: its SHA-256, whether anybody has spoken or not, and where it is damaged."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def verdicts(self) -> tuple[PersonVerdict, ...]:
        """What people said, oldest first.

        Raises
        ------
        InputFileError
            If the record is damaged.
        """
        try:
            lines = self.content.decode().splitlines()
            return tuple(read_record(PersonVerdict, json.loads(line)) for line in lines)
        except (ValueError, RecursionError, FieldError, SettingsError) as error:
            remedy = "Restore the file from a copy, or move it away and say it again with meso qc set"
            raise InputFileError.at(
                self.file, expected="verdicts of people", found=str(error), remedy=remedy
            ) from error


def sayings(session_path: Path) -> Sayings:
    """Look at what people said of a session; nothing is parsed yet.

    Raises
    ------
    InputFileError
        If there is something else in the place of the record.
    """
    file = session_path / PERSON_VERDICTS
    try:
        return Sayings(file, read_plain(file, RECORD_BYTES))
    except MissingInputError:
        return Sayings(file, b"")


def person_verdicts(session_path: Path) -> tuple[PersonVerdict, ...]:
    """Read what people said of a session, oldest first; none where nobody did.

    Raises
    ------
    InputFileError
        If the record is damaged.
    """
    return sayings(session_path).verdicts
