"""One ROI at three depths, which are three fields of view: what tests of single fields share.

What belongs here: names, and what suite2p was made to do. The recording and its results are fixtures.
"""

from __future__ import annotations

import numpy as np
from scipy.io import loadmat, savemat

from meso_assets.defs.dagster_internals import failure_message
from meso_core.imaging import session as imaging_session
from tests.in_this_process import process_here

KEY = "SP035/2023-03-03/001"
FRAMES, ROIS, PLACES = "motion_registered_frames", "rois", "roi_brain_locations"
ASSETS = (
    "imaging_metadata", "frame_qc", "frame_times", FRAMES, ROIS, "mean_image_mlapdv", PLACES, "alyx_fov_records",
    "alyx_datasets",
)  # fmt: skip
#: Assets with files of each field that suite2p has worked on.
OF_FIELDS = (FRAMES, ROIS, PLACES)


def mark_bad(session_path, depth):
    """Mark all frames of a depth as bad, as an experimenter may; returns what brings the file back."""
    file = session_path / "raw_imaging_data_00" / "badframes.mat"
    before = file.read_bytes()
    marked = np.union1d(loadmat(file)["badframes"].ravel(), np.arange(depth, 180, 3))
    savemat(file, {"badframes": marked[None].astype(np.uint32)})
    return lambda: file.write_bytes(before)


def files_of(session, asset):
    """Files of the fields: what each holds, by path."""
    return {f.path: f.sha256 for f in session.manifest(asset).files if not f.path.startswith("reports/")}


def of_field(files, fov):
    return {path: content for path, content in files.items() if f"FOV_0{fov}" in path or f"plane{fov}" in path}


class Worked:
    """Counts the fields that suite2p works on."""

    def __init__(self, monkeypatch, fails=None):
        self.fovs, self.failed, self._fails = [], [], fails or {}
        monkeypatch.setattr(imaging_session, "process_fovs", self)

    def __call__(self, jobs, *, stages, **options):
        (job,) = jobs
        if (job.options.fov, *stages) in self._fails:
            self.failed.append((job.options.fov, *stages))
            raise self._fails[job.options.fov, *stages]
        results = process_here(jobs, stages=stages, **options)
        parts = (results[0].registration, results[0].detection)
        self.fovs += [(job.options.fov, *stages)] if any(part and not part.resumed for part in parts) else []
        return results


def failed_steps(result):
    return {e.step_key: failure_message(e) for e in result.all_events if e.event_type_value == "STEP_FAILURE"}
