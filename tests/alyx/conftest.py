"""A server for the tests: the stand-in, or the real one that ALYX_URL, ALYX_USER and ALYX_PASSWORD name.

A real server is reached through a door, at which the same faults strike as in the stand-in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meso_core.alyx import connect
from tests.alyx.ours import Ours
from tests.alyx.standin import Door, Given, StandIn, Throttle, door_to, serving
from tests.alyx.through_one import through_one

__all__ = ["through_one"]

REAL = tuple(os.environ.get(name, "") for name in ("ALYX_URL", "ALYX_USER", "ALYX_PASSWORD"))


@pytest.fixture
def real_or_stand_in() -> Iterator[StandIn | Door]:
    """The server: the stand-in without a limit of requests, or a door to a real one."""
    if all(REAL):
        with door_to(REAL[0]) as door:
            yield door
    else:
        with serving(throttle=Throttle(None)) as server:
            yield server


@pytest.fixture
def site(real_or_stand_in: StandIn | Door) -> Iterator[Given]:
    """A person with all rights there; a lab with a repository and a subject are entered."""
    if isinstance(real_or_stand_in, StandIn):
        site = Given(real_or_stand_in.url, stand_in=real_or_stand_in)
    else:
        site = Given(REAL[0], REAL[1], REAL[2])
    site.a_lab()
    site.types()
    yield site
    site.close()


@pytest.fixture
def ours(site: Given, tmp_path: Any) -> Ours:
    """A session on disk that the server knows, and of which it holds nothing yet."""
    return Ours.entered(site, tmp_path)


@pytest.fixture
def client(real_or_stand_in: StandIn | Door, site: Given) -> Callable[..., Any]:
    """Make a connection of the product; it waits for nothing, and remembers for how long it would have."""

    def make(**more: Any) -> Any:
        waits: list[float] = []
        how = {"user": site.user, "password": site.password, "wait": waits.append, "timeout_s": 5.0, **more}
        connection = connect(real_or_stand_in.url, **how)
        connection.waits = waits
        return connection

    return make
