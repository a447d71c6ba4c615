"""What Alyx holds of the verdict on a session, against what it is to be told; nothing is sent.

What belongs here: the comparison. Keys and notes of others stay as they are; so does a quality that somebody else has
set, unless ours is worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..plan import Action, Change, Kind, Part, Plan, Planned
from ..sending.note_pictures import new_note, with_text
from ..server.client import AlyxClient, find_session, logged_in
from ..server.state import held_notes, held_quality, note_state, quality_state, report_of_note, sha256_of_note
from .session_verdict import LAST_SENT, OUTCOMES, OWN, OWN_CHECKS, SessionVerdict

_REPLACED = "Another note holds the report of this session as it is now."


def plan_session_qc(verdict: SessionVerdict, client: AlyxClient) -> Plan:
    """Compare the quality of a session and its checks with what Alyx holds.

    Parameters
    ----------
    verdict
        What Alyx is to be told.
    client
        Alyx client.

    Raises
    ------
    AlyxError
        If Alyx does not hold the session.
    """
    session = find_session(client, verdict.session)
    held = held_quality(client, session.eid)
    extended = held["extended_qc"]
    remarks: tuple[str, ...] = ()
    if extended is not None and not isinstance(extended, Mapping):
        why = f"its extended_qc is no table of checks but {type(extended).__name__}: correct it in Alyx"
        planned = Planned(Kind.SESSION, session.name, Action.CONFLICT, session.eid, why=why)
    else:
        planned, remarks = _planned(verdict, str(held["qc"]), extended or {}, session.name, session.eid)
    return Plan(
        Part.SESSION_QC, session.name, session.eid, (planned,), quality_state(held), remarks, subject=session.subject
    )


def _planned(
    verdict: SessionVerdict, held: str, extended: Mapping[str, Any], name: str, eid: str
) -> tuple[Planned, tuple[str, ...]]:
    last = extended.get(LAST_SENT)
    may_set = held in (OUTCOMES[0], last) or _rank(verdict.qc) > _rank(held)
    sets = verdict.qc != held and may_set
    remarks = () if held == verdict.qc or may_set else (_kept(held, verdict.qc),)
    own = dict(verdict.extended)
    own |= {LAST_SENT: verdict.qc} if sets else {LAST_SENT: last} if last is not None else {}
    others = {key: value for key, value in extended.items() if not _is_own(key)}
    changes = [Change("qc", held, verdict.qc)] if sets else []
    changes += [
        Change(f"extended_qc.{key}", extended.get(key), own.get(key))
        for key in dict.fromkeys([*own, *(key for key in extended if _is_own(key))])
        if (key in extended) != (key in own) or extended.get(key) != own.get(key)
    ]
    if not changes:
        return Planned(Kind.SESSION, name, Action.NOTHING, eid), remarks
    payload = {**({"qc": verdict.qc} if sets else {}), "extended_qc": {**others, **own}}
    return Planned(Kind.SESSION, name, Action.CHANGE, eid, tuple(changes), payload), remarks


def _kept(held: str, ours: str) -> str:
    return (
        f"the quality of the session in Alyx, {held}, was set by somebody else and stays; meso's is {ours}. "
        "Set it to NOT_SET there to let meso set it"
    )


def _is_own(key: str) -> bool:
    return key == OWN or key.startswith((f"{OWN}_", OWN_CHECKS))


def _rank(outcome: str) -> int:
    return OUTCOMES.index(outcome) if outcome in OUTCOMES else len(OUTCOMES)


def plan_report_note(verdict: SessionVerdict, client: AlyxClient) -> Plan:
    """Compare the note with the report of a session with the notes that Alyx holds.

    The text is brought up to date. Another picture is another note, for nothing is deleted; the earlier note then
    says so.

    Parameters
    ----------
    verdict
        What Alyx is to be told; without a picture, no note is added.
    client
        Alyx client.

    Raises
    ------
    AlyxError
        If Alyx does not hold the session, or nobody is logged in.
    """
    session = find_session(client, verdict.session)
    user, rows = logged_in(client), held_notes(client, session.eid)
    mine = [row for row in rows if report_of_note(row)]
    same = [row for row in mine if not verdict.sha256 or sha256_of_note(row) == verdict.sha256]
    current = max(same, key=lambda row: (str(row.get("date_time")), str(row["id"])), default=None)
    planned = []
    if current is None and verdict.picture:
        own = {"report": verdict.picture, "sha256": verdict.sha256}
        planned.append(new_note(verdict.picture, verdict.text, own, user=user, eid=session.eid))
    for row in sorted(mine, key=lambda row: (row is not current, str(row["id"]))):
        name, text = (verdict.picture, verdict.text) if row is current else ("", _REPLACED)
        if current is not None or verdict.picture:
            planned.append(with_text(row, name or f"note {row['id']}", text, session.eid))
    return Plan(Part.REPORT_NOTE, session.name, session.eid, tuple(planned), note_state(rows), subject=session.subject)
