"""Roots on servers: files that go to one and come from it, against what the client library does by itself.

Peer: ``get_file`` and ``put_file`` of s3fs (S3) and sshfs (SFTP), on the same server and the same files; they hash
nothing and look at nothing afterwards. Ours hashes on the way, looks, flushes and renames. In turns, medians.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from meso_core.storage import hash_file
from meso_core.storage.remote import download, open_root, stat, upload

from . import Row

_FILE_MB, _TURNS = 64, 5


def _rows(kind: str, server: Any, folder: Path) -> list[Row]:
    os.environ.update(server.environment())
    root = open_root(server.new_root())
    file = folder / f"{kind}.bin"
    file.write_bytes(os.urandom(_FILE_MB << 20))
    content = hash_file(file)

    def library_up(turn: int) -> None:
        root.backend.fs.put_file(str(file), root.place(f"library/{turn}"))

    def library_down(turn: int) -> None:
        root.backend.fs.get_file(root.place(f"library/{turn}"), str(folder / f"library-{turn}"))

    def meso_up(turn: int) -> None:
        upload(root, file, f"meso/{turn}", content=content)

    def meso_down(turn: int) -> None:
        there = stat(root, f"meso/{turn}")
        assert there is not None
        target = folder / f"meso-{turn}"
        download(root, there.path, target, size=there.size, mtime_ns=there.mtime_ns, sha256=content.sha256)

    library = {"sftp": "sshfs", "s3": "s3fs"}[kind]
    return [
        _row(f"upload to {server.name}; peer: {library}", library_up, meso_up),
        _row(f"download from {server.name}; peer: {library}", library_down, meso_down),
    ]


def _row(what: str, peer: Callable[[int], None], ours: Callable[[int], None]) -> Row:
    seconds: dict[str, list[float]] = {"peer": [], "ours": []}
    for turn in range(_TURNS):
        works = [("peer", peer), ("ours", ours)]
        for name, work in works if turn % 2 else reversed(works):
            start = time.perf_counter()
            work(turn)
            seconds[name].append(time.perf_counter() - start)
    theirs, mine = (_FILE_MB / statistics.median(seconds[name]) for name in ("peer", "ours"))
    on = f"{_FILE_MB} MB of random bytes, server on loopback on the same cores, medians of {_TURNS}"
    return Row(what, theirs, mine, "MB/s", mine / theirs, "≥ 0.8, hashed", on)


def rows() -> list[Row]:
    """Measure S3 and SFTP, both ways."""
    from tests.real_servers import OpenSshServer, S3Server

    found: list[Row] = []
    before = dict(os.environ)
    for kind, name, make in (("s3", "S3 (SeaweedFS)", S3Server), ("sftp", "SFTP (OpenSSH)", OpenSshServer)):
        with tempfile.TemporaryDirectory(prefix="meso-bench-") as place:
            served = Path(place) / "server"
            served.mkdir()
            server = make(served)
            server.name = name  # type: ignore[attr-defined]
            server.start()
            try:
                found += _rows(kind, server, Path(place))
            finally:
                server.kill()
                os.environ.clear()
                os.environ.update(before)
    return found
