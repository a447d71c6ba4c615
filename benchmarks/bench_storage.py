"""Roots on servers: files that go to one and come from it, against what the client library does by itself.

Peer: ``get_file`` and ``put_file`` of s3fs (S3) and sshfs (SFTP) as they come, on the same server and the same files;
they hash nothing and look at nothing afterwards. Ours hashes on the way, looks, flushes and renames; over SFTP it asks
for a quicker cipher. In turns, medians.

Headers of a tif that lies on a server: what indexing it by ranges takes, against downloading it. A whole session whose
root is on S3, by ``meso run``, against the same one on a disk and what its files take with the client library.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from meso_core.storage import hash_file
from meso_core.storage.remote import RemoteRoot, download, open_root, stat, upload

from . import Row, plain_environment

_FILE_MB, _TURNS = 64, 5
#: Shape and number of the pages of a tif whose headers are read.
_PAGE, _PAGES = (2000, 512), 200
_MESO = "from meso_assets.cli import main; main()"


def _rows(kind: str, server: Any, folder: Path) -> list[Row]:
    os.environ.update(server.environment())
    root = open_root(server.new_root())
    file = folder / f"{kind}.bin"
    file.write_bytes(os.urandom(_FILE_MB << 20))
    content = hash_file(file)

    library = _sshfs(root) if kind == "sftp" else root.backend.fs

    def library_up(turn: int) -> None:
        library.put_file(str(file), root.place(f"library/{turn}"))

    def library_down(turn: int) -> None:
        library.get_file(root.place(f"library/{turn}"), str(folder / f"library-{turn}"))

    def meso_up(turn: int) -> None:
        upload(root, file, f"meso/{turn}", content=content)

    def meso_down(turn: int) -> None:
        there = stat(root, f"meso/{turn}")
        assert there is not None
        target = folder / f"meso-{turn}"
        download(root, there.path, target, size=there.size, mtime_ns=there.mtime_ns, sha256=content.sha256)

    name = {"sftp": "sshfs", "s3": "s3fs"}[kind]
    return [
        _row(f"upload to {server.name}; peer: {name}", library_up, meso_up),
        _row(f"download from {server.name}; peer: {name}", library_down, meso_down),
        _headers(root, server.name, folder),
    ]


def _sshfs(root: RemoteRoot) -> Any:
    """Return the client library as it comes, without what meso asks for in its connection."""
    from sshfs import SSHFileSystem

    there = urlsplit(root.url)
    return SSHFileSystem(str(there.hostname), port=there.port, username=there.username, skip_instance_cache=True)


def _headers(root: RemoteRoot, name: str, folder: Path) -> Row:
    """Index a tif by ranges, and by a download."""
    from meso_core.scanimage import ScanImageTif
    from meso_core.storage.remote.transfers.ranges import ranged

    from .bench_scanimage import write_tif

    tif, fetched = folder / "headers.tif", []
    write_tif(tif, _PAGES, _PAGE)
    there = upload(root, tif, "headers.tif", content=hash_file(tif))

    def whole(turn: int) -> None:
        target = folder / f"headers-{turn}.tif"
        download(root, there.path, target, size=there.size, mtime_ns=there.mtime_ns)
        assert ScanImageTif(target).n_pages == _PAGES
        target.unlink()

    def by_ranges(turn: int) -> None:
        with ranged(root, there.path, there) as file:
            assert ScanImageTif(tif, file).n_pages == _PAGES
        fetched.append(file.n_fetched)

    theirs, ours = _medians(whole, by_ranges)
    on = f"{there.size / 1e6:.0f} MB, {_PAGES} pages; {fetched[0] / 1e6:.2g} MB are fetched; medians of {_TURNS}"
    what = f"headers of a tif on {name}; peer: download it first"
    return Row(what, theirs, ours, "s", theirs / ours, "≥ 3", on)


def _row(what: str, peer: Callable[[int], None], ours: Callable[[int], None]) -> Row:
    theirs, mine = (_FILE_MB / seconds for seconds in _medians(peer, ours))
    on = f"{_FILE_MB} MB of random bytes, server on loopback on the same cores, medians of {_TURNS}"
    return Row(what, theirs, mine, "MB/s", mine / theirs, "≥ 0.8, hashed", on)


def _medians(peer: Callable[[int], None], ours: Callable[[int], None]) -> tuple[float, float]:
    """Median seconds of both, in turns."""
    seconds: dict[str, list[float]] = {"peer": [], "ours": []}
    for turn in range(_TURNS):
        works = [("peer", peer), ("ours", ours)]
        for name, work in works if turn % 2 else reversed(works):
            start = time.perf_counter()
            work(turn)
            seconds[name].append(time.perf_counter() - start)
    return statistics.median(seconds["peer"]), statistics.median(seconds["ours"])


def _session(server: Any, folder: Path) -> Row:
    """Process a tiny session on a disk and on a server."""
    from meso_core.simulate import preset, simulate_session

    os.environ.update(server.environment())
    made, root = simulate_session(folder / "sessions", preset("tiny")), open_root(server.new_root())
    raw = [file for file in sorted(made.session_path.rglob("*")) if file.is_file()]
    for file in raw:
        path = file.relative_to(made.session_path).as_posix()
        upload(root, file, f"{made.key}/{path}", content=hash_file(file))
    on_server = _processed(folder / "server", root.url, str(made.key))
    on_disk = _processed(folder / "disk", str(folder / "sessions"), str(made.key))
    results = [file for file in sorted(made.session_path.rglob("*")) if file.is_file() and file not in raw]
    start, fs = time.perf_counter(), root.backend.fs
    for file in raw:
        place = root.place(f"{made.key}/{file.relative_to(made.session_path).as_posix()}")
        fs.get_file(place, str(folder / "fetched"))
    for number, file in enumerate(results):
        fs.put_file(str(file), root.place(f"library/{number}"))
    transfers = time.perf_counter() - start
    on = f"tiny session, {len(raw)} files from the server and {len(results)} to it in {transfers:.1f} s, same cores"
    what = f"process a session on {server.name}; peer: on a disk, plus s3fs for its files"
    return Row(what, on_disk + transfers, on_server, "s", (on_disk + transfers) / on_server, "≥ 0.67", on)


def _processed(folder: Path, root: str, key: str) -> float:
    """Seconds that ``meso run`` takes."""
    environment = {
        **plain_environment(),
        "MESO_ROOT": root,
        "MESO_HOME": str(folder / "home"),
        "MESO_CACHE": str(folder / "cache"),
        "MESO_ATLAS": "phantom",
        "MESO_ATLAS_RESOLUTION_UM": "50",
    }
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", _MESO, "run", key], env=environment, check=True, stdout=2)
    return time.perf_counter() - start


def rows() -> list[Row]:
    """Measure S3 and SFTP, both ways, and a session on S3."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # where modules of tests find each other
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
                if kind == "s3":
                    found.append(_session(server, Path(place)))
            finally:
                server.kill()
                os.environ.clear()
                os.environ.update(before)
    return found
