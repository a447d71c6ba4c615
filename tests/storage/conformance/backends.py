"""Roots of each kind, as a test sees them: the store that is tested, and the files themselves, past the store."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from meso_core.storage import SessionStore, open_store
from tests.bad_network import Proxy
from tests.real_servers import BUCKET, S3Server, Server, SftpServer
from tests.share import Share
from tests.storage.conformance.publications import KEY

#: A file that the rig has left in the session; no publication may touch it.
RIG = ("raw_imaging_data_00/x_00001_00001.tif", b"pages of the rig")
LOCAL, REMOTE = ("local disk", "share"), ("memory", "s3", "openssh")
#: A root in memory cannot be reached from another process.
KINDS = LOCAL + REMOTE
SHARED_BY_PROCESSES = tuple(kind for kind in KINDS if kind != "memory")
SERVERS = tuple(kind for kind in KINDS if kind in ("s3", "openssh"))


def nightly_if_remote(kinds: tuple[str, ...]) -> list[object]:
    """Parameters of a test that takes long where a network is between."""
    return [kind if kind in LOCAL else pytest.param(kind, marks=pytest.mark.nightly) for kind in kinds]


class Backend(ABC):
    """A root with one session, which holds one raw file.

    Attributes
    ----------
    url
        Root, as ``MESO_ROOT`` names it.
    scratch
        Scratch folder of this machine.
    environment
        What a process needs in its environment to reach the root.
    server
        The server, where there is one; ``network`` is a bad network before it, for roots that were made with one.
    """

    url: str
    scratch: Path
    environment: dict[str, str]
    server: Server | Share | None = None
    network: Proxy | None = None

    def open(self, scratch: str = "") -> SessionStore:
        """Open the root; another scratch folder stands for another machine."""
        return open_root(self.url, self.scratch / scratch)

    @abstractmethod
    def put(self, path: str, content: bytes) -> None:
        """Put a file into the session, past the store."""

    @abstractmethod
    def get(self, path: str) -> bytes | None:
        """Read a file of the session, past the store."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a file of the session, past the store."""

    @abstractmethod
    def paths(self) -> tuple[str, ...]:
        """All files of the session, past the store, the platform's own among them."""

    def results(self) -> dict[str, bytes]:
        """The files of the session and their content, but the platform's own."""
        found = {path: self.get(path) for path in self.paths() if not path.startswith(".meso/")}
        return {path: content for path, content in found.items() if content is not None}


def open_root(url: str, scratch: Path) -> SessionStore:
    """Open a root with a scratch folder of its own."""
    if "://" not in url:
        return open_store(url)
    scratch.mkdir(parents=True, exist_ok=True)
    return open_store(url, scratch=scratch)


class FolderBackend(Backend):
    """A root whose files lie in a folder: of the local disk, of a share, or behind an SFTP server."""

    def __init__(self, url: str, folder: Path, scratch: Path, environment: dict[str, str]) -> None:
        self.url, self.scratch, self.environment = url, scratch, environment
        self._session = KEY.folder(folder)
        self.put(*RIG)

    def put(self, path: str, content: bytes) -> None:
        file = self._session / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def get(self, path: str) -> bytes | None:
        file = self._session / path
        return file.read_bytes() if file.is_file() else None

    def remove(self, path: str) -> None:
        (self._session / path).unlink()

    def paths(self) -> tuple[str, ...]:
        files = (file for file in self._session.rglob("*") if file.is_file())
        return tuple(sorted(file.relative_to(self._session).as_posix() for file in files))


class S3Backend(Backend):
    """A root in a bucket."""

    def __init__(self, server: S3Server, scratch: Path, port: int | None = None) -> None:
        self.url, self.scratch = server.new_root(port), scratch
        self.environment, self.server = server.environment(port), server
        self._prefix = f"{self.url.removeprefix(f's3://{BUCKET}/')}/{KEY}/"
        self.put(*RIG)

    @property
    def _client(self) -> Any:
        assert isinstance(self.server, S3Server)
        return self.server.client()

    def put(self, path: str, content: bytes) -> None:
        self._client.put_object(Bucket=BUCKET, Key=self._prefix + path, Body=content)

    def get(self, path: str) -> bytes | None:
        client = self._client
        try:
            return client.get_object(Bucket=BUCKET, Key=self._prefix + path)["Body"].read()
        except client.exceptions.NoSuchKey:
            return None

    def remove(self, path: str) -> None:
        self._client.delete_object(Bucket=BUCKET, Key=self._prefix + path)

    def paths(self) -> tuple[str, ...]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=self._prefix)
        keys = (found["Key"] for page in pages for found in page.get("Contents", ()))
        return tuple(sorted(key.removeprefix(self._prefix) for key in keys if not key.endswith("/")))


class MemoryBackend(Backend):
    """A root in the memory of this process."""

    def __init__(self, name: str, scratch: Path) -> None:
        from fsspec.implementations.memory import MemoryFileSystem

        self.url, self.scratch, self.environment = f"memory://{name}", scratch, {}
        self._files, self._base = MemoryFileSystem(), f"/{name}/{KEY}/"
        self.put(*RIG)

    def put(self, path: str, content: bytes) -> None:
        self._files.makedirs(f"{self._base}{path}".rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(self._base + path, content)

    def get(self, path: str) -> bytes | None:
        return self._files.cat_file(self._base + path) if self._files.isfile(self._base + path) else None

    def remove(self, path: str) -> None:
        self._files.rm_file(self._base + path)

    def paths(self) -> tuple[str, ...]:
        return tuple(sorted(path.removeprefix(self._base) for path in self._files.find(self._base)))


def sftp_backend(server: SftpServer, scratch: Path, port: int | None = None) -> Backend:
    """Make a root behind an SFTP server."""
    url = server.new_root(port)
    path = Path(urlsplit(url).path)
    folder = path if path.is_relative_to(server.served) else server.served / path.relative_to("/")
    backend = FolderBackend(url, folder, scratch, server.environment(port))
    backend.server = server
    return backend


def forget(scratch: Path) -> None:
    """Lose a machine: what was on its disk is gone."""
    shutil.rmtree(scratch, ignore_errors=True)
