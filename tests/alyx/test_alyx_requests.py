"""How many requests a session costs: counted at the server, bounded, and never more than the server wants."""

from __future__ import annotations

import time

import pytest

from meso_core.alyx import connect
from tests.alyx.ours import Ours, expected, held
from tests.alyx.standin import Given, Throttle, serving

N_FOVS = 8
#: Looked for per session, beside what is written: the session itself, what each part holds, and that again before it
#: is written; stacks by their name.
LOOKED_FOR = 20


def writes_of(n_fovs: int) -> int:
    """Stacks, FOVs and their locations, the craniotomy, a batch of files per collection, three pictures."""
    return n_fovs // 2 + 2 * n_fovs + 1 + n_fovs + 3


def counted(server, connection, ours):
    """Requests of registering once and of registering again, and what they were."""
    server.requests.clear()
    ours.register(connection)
    first = list(server.requests)
    server.requests.clear()
    ours.register(connection)
    return first, list(server.requests)


def register_many(n_sessions, root, throttle):
    """Register sessions one after the other, and all of them again; requests of each."""
    limit, throttle.number = throttle.number, None  # whoever enters the sessions is not limited
    with serving(throttle=throttle) as server:
        site = Given(server.url, stand_in=server)
        site.a_lab()
        connection = connect(server.url, user=site.user, password=site.password)
        sessions = [Ours.entered(site, root, n_fovs=N_FOVS, n=n) for n in range(n_sessions)]
        throttle.number = limit
        counts = [counted(server, connection, ours) for ours in sessions]
        throttle.number = None
        for ours in sessions[:: max(1, n_sessions // 5)]:
            assert held(site, ours) == expected(ours)
        site.close()
    return counts, server


def check(counts):
    once_per_connection, _ = counts[0]
    for first, again in counts[1:]:
        assert sum(method != "GET" for method, _ in first) == writes_of(N_FOVS)
        assert len(first) <= writes_of(N_FOVS) + LOOKED_FOR
        assert {method for method, _ in again} == {"GET"}, "nothing is written twice"
        assert len(again) <= LOOKED_FOR
    assert len(once_per_connection) <= len(counts[-1][0]) + 8, "login, schema, types, formats, regions: once"


def test_requests_of_a_session_are_counted_and_bounded(tmp_path):
    counts, _ = register_many(3, tmp_path, Throttle(None))
    check(counts)


def test_more_files_cost_no_more_requests(tmp_path, monkeypatch):
    few, _ = register_many(2, tmp_path / "few", Throttle(None))
    many = tuple(f"mpci.times_{n:03d}.npy" for n in range(60))
    monkeypatch.setattr("tests.alyx.ours.NAMES", many)
    more, _ = register_many(2, tmp_path / "many", Throttle(None))
    assert [tuple(map(len, both)) for both in more] == [tuple(map(len, both)) for both in few]


def test_a_server_that_lets_in_less_than_is_asked_is_waited_for(tmp_path):
    """The limit of a real server is 550 a minute; here it is as tight for the time that a test may take."""
    counts, server = register_many(2, tmp_path, Throttle(40, seconds=1.0))
    assert server.throttle.refused > 0
    assert server.throttle.impatient == 0, "no request came before the time that the server had named"
    assert len(counts) == 2


def test_a_client_that_does_not_wait_is_seen(tmp_path, monkeypatch):
    """Else the test above could not fail."""
    monkeypatch.setattr("meso_core.alyx.server.transport.retry_after", lambda _: 0.0)
    _, server = register_many(2, tmp_path, Throttle(40, seconds=1.0))
    assert server.throttle.impatient > 0


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_two_hundred_sessions_of_eight_fields_of_view(tmp_path, tried):
    """At the rate of a real server, scaled so that the night is long enough: 550 requests in 15 s."""
    began = time.monotonic()
    counts, server = register_many(200, tmp_path, Throttle(550, seconds=15.0))
    total = sum(len(first) + len(again) for first, again in counts)
    print(f"{total} requests, {total / 200:.1f} per session; {server.throttle.refused} refused by the throttle")
    print(f"{time.monotonic() - began:.0f} s with entering the sessions and looking at five of them")
    assert (server.throttle.refused > 0, server.throttle.impatient) == (True, 0)
    tried("faults of Alyx: sessions registered twice, at a tight rate", 200)
    assert total - server.throttle.refused <= 200 * (writes_of(N_FOVS) + 2 * LOOKED_FOR)
