"""The archive of raw frames: making, verifying and reading it, against tar, bzip2 and lbzip2.

The input, 1 GB of simulated ScanImage tifs, is made once and kept in ``bench-data/archive``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from . import Row

_DATA = Path(__file__).resolve().parents[1] / "bench-data" / "archive"
_N_PAGES = 440
#: Times that the split is measured.
_SPLITS = 3

#: Each runs in a process of its own, so that its memory can be told; prints the seconds of its parts and its peak MB.
_OURS = """
import json, sys, time, warnings
from pathlib import Path
import psutil
from meso_core.archive import archive_source, compress_tifs, compress_to_zarr, open_frames, save_report
from meso_core.scanimage import bin_per_plane, load_meta_files
warnings.simplefilter("ignore")
what, source, target, workers = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
begin, marks, theirs = time.perf_counter(), {}, 0
def peak_mb(process):
    # ru_maxrss would count the parent that a process was forked from
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6 if "VmHWM:" in status else 0
def mark(done, total, name):
    global theirs
    if marks.setdefault(name.partition(" (")[0], time.perf_counter() - begin) and done % 64_000_000 < 1_000_000:
        theirs = max([theirs, *(peak_mb(child.pid) for child in psutil.Process().children())])  # lbzip2
n = 0
if what in ("tar.bz2", "zarr"):
    report = (compress_tifs if what == "tar.bz2" else compress_to_zarr)(source, target, workers=workers, progress=mark)
    n = report.size
    if target.parent.name == source.name:  # in a session: frames are compared with the record while they are read
        save_report(target.parent.parent, report)
elif what == "unpack zarr":
    folder = open_frames(source)
    n = sum(block.nbytes for block in folder.blocks(0, folder.shape[0], workers=workers))
elif what == "100 frames":
    n = open_frames(source).read(137, 237, workers=workers).nbytes
elif what == "split":
    meta, _ = load_meta_files(target.parent)
    bin_per_plane([archive_source(source, workers=workers)], meta, target / "split")
