"""What the platform adds to the science: publishing a movie, and running a session in which nothing has changed.

Publishing is measured against a plain copy of the same bytes with both hashes taken on the way, each flushed to the
disk; in turns, medians. Replacing a movie first compares the old one with its record, so that nothing of somebody else
is lost: its peer reads the old one for its hash too. Running again is measured against running the first time, both by
``meso run``: what it takes is what Dagster and the processes of the steps cost a session, for no science is left in it.
Dagster's records of a session are what its databases have grown by in the first run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from . import Row, plain_environment

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


def _replace_with_hashes(source: Path, target: Path) -> None:
    with target.open("rb") as old:
        hashlib.file_digest(old, "sha256")
    beside = target.with_suffix(".part")  # a kill would leave half a file at the place of the whole one
    _copy_with_hashes(source, beside)
    beside.replace(target)


def _publish(source: Path, session: Path) -> None:
    from meso_core.storage import Basis, MadeBy, Staging, publish

    staging = Staging(session, "movies")
    with source.open("rb") as read, staging.open("suite2p/plane0/movie.bin") as out:
        while block := read.read(_BLOCK):
            out.write(block)
    publish(session, staging.seal(), Basis("1"), MadeBy("bench"))


def _publishing(folder: Path) -> list[Row]:
    sessions = folder / "SP035" / "2023-03-03"
    sources = [folder / "movie.bin", folder / "other.bin"]
    for source in sources:
        with source.open("wb") as out:
            for _ in range(_MOVIE_MB):
                out.write(os.urandom(1 << 20))
    seconds = defaultdict[str, list[float]](list)
    for turn in range(_TURNS):
        session, copy = sessions / f"{turn:03d}", folder / f"copy{turn}.bin"
        session.mkdir(parents=True)
        works = [
            ("copy", lambda copy=copy: _copy_with_hashes(sources[0], copy)),
            ("publish", lambda session=session: _publish(sources[0], session)),
            ("copy again", lambda copy=copy: _replace_with_hashes(sources[1], copy)),
            ("publish again", lambda session=session: _publish(sources[1], session)),
        ]
        # the disk may be slower for whoever comes second
        for name, work in works if turn % 2 else [works[i] for i in (1, 0, 3, 2)]:
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
        copy.unlink()
        shutil.rmtree(session)
    on = f"{_MOVIE_MB} MB, flushed to the disk, medians of {_TURNS}"
    told = {
        "": "publish a file; peer: a copy with the same hashes",
        " again": "publish it again with other content; peer: the old one's hash, a copy beside it, a rename",
    }
    rows = []
    for which, what in told.items():
        peer, ours = (statistics.median(seconds[name + which]) for name in ("copy", "publish"))
        rows.append(Row(what, peer, ours, "s", peer / ours, "≥ 0.9", on))
    return rows


def _databases_mb(home: Path) -> float:
    """Size of Dagster's databases."""
    return sum(file.stat().st_size for file in home.rglob("*.db*") if file.is_file()) / 1e6


def _run_again(folder: Path) -> list[Row]:
    import dagster as dg

    from meso_assets.defs.catalogue import CATALOGUE
    from meso_assets.runs.instance import open_instance
    from meso_assets.runs.settings.settings import MesoSettings
    from meso_core.machine import cores_at_hand
    from meso_core.simulate import preset, simulate_session

    made = simulate_session(folder / "sessions", preset("tiny"))
    environment = {
        **plain_environment(),
        "MESO_ROOT": str(folder / "sessions"),
        "MESO_HOME": str(folder / "home"),
        "MESO_CACHE": str(folder / "cache"),
        "MESO_ATLAS": "phantom",
        "MESO_ATLAS_RESOLUTION_UM": "50",
    }
    with open_instance(MesoSettings(root=folder / "sessions", home=folder / "home")) as instance:
        # what the databases take when they are empty is no session's, nor that of what no run has told
        instance.report_runless_asset_event(dg.AssetObservation("opened"))
    sizes, seconds = [_databases_mb(folder / "home")], []
    for _ in range(2):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", _MESO, "run", str(made.key)], env=environment, check=True, stdout=2)
        seconds.append(time.perf_counter() - start)
        sizes.append(_databases_mb(folder / "home"))
    on = f"tiny session, 3 FOVs, {len(CATALOGUE)} assets in processes of their own, {cores_at_hand()} cores"
    what = "run a session again in which nothing has changed; peer: the first run"
    grown = sizes[1] - sizes[0]
    return [
        Row(what, seconds[0], seconds[1], "s", seconds[0] / seconds[1], "nothing computed or hashed", on),
        Row("a session without its science; peer: the limit", 30.0, seconds[1], "s", 30.0 / seconds[1], "≥ 1", on),
        Row("Dagster's records of a session; peer: the limit", 2.0, grown, "MB", 2.0 / grown, "≥ 1", on),
    ]


def rows() -> list[Row]:
    """Measure all."""
    with tempfile.TemporaryDirectory(prefix="meso-bench-") as name:
        folder = Path(name)
        return [*_publishing(folder), *_run_again(folder)]
