"""Runs in the peer's environment: frame times and frame QC of sessions, as ibllib 4.0.0 finds them.

Usage: ``python timing_peer.py jobs.json``, a list of {"session": folder, "out": .npz} (frame times) or
{"exptqc": [.mat, …], "out": .npz} (frame QC). What ibllib raises is stored as text under ``error``.
"""

import json
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import one.alf.io as alfio  # noqa: E402
from ibllib.io.extractors.mesoscope import MesoscopeSyncTimeline, patch_imaging_meta  # noqa: E402
from ibllib.io.raw_daq_loaders import load_timeline_sync_and_chmap  # noqa: E402
from one.alf.exceptions import ALFObjectNotFound  # noqa: E402


def frame_times(session):
    sync_folder = session / "raw_sync_data"
    sync, chmap = load_timeline_sync_and_chmap(sync_folder, save=False)
    try:
        events = alfio.load_object(sync_folder, "softwareEvents").get("log")
    except ALFObjectNotFound:
        events = None
    collections = sorted(p.name for p in session.glob("raw_imaging_data*"))
    meta = alfio.load_object(session / collections[0], "rawImagingData")["meta"]
    n_fovs = len(meta["FOV"])
    out = MesoscopeSyncTimeline(session, n_fovs)._extract(
        sync=sync, chmap=chmap, device_collection=collections, events=events
    )
    found = {f"times_{i}": out[i] for i in range(n_fovs)} | {f"shift_{i}": out[n_fovs + i] for i in range(n_fovs)}
    line_indices, fov_shifts, line_shifts = MesoscopeSyncTimeline.get_timeshifts(patch_imaging_meta(meta))
    found["fov_time_shifts"] = fov_shifts
    for i in range(n_fovs):
        found |= {f"line_indices_{i}": line_indices[i], f"line_time_shifts_{i}": line_shifts[i]}
    return found | {f"fronts_{name}": np.count_nonzero(sync["channels"] == column) for name, column in chmap.items()}


def frame_qc(paths):
    from ibllib.pipes.mesoscope_tasks import MesoscopePreprocess
    from scipy.io import loadmat

    loaded = [loadmat(p, squeeze_me=True, simplify_cells=True) for p in paths]
    values, names, bad = MesoscopePreprocess._consolidate_exptQC(loaded)
    return {"values": values, "labels": names["qc_labels"].to_numpy(dtype=str), "bad": bad}


for job in json.loads(Path(sys.argv[1]).read_text()):
    try:
        result = frame_qc(job["exptqc"]) if "exptqc" in job else frame_times(Path(job["session"]))
    except Exception as error:  # noqa: BLE001 - whatever the peer raises is its answer
        result = {"error": f"{type(error).__name__}: {error}"}
    np.savez(job["out"], **result)
