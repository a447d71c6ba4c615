"""The verdict on a session in Alyx: its quality, an entry for each check, and a note with a picture.

What belongs here: what is told, from the verdicts of machines and people. What does not: comparing it with what the
server holds (``session_plan``).

The keys are those that ibllib's quality control would use: an outcome for each name space (``mesoscope``), and the
checks of it with an underscore in front, which ibllib leaves out where it sums outcomes up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...json_text import json_text
from ...qc import QCResult, Verdict, check_of, in_words, worst
from ...review import ACCEPT, REJECT, PersonVerdict, SessionQuality
from ...session import SessionKey

#: Name space of the keys; all that begin so are ours, and no others.
OWN, OWN_CHECKS = "mesoscope", "_mesoscope_"
#: What a person says, and the value of ``qc`` that was sent last.
PERSON, LAST_SENT = f"{OWN}_person", f"{OWN_CHECKS}qc"
#: Values of ``qc``, the better first.
OUTCOMES = ("NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL")
_NOT_SET, _PASS, _REJECTED = "NOT_SET", "PASS", "CRITICAL"
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class SessionVerdict:
    """What Alyx is told of the quality of a session."""

    session: str
    #: One of :data:`OUTCOMES`: ``CRITICAL`` where a person has rejected it, else the worst that none has accepted.
    qc: str
    #: Own keys of ``extended_qc``, JSON values.
    extended: Mapping[str, Any]
    #: Text of the note.
    text: str
    #: Picture of the note, by its path below the session; empty where there is none that may be sent.
    picture: str = ""
    #: Its SHA-256.
    sha256: str = ""

    def to_json(self) -> str:
        """Return it as JSON."""
        return json_text(asdict(self), indent=1, sort_keys=True, nulls=True) + "\n"


def session_verdict(
    quality: SessionQuality,
    versions: Mapping[str, str],
    session: SessionKey,
    *,
    unsaid: Mapping[str, str] | None = None,
    picture: tuple[str, str] = ("", ""),
) -> SessionVerdict:
    """Put together what Alyx is told.

    Parameters
    ----------
    quality
        All verdicts on the session.
    versions
        Asset → its data version now: what was made since a person spoke was not seen.
    session
        The session.
    unsaid
        Asset → why nothing is told of it, as of those that were made with the phantom.
    picture
        Path below the session and SHA-256 of the picture of the note.
    """
    left_out = set(unsaid or ())
    told = {
        asset: tuple(one for one in results if not {asset, check_of(one.check).asset} & left_out)
        for asset, results in quality.results.items()
    }
    results = [one for found in told.values() for one in found]
    qc = _outcome(told, quality.person, versions)
    found = {OWN: worst(results).name} if results else {}
    extended = {**found, **_checks(results), **_of_person(quality.person)}
    return SessionVerdict(str(session), qc, extended, _text(session, results, quality.person), *picture)


def _outcome(told: Mapping[str, Sequence[QCResult]], person: PersonVerdict | None, versions: Mapping[str, str]) -> str:
    if person is not None and person.says == REJECT:
        return _REJECTED
    if not any(told.values()):
        return _NOT_SET
    seen = person.versions if person is not None and person.says == ACCEPT else {}
    open_ = [one for asset, found in told.items() if seen.get(asset, "") != versions.get(asset) for one in found]
    return worst(open_).name if open_ else _PASS


def _checks(results: Sequence[QCResult]) -> dict[str, Any]:
    """Return of each check the worst: outcome, value, threshold, and the field of view where it is one's."""
    found: dict[str, QCResult] = {}
    for one in results:
        if one.check not in found or one.verdict > found[one.check].verdict:
            found[one.check] = one
    return {
        f"{OWN_CHECKS}{name}": [one.verdict.name, _plain(one.value), _plain(one.threshold), one.fov or None]
        for name, one in sorted(found.items())
    }


def _plain(value: float | int | str | None) -> float | int | str | None:
    """Return a value as JSON has it: what is no number is null, and digits that mean nothing are left out."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _of_person(person: PersonVerdict | None) -> dict[str, Any]:
    if person is None:
        return {}
    said = _REJECTED if person.says == REJECT else _PASS
    return {PERSON: said, f"_{PERSON}": [person.says, person.who, person.at, person.note]}


def _text(session: SessionKey, results: Sequence[QCResult], person: PersonVerdict | None) -> str:
    lines = [f"Session report of {session.name}. {in_words(results)[1]}."]
    lines += [f"A person: {person.told}."] if person is not None else []
    doubtful = sorted((one for one in results if one.verdict != Verdict.PASS), key=lambda one: -one.verdict)
    lines += [f"{one.verdict.name} {one.check}{f' ({one.fov})' if one.fov else ''}: {one.message}" for one in doubtful]
    return "\n".join([*lines, "The whole page: reports/session_report.html below the session."])
