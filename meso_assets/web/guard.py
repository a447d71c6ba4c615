"""What stands before Dagster's web server: only its own pages may ask it for anything.

What belongs here: looking at the head of a request. The server has no login, so that every page that is open in a
browser on the same machine could have it start runs: by a link, a form, a script, or by a name of its own that leads
here (DNS rebinding).
"""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meso_core.errors import problem

#: Names of this machine alone.
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
#: These ask for nothing to be changed, but for a GraphQL request.
_SAFE = ("GET", "HEAD", "OPTIONS")
#: What a form or a script of another page cannot send without asking first.
_OWN_FORMS = ("application/json", "application/graphql")


class OwnPagesOnly:
    """ASGI middleware that refuses what does not come from the server's own pages or from a program.

    Parameters
    ----------
    app
        What it stands before.
    hosts
        Names by which the server may be called, without the port; those of this machine by default.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = LOOPBACK) -> None:
        self._app, self._hosts = app, frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request, and pass on all others."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        why = self._why_not(scope, Headers(scope=scope))
        if why is None:
            await self._app(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": why[:120]})
        else:
            await PlainTextResponse(why, status_code=403)(scope, receive, send)

    def _why_not(self, scope: Scope, headers: Headers) -> str | None:
        """Say why a request is refused; None where it is not."""
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or re.sub(r":\d+$", "", hosts[0]).lower() not in self._hosts:
            found, expected = ", ".join(hosts) or "none", " or ".join(sorted(self._hosts))
            return _told("Host", expected, found, "Open the interface by one of these names, or set MESO_UI_HOSTS")
        own = {f"{scheme}://{hosts[0]}".lower() for scheme in ("http", "https")}
        if any(origin.lower() not in own for origin in origins):
            found = ", ".join(origins)
            return _told("Origin", f"a page of http://{hosts[0]}", found, "Do this in the interface itself")
        if scope["type"] == "websocket":
            return None
        return _why_not_by_method(scope, headers)


def _why_not_by_method(scope: Scope, headers: Headers) -> str | None:
    if scope["method"] in _SAFE:
        is_page = "text/html" in headers.get("accept", "")
        if scope["path"].rstrip("/").endswith("/graphql") and not is_page:
            return _told("Method", "POST for a GraphQL request", scope["method"], "Send it by POST, as JSON")
        return None
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return _told("Sec-Fetch-Site", "same-origin", headers["sec-fetch-site"], "Do this in the interface itself")
    form = headers.get("content-type", "none")
    if form.partition(";")[0].strip().lower() not in _OWN_FORMS:
        return _told("Content-Type", " or ".join(_OWN_FORMS), form, "Send the request as JSON")
    return None


def _told(field: str, expected: str, found: str, remedy: str) -> str:
    return problem("request", field=field, expected=expected, found=found, remedy=remedy)


def _unframed(send: Send) -> Send:
    """Keep other pages from showing the interface in a frame of theirs, where a click could be led."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["X-Frame-Options"] = "DENY"
        await send(message)

    return sending
