"""Roots of every kind for tests of remote storage: in memory, on a real S3 server, on two real SFTP servers."""

from __future__ import annotations

import hashlib
import itertools
import os
from pathlib import Path

import pytest

from meso_core.storage.files.hashing import FileHash, hash_file
from meso_core.storage.remote import RemoteRoot, download, open_root
from meso_core.storage.remote.servers.calls import Patience
from meso_core.storage.remote.servers.reading import must_have

KINDS = ("memory", "s3", "openssh", "rclone")
REAL = KINDS[1:]
#: Tests wait for no longer than that where a call is to fail in the end.
QUICK = Patience(total_s=1.5, first_s=0.05, longest_s=0.3)
#: Where a call is to succeed in the end, though servers start again meanwhile, on a busy machine.
LONG = Patience(total_s=150.0, first_s=0.05, longest_s=0.5)

_NUMBERS = itertools.count()


def server_of(kind: str, request: pytest.FixtureRequest):
    """Return the server of a kind; none for memory."""
    return None if kind == "memory" else request.getfixturevalue(f"{kind}_server")


def new_root(kind, request, monkeypatch, *, port=None, patience=LONG) -> RemoteRoot:
    """Open an empty root; ``port`` is that of a proxy before its server."""
    if kind == "memory":
        return open_root(f"memory://test-{next(_NUMBERS)}", patience=patience)
    server = server_of(kind, request)
    for name, value in server.environment(port).items():
        monkeypatch.setenv(name, value)
    return open_root(server.new_root(port), patience=patience)


def fetch(root: RemoteRoot, path: str, target: Path, *, size: int, sha256: str | None = None) -> Path:
    """Download a file as one look at it tells."""
    return download(root, path, target, size=size, mtime_ns=must_have(root, path).mtime_ns, sha256=sha256)


def random_file(path: Path, size: int) -> FileHash:
    """Write a file of random bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return hash_file(path)


def hash_of(content: bytes) -> FileHash:
    """Hash bytes."""
    return FileHash(len(content), hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest())
