"""What is used of an Alyx client, and finding a session with it.

What belongs here: look-ups that several kinds of records need. Reads never use the client's cache, because a process
that registers must see what it wrote.
"""

from __future__ import annotations

from typing import Any, Protocol
from uuid import UUID

from ..errors import AlyxError
from ..session import SessionKey


class AlyxClient(Protocol):
    """What is used of ``one.webclient.AlyxClient``."""

    #: Name of the user who is logged in.
    user: str | None

    def rest(self, url: str, action: str, id: str | None = None, **kwargs: Any) -> Any:  # noqa: ANN401  JSON
        """Call an endpoint; ``data``, ``files``, ``no_cache`` and filters are keyword arguments."""


def listed(client: AlyxClient, endpoint: str, **filters: Any) -> list[dict[str, Any]]:  # noqa: ANN401  as the client takes
    """Return all records of an endpoint that pass the filters."""
    return list(client.rest(endpoint, "list", no_cache=True, **filters))


def read(client: AlyxClient, endpoint: str, record: str) -> dict[str, Any]:
    """Return one record in full."""
    found: dict[str, Any] = client.rest(endpoint, "read", id=record, no_cache=True)
    return found


def find_session(client: AlyxClient, session: SessionKey | str) -> str:
    """Return the id of a session.

    Parameters
    ----------
    client
        Alyx client.
    session
        Session key, or the id itself, which is returned unchanged.

    Raises
    ------
    AlyxError
        If Alyx does not hold the session, or holds it more than once: Alyx allows a subject, date and number to be
        entered twice.
    """
    if isinstance(session, str):
        try:
            return str(UUID(session))
        except ValueError:
            session = SessionKey.parse(session)
    rows = listed(
        client,
        "sessions",
        subject=session.subject,
        date_range=[session.date, session.date],
        number=int(session.number),
    )
    if len(rows) != 1:
        remedy = "Register the session first" if not rows else "Delete all but one of them in Alyx"
        found = f"{len(rows)} sessions" + (f": {', '.join(str(row['id']) for row in rows)}" if rows else "")
        raise AlyxError.at(str(session), expected="one session in Alyx", found=found, remedy=remedy)
    return str(rows[0]["id"])
