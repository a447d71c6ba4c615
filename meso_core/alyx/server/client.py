"""What is used of an Alyx client, and finding a session with it.

What belongs here: look-ups that several kinds of records need. Reads never use the client's cache, because a process
that registers must see what it wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from ...errors import AlyxError
from ...session import SessionKey


class AlyxClient(Protocol):
    """What is used of ``one.webclient.AlyxClient``."""

    @property
    def user(self) -> str | None:
        """Name of the user who is logged in."""

    def rest(self, url: str, action: str, id: str | None = None, **kwargs: Any) -> Any:  # noqa: ANN401  JSON
        """Call an endpoint; ``data``, ``files``, ``no_cache`` and filters are keyword arguments."""


def logged_in(client: AlyxClient) -> str:
    """Return the name of the user who is logged in, which a note must have.

    Raises
    ------
    AlyxError
        If nobody is.
    """
    if not client.user:
        expected, remedy = "a user who is logged in", "Log in first"
        raise AlyxError.at("Alyx", field="user", expected=expected, found="nobody", remedy=remedy)
    return client.user


def address(client: AlyxClient) -> str:
    """Return the address of the server; empty where the client does not tell it."""
    return str(getattr(client, "url", ""))


def listed(client: AlyxClient, endpoint: str, **filters: Any) -> list[dict[str, Any]]:  # noqa: ANN401  as the client takes
    """Return all records of an endpoint that pass the filters."""
    return list(client.rest(endpoint, "list", no_cache=True, **filters))


def read(client: AlyxClient, endpoint: str, record: str) -> dict[str, Any]:
    """Return one record in full."""
    found: dict[str, Any] = client.rest(endpoint, "read", id=record, no_cache=True)
    return found


def whole(client: AlyxClient, endpoint: str, row: Mapping[str, Any], *fields: str) -> Mapping[str, Any]:
    """Return a record with some fields; where a row of a list is short of one, the record itself is read.

    A field that is not told must not count as an empty one: a change would replace what the server has in it.

    Raises
    ------
    AlyxError
        If the server does not tell a field at all.
    """
    if all(field in row for field in fields):
        return row
    record = read(client, endpoint, record_id(row))
    if missing := [field for field in fields if field not in record]:
        raise AlyxError.at(
            f"{endpoint} {record_id(row)}",
            field=missing[0],
            expected="the field in the record of the server",
            found=f"only {', '.join(sorted(record))}",
            remedy="Look whether the server is Alyx 3.6 or later; nothing of this part was sent",
        )
    return record


def record_id(row: Mapping[str, Any]) -> str:
    """Return the id of a record; rows of datasets hold it at the end of their address."""
    return str(row.get("id") or re.split(r"[/?]", str(row["url"]).rstrip("/"))[-1])


@dataclass(frozen=True, slots=True)
class HeldSession:
    """A session as the server holds it."""

    eid: str
    #: Short path; the id where only that was given.
    name: str
    #: Empty where only the id was given.
    subject: str = ""
    lab: str = ""


def find_session(client: AlyxClient, session: SessionKey | str) -> HeldSession:
    """Find a session.

    Parameters
    ----------
    client
        Alyx client.
    session
        Session key, or the id itself, which is not looked up.

    Raises
    ------
    AlyxError
        If Alyx does not hold the session, or holds it more than once: Alyx allows a subject, date and number to be
        entered twice. If it is of another lab.
    """
    if isinstance(session, str):
        try:
            return HeldSession(str(UUID(session)), session)
        except ValueError:
            session = SessionKey.parse(session)
    days, number = [session.date, session.date], int(session.number)
    rows = listed(client, "sessions", subject=session.subject, date_range=days, number=number)
    own = [row for row in rows if not session.lab or _lab(row) in ("", session.lab)]
    if rows and not own:
        raise AlyxError.at(
            str(session),
            field="lab",
            expected=f"a session of lab {session.lab}, as its folder says",
            found=f"one of lab {', '.join(sorted(map(_lab, rows)))} in Alyx",
            remedy="Correct the lab of the session in Alyx, or move the folder to that of its lab",
        )
    if len(own) != 1:
        found, remedy = _several(own) if own else _none(client, session)
        raise AlyxError.at(str(session), expected="one session in Alyx", found=found, remedy=remedy)
    return HeldSession(str(own[0]["id"]), str(session), session.subject, _lab(own[0]) or session.lab or "")


def _lab(row: Mapping[str, Any]) -> str:
    return str(row.get("lab") or "")


def _several(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Say which sessions match, and what to do: they are one that was entered twice, or those of several labs."""
    told = ", ".join(f"{row['id']} of lab {_lab(row)}" if _lab(row) else str(row["id"]) for row in rows)
    if len(labs := sorted(set(map(_lab, rows)))) > 1:
        folders = " or ".join(f"{lab}/Subjects" for lab in labs if lab)
        return f"{len(rows)} sessions: {told}", f"Move the folder of the subject to that of its lab: {folders}"
    return f"{len(rows)} sessions: {told}", "Delete all but one of them in Alyx"


def _none(client: AlyxClient, session: SessionKey) -> tuple[str, str]:
    """Say what there is in place of a session, and what to do: a subject or a date may be written otherwise."""
    if not listed(client, "subjects", nickname=session.subject):
        return (
            f"0 sessions, and no subject {session.subject}",
            "Enter the subject in Alyx and register the session, or correct the name of its folder",
        )
    others = listed(client, "sessions", subject=session.subject, number=int(session.number))
    days = sorted({str(row["start_time"])[:10] for row in others})
    if days:
        shown = ", ".join(days[-5:])
        return (
            f"0 sessions of this date; number {int(session.number)} of this subject is of {shown}",
            "Register the session first; if one of these is meant, correct its date in Alyx or that of the folder",
        )
    return "0 sessions", "Register the session first"
