"""What is used of an Alyx client, and finding a session with it.

What belongs here: look-ups that several kinds of records need. Reads never use the client's cache, because a process
that registers must see what it wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from ..errors import AlyxError
from ..session import SessionKey


class AlyxClient(Protocol):
    """What is used of ``one.webclient.AlyxClient``."""

    @property
    def user(self) -> str | None:
        """Name of the user who is logged in."""

    def rest(self, url: str, action: str, id: str | None = None, **kwargs: Any) -> Any:  # noqa: ANN401  JSON
        """Call an endpoint; ``data``, ``files``, ``no_cache`` and filters are keyword arguments."""


def listed(client: AlyxClient, endpoint: str, **filters: Any) -> list[dict[str, Any]]:  # noqa: ANN401  as the client takes
    """Return all records of an endpoint that pass the filters."""
    return list(client.rest(endpoint, "list", no_cache=True, **filters))


def read(client: AlyxClient, endpoint: str, record: str) -> dict[str, Any]:
    """Return one record in full."""
    found: dict[str, Any] = client.rest(endpoint, "read", id=record, no_cache=True)
    return found


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
    if len(rows) != 1:
        found, remedy = _twice(rows) if rows else _none(client, session)
        raise AlyxError.at(str(session), expected="one session in Alyx", found=found, remedy=remedy)
    lab = str(rows[0].get("lab") or "")
    if session.lab and lab and lab != session.lab:
        raise AlyxError.at(
            str(session),
            field="lab",
            expected=f"a session of lab {session.lab}, as its folder says",
            found=f"one of lab {lab} in Alyx",
            remedy="Correct the lab of the session in Alyx, or move the folder to that of its lab",
        )
    return HeldSession(str(rows[0]["id"]), str(session), session.subject, lab or session.lab or "")


def _twice(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    return f"{len(rows)} sessions: {', '.join(str(row['id']) for row in rows)}", "Delete all but one of them in Alyx"


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