seconds = time.perf_counter() - begin
peak = peak_mb("self") + theirs
print(json.dumps({"seconds": seconds, "packed": marks.get("bytes verified", seconds), "peak_mb": peak, "n": n}))
"""


def rows() -> list[Row]:
    """Measure."""
    bout = _bout()
    with tempfile.TemporaryDirectory(prefix="meso-bench-", dir=_DATA) as scratch:
        return _measure(bout, Path(scratch))


def _bout() -> Path:
    """Tifs of one bout, from the simulator."""
    from meso_core.simulate import preset, simulate_session

    config = replace(preset("bench"), frames_per_bout=(_N_PAGES,), frames_per_file=110)
    root = _DATA / f"pages{_N_PAGES}" / "Subjects"
    bout = config.key.folder(root) / "raw_imaging_data_00"
    if not root.exists():
        shutil.rmtree(_DATA, ignore_errors=True)
        part = root.with_name("part")
        simulate_session(part, config)
        part.rename(root)
    return bout


def _measure(bout: Path, scratch: Path) -> list[Row]:
    tifs = [t.name for t in sorted(bout.glob("*.tif"))]
    raw = sum((bout / t).stat().st_size for t in tifs)
    cores = len(os.sched_getaffinity(0))
    on = f"{raw / 1e9:.2f} GB of simulated tifs, {cores} cores"
    peer, zarr = scratch / "peer.tar.bz2", scratch / "imaging.frames.zarr"
    tar = scratch / "session" / bout.name / "imaging.frames.tar.bz2"
    tar.parent.mkdir(parents=True)

    peer_packs = _seconds(lambda: _run(["tar", "-cjf", str(peer), *tifs], bout))
    peer_tests = _seconds(lambda: _run(["bzip2", "-t", str(peer)], bout))
    peer_lists = _seconds(lambda: _run(["bash", "-c", f"bunzip2 -c '{peer}' | tar -t"], bout))
    peer_s, peer_size = peer_packs + peer_tests + peer_lists, peer.stat().st_size
    peer.unlink()
    made = _ours("tar.bz2", bout, tar, cores)
    folder = _ours("zarr", bout, zarr, cores)
    unpacked = _ours("unpack zarr", zarr, zarr, cores)
    some = _ours("100 frames", zarr, zarr, cores)
    mb = raw / 1e6
    return [
        Row(
            "archive tifs and verify; peer: tar -cjf, bzip2 -t, bunzip2 -c \\| tar -t",
            peer_s,
            made["seconds"],
            "s",
            peer_s / made["seconds"],
            "≥ 2.5, verifying each tif's content",
            on,
        ),
        Row("size of the tar.bz2", peer_size / 1e6, made["n"] / 1e6, "MB", peer_size / made["n"], "≥ 0.99", on),
        Row("memory of that; peer: the limit", 300, made["peak_mb"], "MB", 300 / made["peak_mb"], "> 1", on),
        _scaling(bout, scratch, cores),
        _row("zarr packs; peer: tar -cjf", mb / peer_packs, mb / folder["packed"], "MB/s", "≥ 10", on),
        _row("zarr unpacks; peer: bzip2 -t", mb / peer_tests, mb / unpacked["seconds"], "MB/s", "≥ 20", on),
        Row(
            "size of the zarr; peer: tar.bz2",
            peer_size / 1e6,
            folder["n"] / 1e6,
            "MB",
            peer_size / folder["n"],
            "> 1",
            on,
        ),
        Row(
            "100 frames from the middle of the zarr; peer: bzip2 -t, for it must go through all",
            peer_tests,
            some["seconds"],
            "s",
            peer_tests / some["seconds"],
            "< 1 s",
            on,
        ),
        _split(tar, scratch, bout, cores, on),
    ]


def _row(what: str, peer: float, ours: float, unit: str, goal: str, on: str) -> Row:
    return Row(what, peer, ours, unit, ours / peer, goal, on)


def _scaling(bout: Path, scratch: Path, cores: int) -> Row:
    """Archive one tif with one worker, and with all."""
    part = scratch / "raw_imaging_data_00"
    part.mkdir()
    tif = min(bout.glob("*.tif"))
    os.link(tif, part / tif.name)
    mb = tif.stat().st_size / 1e6
    one, full = (mb / _ours("tar.bz2", part, scratch / f"{n}.tar.bz2", n)["seconds"] for n in (1, cores))
    what = f"tar.bz2 over cores: 1 worker, {cores} workers"
    return Row(what, one, full, "MB/s", full / one, f"≈ {cores}", f"{mb / 1e3:.2f} GB, verification included")


def _split(tar: Path, scratch: Path, bout: Path, cores: int, on: str) -> Row:
    """Split the frames of an archive into FOV binaries, unpacking its tifs to the disk first, or not."""
    from meso_core.scanimage import LocalTif, bin_per_plane, load_meta_files
    from meso_core.scanimage.frames.sources import BoutSource
    from meso_core.session import IMAGING_META_FILE, IMAGING_TIMES_FILE

    unpacked, metas = scratch / "unpacked", tar.parent
    for name in (IMAGING_META_FILE, IMAGING_TIMES_FILE):
        shutil.copy(bout / name, metas / name)

    def unpack_and_split() -> None:
        _run(["bash", "-c", f"lbzip2 -n{cores} -dc '{tar}' | tar -xf -"], unpacked)
        meta, _ = load_meta_files(metas.parent)
        tifs = tuple(LocalTif(t) for t in sorted(unpacked.glob("*.tif")))
        bin_per_plane([BoutSource(bout.name, tifs)], meta, scratch / "split")

    theirs, ours = [], []
    for _ in range(_SPLITS):  # in turns, since the two are near each other
        unpacked.mkdir()
        theirs.append(_seconds(unpack_and_split))
        ours.append(_ours("split", tar, metas, cores)["seconds"])
        for left in (unpacked, scratch / "split", metas / "split"):
            shutil.rmtree(left)
    peer_s, ours_s = median(theirs), median(ours)
    what = f"split from the tar.bz2, each tif compared; peer: lbzip2 -d \\| tar -x, then split; medians of {_SPLITS}"
    return Row(what, peer_s, ours_s, "s", peer_s / ours_s, "≥ 1, no disk for tifs", on)


def _seconds(job: Callable[[], object]) -> float:
    os.sync()
    begin = time.perf_counter()
    job()
    return time.perf_counter() - begin


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _ours(what: str, source: Path, target: Path, workers: int) -> dict[str, float]:
    os.sync()
    command = [sys.executable, "-c", _OURS, what, str(source), str(target), str(workers)]
    figures: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return figures
