"""What the platform adds to the science: publishing a movie, and running a session in which nothing has changed.

Publishing is measured against a plain copy of the same bytes with both hashes taken on the way, each flushed to the
disk; in turns, medians. Running again is measured against running the first time, both by ``meso run``.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import Row

_MOVIE_MB, _TURNS = 256, 8
_BLOCK = 1 << 22
_MESO = "from meso_assets.cli import main; main()"


def _copy_with_hashes(source: Path, target: Path) -> None:
    sha, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with source.open("rb") as read, target.open("wb") as out:
        while block := read.read(_BLOCK):
            sha.update(block)
            md5.update(block)
            out.write(block)
        out.flush()
        os.fsync(out.fileno())


def _publish(source: Path, session: Path) -> None:
    from meso_core.storage import Basis, MadeBy, Staging, publish

    staging = Staging(session, "movies")
    with source.open("rb") as read, staging.open("suite2p/plane0/movie.bin") as out:
        while block := read.read(_BLOCK):
            out.write(block)
    publish(session, staging.seal(), Basis("1"), MadeBy("bench"))


def _publishing(folder: Path) -> Row:
    source, session = folder / "movie.bin", folder / "SP035" / "2023-03-03" / "001"
    session.mkdir(parents=True)
    with source.open("wb") as out:
        for _ in range(_MOVIE_MB):
            out.write(os.urandom(1 << 20))
    seconds: dict[str, list[float]] = {"copy": [], "publish": []}
    works = [
        ("copy", lambda: _copy_with_hashes(source, folder / "copy.bin")),
        ("publish", lambda: _publish(source, session)),
    ]
    for turn in range(_TURNS):
        for name, work in works if turn % 2 else reversed(works):  # the disk may be slower for whoever comes second
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    peer, ours = (statistics.median(seconds[name]) for name in ("copy", "publish"))
    on = f"{_MOVIE_MB} MB, flushed to the disk, medians of {_TURNS}"
    return Row("publish a file; peer: a copy with the same hashes", peer, ours, "s", peer / ours, "≥ 0.9", on)


def _run_again(folder: Path) -> Row:
    from meso_core.simulate import preset, simulate_session

    made = simulate_session(folder / "sessions", preset("tiny"))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MESO_", "DAGSTER_"))},
        "MESO_ROOT": str(folder / "sessions"),
        "MESO_HOME": str(folder / "home"),
        "MESO_CACHE": str(folder / "cache"),
        "MESO_ATLAS": "phantom",
        "MESO_ATLAS_RESOLUTION_UM": "50",
    }
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", _MESO, "run", str(made.key)], env=environment, check=True, stdout=2)
        seconds.append(time.perf_counter() - start)
    on = "tiny session, 3 FOVs, 10 assets in processes of their own, 2 cores"
    what = "run a session again in which nothing has changed; peer: the first run"
    return Row(what, seconds[0], seconds[1], "s", seconds[0] / seconds[1], "nothing computed or hashed", on)


def rows() -> list[Row]:
    """Measure both."""
    with tempfile.TemporaryDirectory(prefix="meso-bench-") as name:
        folder = Path(name)
        return [_publishing(folder), _run_again(folder)]
