"""Motion registration and ROI detection of a session, against ``suite2p.run_s2p`` with the field's settings.

Both start from the same raw binaries of simulated FOVs (512 × 512) on the same cores, and end with ROIs and traces. The
peer runs in a process of its own with the settings that the field uses (batches of 500, its threads as it likes); since
suite2p 1.1.0 makes its reference wrongly in batches below ``nimg_init``, 500 frames in a batch make it right, and
shifts can be compared. On two idle cores the peer takes about ten minutes.
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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import Row
from meso_core.imaging import fov_jobs, process_fovs

_PEER = """
import json, resource, sys, time
import numpy as np
from pathlib import Path
from suite2p import default_db, run_s2p
folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
n_frames = int(sys.argv[3])
planes = sorted((folder / "suite2p").glob("plane*"))
for i, plane in enumerate(planes):
    db = {**default_db(), "nframes": n_frames, "Ly": 512, "Lx": 512, "nchannels": 1, "save_path": str(plane),
          "save_path0": str(folder), "data_path": [str(folder)], "fast_disk": str(plane), "iplane": i,
          "reg_file": str(plane / "data.bin"), "keep_movie_raw": False,
          "db_path": str(plane / "db.npy"), "settings_path": str(plane / "settings.npy")}
    np.save(plane / "db.npy", db)
    np.save(plane / "settings.npy", settings)
start = time.perf_counter()
run_s2p(db={**default_db(), "save_path0": str(folder), "data_path": [str(folder)]}, settings=settings)
print(json.dumps({"seconds": time.perf_counter() - start,
                  "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def rows() -> list[Row]:
    """Measure throughput, memory, and the differences of shifts and ROIs."""
    n_frames, n_fovs = (int(os.environ.get(f"MESO_BENCH_{k}", d)) for k, d in (("FRAMES", 1000), ("FOVS", 4)))
    with tempfile.TemporaryDirectory(prefix="meso_bench_") as name:
        ours, peer = Path(name, "ours"), Path(name, "peer")
        meta = _make_binaries(Path(name), ours, n_frames, n_fovs)
        for plane in sorted((ours / "suite2p").iterdir()):
            copy = peer / "suite2p" / plane.name
            copy.mkdir(parents=True)
            (copy / "data.bin").write_bytes((plane / "data_raw.bin").read_bytes())
        start = time.perf_counter()
        jobs = fov_jobs(ours / "suite2p", meta)
        process_fovs(jobs)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        settings = jobs[0].options.settings_dict()
        settings["io"] = {**settings["io"], "combined": False}
        told = subprocess.run(
            [sys.executable, "-c", _PEER, str(peer), json.dumps(settings), str(n_frames)],
            check=True,
            capture_output=True,
            text=True,
        )
        result = json.loads(told.stdout.splitlines()[-1])
        shifts, rois = _compare(ours, peer, n_fovs)
    total, on = n_frames * n_fovs, f"{n_fovs} FOVs of 512 x 512, {n_frames} frames, {os.cpu_count()} cores"
    rates = (total / result["seconds"], total / seconds)
    gigabytes = (result["peak"] / 1e9, peak / 1e9)
    return [
        Row("register and detect, suite2p.run_s2p", *rates, "frames/s", rates[1] / rates[0], "≥ 2.5", on),
        Row("peak memory of a process, suite2p.run_s2p", *gigabytes, "GB", gigabytes[0] / gigabytes[1], "≤ 4 GB", on),
        Row("shifts within 0.01 px of suite2p's", 1.0, shifts, "share", shifts, "1", on),
        Row("ROIs that suite2p finds too (IoU ≥ 0.9)", 1.0, rois, "share", rois, "1", on),
    ]


def _make_binaries(scratch: Path, ours: Path, n_frames: int, n_fovs: int) -> dict[str, Any]:
    from meso_core.scanimage import bin_per_plane, load_meta_files
    from meso_core.simulate import preset, simulate_session

    config = preset("bench")
    config = replace(config, rois=config.rois[:n_fovs], frames_per_bout=(n_frames,))
    made = simulate_session(scratch / "Subjects", config)
    meta, _ = load_meta_files(made.session_path)
    bin_per_plane(made.session_path, meta, ours / "suite2p")
    return dict(meta)


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
