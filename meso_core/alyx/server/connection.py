"""A connection to Alyx: one-api's client, with time-outs, tries and names for what goes wrong.

What belongs here: one-api's client as the other modules use it. It checks endpoints and actions against the server's
schema and builds addresses; requests are sent by ``transport``. Nothing is cached but lists that do not change while a
program runs, no token is written to disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

from .transport import Transport

#: Lists that the administrators of a server keep: asked for once.
_LASTING = ("brain-regions", "dataset-types", "data-formats")
#: Most rows of a page that Alyx gives.
_PAGE = 1000


class Connection:
    """An Alyx client for all modules of this package.

    Parameters
    ----------
    transport
        Requests to the server.
    """

    def __init__(self, transport: Transport) -> None:
        from one.webclient import AlyxClient

        self._transport = transport
        # not by its constructor, which writes parameters and a default server into ~/.one
        self._client = AlyxClient.__new__(AlyxClient)
        self._client.base_url, self._client.silent, self._client._rest_schemes = transport.url, True, None
        self._client._generic_request = self._generic_request
        self._lasting: dict[str, list[dict[str, Any]]] = {}

    def __repr__(self) -> str:
        return f"Connection({self.url!r}, user={self.user!r})"

    @property
    def user(self) -> str:
        """Name of the user."""
        return self._transport.user

    @property
    def url(self) -> str:
        """Address of the server."""
        return self._transport.url

    @property
    def n_requests(self) -> int:
        """HTTP requests so far."""
        return self._transport.n_requests

    def rest(self, url: str, action: str, id: str | None = None, **kwargs: Any) -> Any:  # noqa: ANN401  JSON
        """Call an endpoint, as ``one.webclient.AlyxClient.rest``; lists are whole."""
        kwargs.pop("no_cache", None)
        if action == "list":
            return self._list(url, kwargs)
        # in an address, a name is quoted: a nickname may hold any character
        return self._client.rest(url, action, id=None if id is None else quote(id, safe=""), **kwargs)

    def _list(self, endpoint: str, filters: Mapping[str, Any]) -> list[dict[str, Any]]:
        if endpoint in self._lasting and not filters:
            return self._lasting[endpoint]
        plain = {name: ",".join(map(str, v)) if isinstance(v, list | tuple) else v for name, v in filters.items()}
        query = urlencode({**plain, "limit": _PAGE}, safe=",")
        rows = list(self._client.rest(f"{endpoint}?{query}", "list"))
        if endpoint in _LASTING and not filters:
            self._lasting[endpoint] = rows
        return rows

    def _generic_request(
        self,
        function: Callable[..., Any],
        path: str,
        data: object = None,
        files: Mapping[str, BinaryIO] | None = None,
        **_: object,
    ) -> Any:  # noqa: ANN401  JSON
        """Stand in the place of the method by which one-api's client sends everything."""
        path = "/" + path.replace(self.url, "").lstrip("/")
        return self._transport.request(function.__name__, path, data, files)


def connect(
    url: str,
    *,
    user: str,
    password: str | None = None,
    token: str | None = None,
    timeout_s: float = 60.0,
    tries: int = 5,
    wait: Callable[[float], None] = time.sleep,
) -> Connection:
    """Connect to a server of Alyx; the first request logs in.

    Parameters
    ----------
    url
        Address of the server.
    user
        Name of the user.
    password, token
        One of them.
    timeout_s
        Longest wait for each part of an answer, s; for a connection, at most 10 s.
    tries
        How often a request is sent at most.
    wait
        Waits for a number of seconds.

    Raises
    ------
    SettingsError
        If the address is none, or user and password are missing.
    """
    transport = Transport(url, user=user, password=password, token=token, timeout_s=timeout_s, tries=tries, wait=wait)
    return Connection(transport)
