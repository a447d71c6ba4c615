"""Roots of each kind; ``backend`` is one after the other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.storage.conformance.backends import (
    KINDS,
    Backend,
    FolderBackend,
    MemoryBackend,
    S3Backend,
    sftp_backend,
)

_NAMES = count(1)


@pytest.fixture
def make_backend(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Backend]:
    """``make_backend("s3")`` makes an empty root; ``bad=True`` puts a bad network before its server."""

    def make(kind: str, *, bad: bool = False) -> Backend:
        number = next(_NAMES)
        scratch = tmp_path / f"scratch {number}"
        if kind == "local disk":
            return FolderBackend(str(tmp_path / f"root {number}"), tmp_path / f"root {number}", scratch, {})
        if kind == "share":
            share = request.getfixturevalue("make_share")()
            root = share.mount / f"root {number}"
            backend: Backend = FolderBackend(str(root), root, scratch, {})
            backend.server = share
            return backend
        if kind == "memory":
            return MemoryBackend(f"root-{number}", scratch)
        server = request.getfixturevalue(f"{kind}_server")
        network = request.getfixturevalue("bad_network")(server) if bad else None
        port = network.port if network else None
        backend = S3Backend(server, scratch, port) if kind == "s3" else sftp_backend(server, scratch, port)
        backend.network = network
        for name, value in backend.environment.items():
            monkeypatch.setenv(name, value)
        return backend

    return make


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, make_backend: Callable[..., Backend]) -> Backend:
    """A root with one session, of each kind."""
    return make_backend(request.param)
