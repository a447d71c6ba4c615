"""A session from its tifs to ROIs and traces, against ``suite2p.run_s2p`` with the field's settings.

Both start from the same tifs of simulated FOVs (512 × 512) on the same cores. The peer converts, registers and detects
in a process of its own with the settings that the field uses (batches of 500, its threads as it likes); since suite2p
1.1.0 makes its reference wrongly in batches below ``nimg_init``, 500 frames in a batch make it right, and shifts can be
compared. Ours ends with the ALF files and the zipped planes too, and its time holds the start of its processes. On two
idle cores the peer takes about ten minutes.
``MESO_BENCH_FRAMES`` (default 1000) and ``MESO_BENCH_FOVS`` (default 4) set the size.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import Row
from meso_core.imaging import FovJob, fov_jobs, process_fovs
from meso_core.imaging.export import export_rois, zip_plane
from meso_core.scanimage import ImagingLayout, bin_per_plane, load_meta_files
from meso_core.session import fov_name
from meso_core.simulate import preset, simulate_session
from meso_core.storage import write_fov

_PEER = """
import json, resource, sys, time
from suite2p import default_db, run_s2p
db, settings = ({**json.loads(text)} for text in sys.argv[1:])
start = time.perf_counter()
run_s2p(db={**default_db(), **db}, settings=settings)
print(json.dumps({"seconds": time.perf_counter() - start,
                  "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def rows() -> list[Row]:
    """Measure throughput, memory, and the differences of shifts and ROIs."""
    n_frames, n_fovs = (int(os.environ.get(f"MESO_BENCH_{k}", d)) for k, d in (("FRAMES", 1000), ("FOVS", 4)))
    with tempfile.TemporaryDirectory(prefix="meso_bench_") as name:
        ours, peer = Path(name, "ours"), Path(name, "peer")
        session = _simulated(Path(name), n_frames, n_fovs)
        meta, _ = load_meta_files(session)
        start = time.perf_counter()
        jobs = _process(session, meta, ours)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        result = _run_peer(session, meta, jobs[0].options.settings_dict(), peer)
        shifts, rois = _compare(ours, peer, n_fovs)
    total, on = n_frames * n_fovs, f"{n_fovs} FOVs of 512 x 512, {n_frames} frames, {os.cpu_count()} cores"
    rates = (total / result["seconds"], total / seconds)
    gigabytes = (result["peak"] / 1e9, peak / 1e9)
    return [
        Row("tifs to ROIs and traces, suite2p.run_s2p", *rates, "frames/s", rates[1] / rates[0], "≥ 2.5", on),
        Row("peak memory of a process, suite2p.run_s2p", *gigabytes, "GB", gigabytes[0] / gigabytes[1], "≤ 4 GB", on),
        Row("shifts within 0.01 px of suite2p's", 1.0, shifts, "share", shifts, "1", on),
        Row("ROIs that suite2p finds too (IoU ≥ 0.9)", 1.0, rois, "share", rois, "1", on),
    ]


def _simulated(scratch: Path, n_frames: int, n_fovs: int) -> Path:
    config = preset("bench")
    config = replace(config, rois=config.rois[:n_fovs], frames_per_bout=(n_frames,))
    return simulate_session(scratch / "Subjects", config).session_path


def _process(session: Path, meta: Mapping[str, Any], out: Path) -> tuple[FovJob, ...]:
    """From tifs to ALF files."""
    bin_per_plane(session, meta, out / "suite2p")
    jobs = fov_jobs(out / "suite2p", meta)
    process_fovs(jobs)
    for i, job in enumerate(jobs):
        write_fov(out / fov_name(i), export_rois(job.folder, identity=fov_name(i)), where=fov_name(i))
        zip_plane(job.folder, out / fov_name(i) / "_suite2p_ROIData.raw.zip")
    return jobs


def _run_peer(session: Path, meta: Mapping[str, Any], settings: dict[str, Any], out: Path) -> dict[str, float]:
    layout = ImagingLayout.from_meta(meta)
    db = {
        "data_path": [str(session / "raw_imaging_data_00")],
        "save_path0": str(out),
        "fast_disk": str(out),
        "nplanes": 1,
        "nchannels": 1,
        "lines": [list(range(f.row_start, f.row_stop)) for f in layout.fovs],
        "dx": [0] * len(layout.fovs),
        "dy": [0] * len(layout.fovs),
        "keep_movie_raw": False,
    }
    out.mkdir()
    command = [sys.executable, "-c", _PEER, json.dumps(db), json.dumps(settings)]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return figures


def _compare(ours: Path, peer: Path, n_fovs: int) -> tuple[float, float]:
    """Share of all shifts that agree within 0.01 px, and of ROIs that have a partner of the same pixels.

    Where two places of the interpolated correlation are equal to the last digit of a float32, rounding decides which
    is the peak, and the shift of that block and frame differs by 0.1 px, the step of the interpolation.
    """
    equal, matched, n_shifts, n_rois = 0, 0, 0, 0
    for i in range(n_fovs):
        mine, theirs = ours / "suite2p" / f"plane{i}", peer / "suite2p" / f"plane{i}"
        a, b = (np.load(f / "reg_outputs.npy", allow_pickle=True).item() for f in (mine, theirs))
        for key in ("yoff", "xoff", "yoff1", "xoff1"):
            equal += int((np.abs(a[key].astype(float) - b[key]) <= 0.01).sum())
            n_shifts += a[key].size
        stats = [np.load(f / "stat.npy", allow_pickle=True) for f in (mine, theirs)]
        masks = [[set((s["ypix"] * 512 + s["xpix"]).tolist()) for s in stat] for stat in stats]
        matched += sum(any(len(m & t) >= 0.9 * len(m | t) for t in masks[1]) for m in masks[0])
        n_rois += max(len(masks[0]), len(masks[1]))
    return equal / n_shifts, matched / n_rois
