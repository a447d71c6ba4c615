"""From the pages of a session to ROIs: motion registration, detection, scheduling over FOVs, export to ALF, figures.

What belongs here: everything that suite2p does for meso, one FOV per folder in suite2p's layout (``suite2p/planeN``).
What does not: how pages are cut into movies (``scanimage``), when they were taken (``timing``), and where in the brain
they lie (``location``).
"""

from __future__ import annotations

from .detection.fov import CURATED_FILES, DetectionResult, edited_by_hand, load_detection, roi_detection
from .detection.results import CLASSIFICATION
from .export import export_rois, zip_plane
from .figures import registration_figure, rois_figure
from .fovs.job import FovJob, fov_jobs
from .fovs.schedule import FovResult, choose_workers, process_fovs
from .missing import FailedFov, alone
from .needs import StepNeeds, Work
from .options import Suite2pOptions, Suite2pOverrides, get_default_tau, stage_options, suite2p_options
from .preflight import Estimate, Finding, MachineFacts, Preflight, judge_session
from .published import BY_THE_WAY, as_edited
from .quality import detection_qc, fields_qc, registration_qc
from .registration.fov import RegistrationResult, image_motion_registration, load_registration, registration_is_whole
from .session import SessionImaging
from .staging import DetectedFov, RegisteredFov, StagedRegistration, StagedRois
from .workload import Due, PastStep, Step

__all__ = [
    "BY_THE_WAY",
    "CLASSIFICATION",
    "CURATED_FILES",
    "DetectedFov",
    "DetectionResult",
    "Due",
    "Estimate",
    "FailedFov",
    "Finding",
    "FovJob",
    "FovResult",
    "MachineFacts",
    "PastStep",
    "Preflight",
    "RegisteredFov",
    "RegistrationResult",
    "SessionImaging",
    "StagedRegistration",
    "StagedRois",
    "Step",
    "StepNeeds",
    "Suite2pOptions",
    "Suite2pOverrides",
    "Work",
    "alone",
    "as_edited",
    "choose_workers",
    "detection_qc",
    "edited_by_hand",
    "export_rois",
    "fields_qc",
    "fov_jobs",
    "get_default_tau",
    "image_motion_registration",
    "judge_session",
    "load_detection",
    "load_registration",
    "process_fovs",
    "registration_figure",
    "registration_is_whole",
    "registration_qc",
    "roi_detection",
    "rois_figure",
    "stage_options",
    "suite2p_options",
    "zip_plane",
]
