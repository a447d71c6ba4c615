"""Fixtures: a server with a session that is to be registered, and a connection to it."""

import pytest

from meso_core.alyx import connect
from tests.alyx.standin import Given, Throttle, serving


@pytest.fixture
def lab_server():
    with serving(throttle=Throttle(None)) as lab_server:
        yield lab_server


@pytest.fixture
def lab(lab_server):
    lab = Given(lab_server.url, stand_in=lab_server)
    lab.a_lab()
    lab.subject("SP035")
    lab.session("SP035", "2023-03-03", 1)
    lab.surgery("SP035", "2023-01-01T10:00:00", {"craniotomy_00": {"center": [2.7, -1.3]}})
    yield lab
    lab.close()


@pytest.fixture
def waits():
    return []


@pytest.fixture
def connection(lab, tmp_path, monkeypatch, waits):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return connect(lab.url, user=lab.user, password=lab.password, wait=waits.append)
