"""A short session through suite2p: registered, cells found, and judged as the product judges it.

What belongs here: one field of view, from its frames to all verdicts on it. What does not: sessions that suite2p does
not see (``parts``).
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from meso_core.imaging import (
    detection_qc,
    export_rois,
    fields_qc,
    fov_jobs,
    image_motion_registration,
    registration_qc,
    roi_detection,
)
from meso_core.imaging.fovs import plane
from meso_core.qc import QCResult
from meso_core.report.judge.cells import FovTraces, judge_cells
from meso_core.report.judge.movie import judge_motion, judge_movie
from meso_core.report.measure.motion import read_motion
from meso_core.scanimage import load_session_metadata
from meso_core.simulate import simulate_session
from meso_core.simulate.plan import make_plan
from meso_core.simulate.tissue.motion import brain_motion
from meso_core.simulate.tissue.movie import FovMovie, make_movie

from .sessions import FOV, RATE_HZ, SIDE, UM, Session

#: Frames that are rendered at a time.
_BLOCK = 100
_AREA_MM2 = (SIDE * UM / 1000) ** 2


def judge_whole(session: Session) -> tuple[QCResult, ...]:
    """Register a session, find its cells, and judge both."""
    with tempfile.TemporaryDirectory(prefix="qc-calibration-") as made:
        folder = Path(made)
        return _judged(session, folder)


def _judged(session: Session, folder: Path) -> tuple[QCResult, ...]:
    config = session.config()
    imaging = load_session_metadata(simulate_session(folder / "Subjects", config).session_path).imaging
    (folder / "truth").mkdir()
    plan = make_plan(config)
    movie = make_movie(plan, 0, brain_motion(config, plan.frame_times), folder / "truth")
    (job,) = fov_jobs(folder, imaging, genotype=config.genotype, bad_frames=movie.fault > 0)
    _write_raw(movie, job.folder / plane.RAW, session.wall)
    registered = image_motion_registration(job)
    found = roi_detection(job)
    motion = read_motion(job.folder)
    frames = plane.open_frames(job.folder / plane.REGISTERED, job.shape)
    data = export_rois(job.folder, identity="calibration")
    traces = FovTraces(
        data["mpci.ROIActivityF"],
        data["mpci.ROINeuropilActivityF"],
        data["mpci.ROIActivityDeconvolved"],
        np.asarray(data["mpciROIs.mpciROITypes"]) > 0,
        np.asarray(data["mpci.badFrames"], bool),
        RATE_HZ,
        session.tau_s,
    )
    return (
        *registration_qc(registered, 0),
        *detection_qc(found, 0, _AREA_MM2),
        *judge_motion(FOV, motion, UM),
        *judge_movie(FOV, frames, motion),
        *judge_cells(FOV, traces),
    )


def _write_raw(movie: FovMovie, path: Path, wall: int) -> None:
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for start in range(0, movie.n_frames, _BLOCK):
            (frames,) = movie.render(start, min(start + _BLOCK, movie.n_frames))
            file.write(np.minimum(frames, wall).astype(np.int16).tobytes())


def judge_beside(n_cells: int, others: tuple[int, int]) -> tuple[QCResult, ...]:
    """Compare the number of cells with those of two other fields of the same size."""
    names = [FOV, "FOV_01", "FOV_02"]
    found = fields_qc(dict(zip(names, (n_cells, *others), strict=True)), dict.fromkeys(names, _AREA_MM2))
    return tuple(replace(one, fov=FOV) for one in found if one.fov in (None, FOV))
