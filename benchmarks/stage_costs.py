"""What each stage of a session costs as sessions grow: wall time, CPU time and memory, and what 100 GB would take.

``python -m benchmarks.stage_costs`` simulates sessions of 4 FOVs of 512 × 512 with 500, 1000, 2000 and 4000 frames and
runs each stage in a process of its own. It prints two tables in Markdown, which stand in ``docs/scaling.md``. It takes
about an hour on two cores and 25 GB of disk. Memory is the sum over a stage's processes, shared pages counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np
import psutil

from meso_core.machine import cores_at_hand

_FRAMES, _N_FOVS = (500, 1000, 2000, 4000), 4
_STAGES = ("archive", "cut", "register", "detect", "export")
#: Stages that work on one field of view at a time, with one core each.
_BY_FOV = ("register", "detect", "export")
#: Seconds between two looks at the memory of a stage.
_LOOK_S = 0.2
#: The session that is estimated: bytes of its tifs and number of fields.
_LARGE_BYTES, _LARGE_FOVS = 100e9, 8


@dataclass(frozen=True, slots=True)
class Cost:
    """What a stage took."""

    stage: str
    n_frames: int
    #: Bytes of the session's tifs.
    raw_bytes: int
    wall_s: float
    cpu_s: float
    peak_gb: float


def main() -> int:
    """Measure and print, or run one stage (as the process that is measured)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stage_costs", description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=list(_FRAMES))
    parser.add_argument("--fovs", type=int, default=_N_FOVS)
    parser.add_argument("--stages", nargs="+", choices=_STAGES, default=list(_STAGES), help="each needs those before")
    parser.add_argument("--stage", nargs=3, metavar=("STAGE", "SESSION", "OUT"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.stage:
        stage, session, out = asked.stage
        _run_stage(stage, Path(session), Path(out))
        return 0
    costs: list[Cost] = []
    for n_frames in sorted(asked.frames):
        with tempfile.TemporaryDirectory(prefix="meso-bench-") as name:
            costs += _costs_of(Path(name), n_frames, asked.fovs, asked.stages)
    print(_table(costs))
    if set(asked.stages) == set(_STAGES):
        print("", _estimate(costs, asked.fovs), sep="\n")
    return 0


def _costs_of(scratch: Path, n_frames: int, n_fovs: int, stages: Collection[str]) -> list[Cost]:
    from meso_core.simulate import preset, simulate_session

    print(f"simulating {n_frames} frames …", file=sys.stderr, flush=True)
    config = preset("bench")
    config = replace(config, rois=config.rois[:n_fovs], frames_per_bout=(n_frames,))
    session = simulate_session(scratch / "Subjects", config).session_path
    raw_bytes = sum(path.stat().st_size for path in session.glob("raw_imaging_data_*/*.tif"))
    costs = []
    for stage in (one for one in _STAGES if one in stages):
        costs.append(_measured(stage, session, scratch / "out", n_frames, raw_bytes))
        print(_line(costs[-1]), file=sys.stderr, flush=True)
        if stage == "archive":
            shutil.rmtree(scratch / "out")  # the pages are cut from the tifs: room for the movies
    return costs


def _measured(stage: str, session: Path, out: Path, n_frames: int, raw_bytes: int) -> Cost:
    command = [sys.executable, "-m", "benchmarks.stage_costs", "--stage", stage, str(session), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            time.sleep(_LOOK_S)
        told = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"stage {stage} of {n_frames} frames ended with code {process.returncode}; see above")
    figures = json.loads(told.splitlines()[-1])
    return Cost(stage, n_frames, raw_bytes, figures["wall_s"], figures["cpu_s"], peak / 1e9)


def _memory(pid: int) -> int:
    """Bytes that a process and those that it started hold; shared pages count once, pages of files do not."""
    total = 0
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended since
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return total


def _run_stage(stage: str, session: Path, out: Path) -> None:
    warnings.simplefilter("ignore")
    work = _prepared(stage, session, out)
    _to_disk(session, out, forget=True)  # a large session is never in memory when a stage begins
    start, before = time.perf_counter(), _cpu_s()
    work()
    _to_disk(out)
    print(json.dumps({"wall_s": time.perf_counter() - start, "cpu_s": _cpu_s() - before}))


def _to_disk(*folders: Path, forget: bool = False) -> None:
    """Have all files written to the disk; with ``forget`` they are read from there next."""
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            if forget:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _prepared(stage: str, session: Path, out: Path) -> Callable[[], object]:
    """Import what a stage needs, which is no part of what it costs, and return the stage."""
    from meso_core.archive import compress_tifs
    from meso_core.imaging import export_rois, fov_jobs, process_fovs, zip_plane
    from meso_core.scanimage import bin_per_plane, load_meta_files
    from meso_core.session import fov_name
    from meso_core.storage import write_fov

    meta, _ = load_meta_files(session)
    planes = out / "suite2p"
    out.mkdir(exist_ok=True)
    if stage == "archive":
        return lambda: compress_tifs(session / "raw_imaging_data_00", out / "imaging.frames.tar.bz2")
    if stage == "cut":
        return lambda: bin_per_plane(session, meta, planes)
    jobs = fov_jobs(planes, meta)
    if stage in ("register", "detect"):
        return lambda: process_fovs(jobs, stages=("registration" if stage == "register" else "detection",))

    def export() -> None:
        for i, job in enumerate(jobs):
            name = fov_name(i)
            write_fov(out / name, export_rois(job.folder, identity=name), where=name)
            zip_plane(job.folder, out / name / "_suite2p_ROIData.raw.zip")

    return export


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _line(c: Cost) -> str:
    return f"{c.stage}, {c.n_frames} frames: {c.wall_s:.1f} s, of processors {c.cpu_s:.1f} s, {c.peak_gb:.2f} GB"


def _table(costs: Sequence[Cost]) -> str:
    """Lay out all costs: a stage a row, a length of the session a column, and how its times grow."""
    lengths = {c.n_frames: c.raw_bytes for c in costs}
    heads = " | ".join(f"{n} frames, {size / 1e9:.1f} GB" for n, size in lengths.items())
    lines = [f"| stage | {heads} | grows as |", "| --- |" + " ---: |" * len(lengths) + " --- |"]
    stages = [[c for c in costs if c.stage == stage] for stage in dict.fromkeys(c.stage for c in costs)]
    for mine in [*stages, [_together(costs, n) for n in lengths]]:
        cells = " | ".join(f"{c.wall_s:.0f} s, {c.cpu_s:.0f} s, {c.peak_gb:.2f} GB" for c in mine)
        lines.append(f"| {mine[0].stage} | {cells} | {_growth(mine)} |")
    return "\n".join(lines)


def _growth(costs: Sequence[Cost]) -> str:
    """Tell the exponents with which wall time and CPU time grow."""
    if len(costs) < 2:
        return "–"
    wall, cpu = (_exponent(costs, which) for which in ("wall_s", "cpu_s"))
    return f"n^{wall:.2f}, n^{cpu:.2f}"


def _together(costs: Sequence[Cost], n_frames: int) -> Cost:
    """Add up the stages of a session, one after another."""
    mine = [c for c in costs if c.n_frames == n_frames]
    wall, cpu = sum(c.wall_s for c in mine), sum(c.cpu_s for c in mine)
    return Cost("all", n_frames, mine[0].raw_bytes, wall, cpu, max(c.peak_gb for c in mine))


def _exponent(costs: Sequence[Cost], which: str) -> float:
    """Slope of the logarithm of a time over that of the frames, by least squares."""
    times = [getattr(c, which) for c in costs]
    return float(np.polyfit(np.log([c.n_frames for c in costs]), np.log(times), 1)[0])


def _estimate(costs: Sequence[Cost], n_fovs: int) -> str:
    """Lay out what a session of 100 GB would take, from the CPU time of the largest session that was measured."""
    largest = max(c.n_frames for c in costs)
    per_byte = {c.stage: c.cpu_s / c.raw_bytes for c in costs if c.n_frames == largest}
    hours = {stage: _LARGE_BYTES * seconds / 3600 for stage, seconds in per_byte.items()}
    lines = [
        f"From {largest} frames of {n_fovs} FOVs on {cores_at_hand()} cores: CPU hours of 100 GB of tifs, "
        + ", ".join(f"{stage} {hours[stage]:.1f}" for stage in _STAGES)
        + ".",
        "",
        "| cores | one session of 100 GB, 8 FOVs, h | sessions in a night of 12 h |",
        "| ---: | ---: | ---: |",
    ]
    for cores in (2, 16, 64):
        alone = _hours_alone(hours, cores)
        lines.append(f"| {cores} | {alone:.1f} | {12 / max(sum(hours.values()) / cores, 1e-9):.1f} |")
    return "\n".join(lines)


def _hours_alone(hours: Mapping[str, float], cores: int) -> float:
    """Tell the time of one session that has these cores to itself.

    The archive is made beside suite2p and takes the cores that it leaves, but no more than a step is given. Fields of
    view take a core each, one after another where there are fewer cores than fields.
    """
    from meso_core.imaging.needs import MOST_CORES

    rounds = ceil(_LARGE_FOVS / cores)
    chain = hours["cut"] + sum(hours[stage] / _LARGE_FOVS * rounds for stage in _BY_FOV)
    archive = hours["archive"] / min(cores, MOST_CORES)
    return max(chain, archive, sum(hours.values()) / cores)


if __name__ == "__main__":
    sys.exit(main())
