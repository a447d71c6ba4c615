"""Answers of a server of Alyx: what they mean, the text that is in them, and the errors that they are.

What belongs here: reading one answer. What does not: sending, and trying again (``transport``).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ...errors import AlyxError, AlyxUnavailableError
from ...json_text import json_text

if TYPE_CHECKING:
    import requests

    from ..plan import Ref

#: Answers of a gateway or of a server that is being restarted.
_GATEWAY = (502, 503, 504)
TURNED_AWAY, FAILED = 429, 500
_SHOWN = 300


class AnswerLostError(AlyxUnavailableError):
    """Raised when a post may have been carried out, or may still be, but no answer came back."""

    #: What was posted.
    records: tuple[Ref, ...] = ()


class RefusedError(AlyxError):
    """Raised when the server refuses a request; ``status`` is that of HTTP."""

    status: int = 0
    #: What the server says.
    detail: str = ""

    @classmethod
    def of(cls, where: str, status: int, detail: str, remedy: str) -> RefusedError:
        """Make the error of an answer."""
        expected = "a request that the server takes"
        error = cls.at(where, expected=expected, found=f"{status}: {detail}", remedy=remedy)
        error.status, error.detail = status, detail
        return error


def is_passing(reply: requests.Response, *, once_more: bool = False) -> bool:
    """Tell whether to ask again; after a failure of the server once, since most such answers stay the same."""
    return reply.status_code in (*_GATEWAY, TURNED_AWAY) or (once_more and reply.status_code == FAILED)


def is_page(reply: requests.Response) -> bool:
    """Whether it is a page for people: from a proxy, or another server."""
    kind = reply.headers.get("Content-Type", "")
    return "html" in kind or reply.text.lstrip()[:1] == "<"


def shown(reply: requests.Response) -> str:
    """Say in words why to ask again later."""
    if is_page(reply):
        return "with a page of HTML, as a proxy sends it"
    return "too many requests" if reply.status_code == TURNED_AWAY else "the server is not ready"


def retry_after(reply: requests.Response) -> float:
    """Return the seconds that the server asks to wait; it may name a time of day instead."""
    from email.utils import parsedate_to_datetime

    told = reply.headers.get("Retry-After", "")
    try:
        return max(0.0, float(told))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    except ValueError:
        return 0.0


def detail(reply: requests.Response) -> str:
    """Return what the server says: fields with their messages, or one text."""
    try:
        body = reply.json()
    except ValueError:
        return "no such record" if reply.status_code == 404 else "no reason given"
    if isinstance(body, dict):
        body = {key: value for key, value in body.items() if key != "status_code"}
        body = next((body[key] for key in ("detail", "error") if set(body) == {key}), body)
    text = body if isinstance(body, str) else json_text(body, nulls=True)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def token_in(reply: requests.Response) -> str | None:
    """Return the token that a login gives; None where it gives something else."""
    try:
        body = reply.json()
    except ValueError:
        return None
    token = body.get("token") if isinstance(body, dict) else None
    return token if isinstance(token, str) and token else None
