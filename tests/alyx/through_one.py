"""one-api's own client at the stand-in: what a person has who passes a client of theirs, its cache of answers too."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.alyx.standin import Given, StandIn, Throttle, serving

ACTIONS = {"POST": "create", "PATCH": "partial_update", "PUT": "update", "DELETE": "delete"}
LEFT_OUT = {
    "sessions": {"location": None, "parent_session": None},
    "fields-of-view": {"json": None, "datasets": None},
    "notes": {"user": "experimenter", "content_type": "session", "date_time": "2024-01-01T00:00:00", "image": None},
}


class ThroughOne:
    """``rest`` is that of ``one.webclient.AlyxClient``; the rest looks into the tables of the stand-in behind it."""

    def __init__(self, server: StandIn, client: Any) -> None:
        self._server, self._client = server, client
        self.user: str | None = client.user
        self._before = len(server.requests)

    def rest(self, *args: Any, **kwargs: Any) -> Any:
        return self._client.rest(*args, **kwargs)

    def of(self, endpoint: str) -> list[dict[str, Any]]:
        """The records of an endpoint, in the order in which they were made; to look at, and to spoil."""
        return list(self._server.tables[endpoint])

    def add(self, endpoint: str, **record: Any) -> str:
        """Put a record in, as somebody else has; its id."""
        return str(self._server.tables[endpoint].add(**{**LEFT_OUT.get(endpoint, {}), **record})["id"])

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Endpoint and action of everything that was written."""
        return [(endpoint, ACTIONS[m]) for m, endpoint in self._server.requests[self._before :] if m != "GET"]

    def held(self) -> list[Any]:
        return copy.deepcopy([self.of(name) for name in ("imaging-stack", "fields-of-view", "fov-location", "notes")])


@pytest.fixture
def through_one(tmp_path, monkeypatch):
    """Make the client, once what was there before is entered by ``enter(given)``."""
    webclient = pytest.importorskip("one.webclient")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # tokens and parameters are kept there
    with serving(throttle=Throttle(None)) as server:
        given = Given(server.url, stand_in=server)
        given.a_lab()

        def make(enter: Any) -> ThroughOne:
            enter(given)
            access = {"base_url": server.url, "username": given.user, "password": given.password}
            client = webclient.AlyxClient(**access, silent=True, cache_dir=tmp_path / "home", cache_rest="GET")
            return ThroughOne(server, client)

        yield make
        given.close()
