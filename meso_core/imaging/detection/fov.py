"""ROI detection, extraction and deconvolution of one registered FOV.

What belongs here: the order of the steps, when they have to run, and what a person curated. What does not: the steps
(``steps``), and names of ALF datasets (``export``).
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import CurationError, ProcessingError
from ...progress import Progress, silent
from ...storage.files.atomic import storage_errors
from ...storage.files.hashing import FileHash
from ...storage.manifests.basis import Basis
from ..device import pick_device
from ..fovs import plane
from ..fovs.job import FovJob, detection_basis
from ..fovs.marker import Marker, basis_differences, changed_outputs, read_marker, remove_marker, write_marker
from ..fovs.threads import one_thread
from .results import CLASSIFICATION, SETTINGS, load_classification
from .steps import classifier_file, deconvolve, extract_traces, find_rois

#: Probability above which suite2p's classifier calls an ROI a cell.
_CELL_ABOVE = 0.5
#: Files that suite2p's GUI rewrites when a person curates ROIs.
CURATED_FILES = frozenset(
    ("iscell.npy", "stat.npy", "F.npy", "Fneu.npy", "spks.npy", "redcell.npy", "F_chan2.npy", "Fneu_chan2.npy")
)
#: What a person does whose edits are not worth it.
GIVE_UP = "give the edits up: `meso run` with --discard-curation, or discard_curation in the launchpad"


@dataclass(frozen=True)
class DetectionResult:
    """What detection found in one FOV."""

    folder: Path
    n_rois: int
    #: ROIs that the classifier, or a person, calls a cell.
    n_cells: int
    #: True if a person edited the classification since.
    curated: bool
    #: True if a former run had left it whole.
    resumed: bool


def roi_detection(job: FovJob, *, progress: Progress = silent) -> DetectionResult:
    """Find the ROIs of one registered FOV, extract their traces, deconvolve and classify them.

    The steps are those of ``suite2p.pipeline`` with its functions, so that the same movie and settings give the same
    ROIs; what differs is that the binned movie is denoised in bounded memory, that the neuropil masks are kept (as
    ``stat[i]["neuropil_mask"]``, flat pixel indices), and that nothing is replaced until everything is computed.

    A field without ROIs has traces, classification and ``stat`` of length 0.

    Bad frames take no part in detection. Traces have a value at every frame, also at bad ones, where they are what
    the masks give on a bad image: leave them out with ``mpci.badFrames``.

    Parameters
    ----------
    job
        Folder and options. The registered movie must be there.
    progress
        Told the steps done.

    Raises
    ------
    ProcessingError
        If no frame registered well.
    CurationError
        If ``iscell.npy`` was edited by hand and other settings ask for new ROIs.
    """
    registration = read_marker(job.folder, plane.REGISTRATION)
    if registration is None:
        raise ProcessingError.at(
            job.folder,
            expected="a registered FOV",
            found="one that is not whole, or of another version",
            remedy="Register it first",
        )
    basis = detection_basis(job, registration.outputs)
    state = detection_state(job.folder, basis)
    if state in ("whole", "curated"):
        return load_detection(job.folder, resumed=True)
    if state == "curated, outdated" and not job.discard_curation:
        raise _would_lose_curation(job, basis)
    started = time.monotonic()
    staged = job.folder / ".detection.part"
    with storage_errors(job.folder):
        shutil.rmtree(staged, ignore_errors=True)
        try:
            written = _detect(job, staged, progress)
            remove_marker(job.folder, plane.DETECTION)
            for name in written:
                (staged / name).replace(job.folder / name)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        notes = {"seconds": round(time.monotonic() - started, 3)}
        write_marker(job.folder, Marker(plane.DETECTION, basis, written, notes))
    return load_detection(job.folder, resumed=False)


def _would_lose_curation(job: FovJob, basis: Basis) -> CurationError:
    marker = read_marker(job.folder, plane.DETECTION)
    differences = basis_differences(marker, basis) if marker is not None else ("no record of what they were made from",)
    return CurationError.at(
        job.folder / CLASSIFICATION,
        expected="the classification that detection left",
        found=f"one edited by hand, and ROIs that are out of date ({'; '.join(differences)})",
        remedy=f"Run with what made the curated ROIs, or {GIVE_UP}",
    )


def detection_state(folder: Path, basis: Basis) -> str:
    """Tell ``whole``, ``curated``, ``curated, outdated`` or ``to do``.

    Curated means that a person edited ``iscell.npy`` in suite2p's GUI after detection: what the GUI rewrites then
    belongs to the person.
    """
    marker = read_marker(folder, plane.DETECTION)
    if marker is None:
        return "curated, outdated" if edited_by_hand(folder / CLASSIFICATION) else "to do"
    changed = changed_outputs(folder, marker)
    same = not basis_differences(marker, basis)
    if CLASSIFICATION in changed and (folder / CLASSIFICATION).is_file() and set(changed) <= CURATED_FILES:
        return "curated" if same else "curated, outdated"
    return "whole" if same and not changed else "to do"


def edited_by_hand(path: Path) -> bool:
    """Whether a classification that no record tells of differs from its own probabilities.

    suite2p calls a cell what has a probability above one half, and its GUI edits the call alone.
    """
    if not path.is_file():
        return False
    is_cell, probability = load_classification(path.parent).T
    return bool(((is_cell > 0) != (probability > _CELL_ABOVE)).any())


def load_detection(folder: Path, *, resumed: bool = True) -> DetectionResult:
    """Read what detection left in ``planeN``."""
    iscell = load_classification(folder)
    return DetectionResult(folder, len(iscell), int(iscell[:, 0].sum()), is_curated(folder), resumed)


def is_curated(folder: Path) -> bool:
    """Whether ``iscell.npy`` is no longer what detection wrote."""
    marker = read_marker(folder, plane.DETECTION)
    return marker is not None and CLASSIFICATION in changed_outputs(folder, marker)


@one_thread()
def _detect(job: FovJob, staged: Path, progress: Progress) -> dict[str, FileHash]:
    """Run suite2p's steps and leave their files in ``staged``."""
    from suite2p.classification import classify

    steps = ("movie binned and ROIs detected", "traces extracted", "spikes deconvolved")
    settings = job.options.settings_dict()
    registered = plane.open_frames(plane.find_movie(job.folder, plane.REGISTERED), job.shape)
    reg = plane.load_dict(job.folder / "reg_outputs.npy")
    device = pick_device(settings)
    classifier = classifier_file(settings["classification"])
    progress(0, len(steps), f"{job.folder.name}: {steps[0]}")
    detected, stat, redcell = find_rois(job, registered, reg, settings, classifier, device)
    progress(1, len(steps), f"{job.folder.name}: {steps[1]}")
    stat, redcell, traces = extract_traces(job, registered, stat, redcell, settings, device)
    progress(2, len(steps), f"{job.folder.name}: {steps[2]}")
    traces["spks.npy"] = deconvolve(traces["F.npy"], traces["Fneu.npy"], settings, device)
    iscell = classify(stat=stat, classfile=classifier) if len(stat) else np.zeros((0, 2))
    arrays: dict[str, np.ndarray] = {**traces, CLASSIFICATION: iscell}
    if redcell is not None:
        arrays["redcell.npy"] = redcell
    objects: dict[str, Any] = {"stat.npy": stat, "detect_outputs.npy": detected, SETTINGS: job.options.settings_dict()}
    written = {name: plane.save_array(staged / name, array) for name, array in arrays.items()}
    written |= {name: plane.save_objects(staged / name, value) for name, value in objects.items()}
    progress(3, len(steps), f"{job.folder.name}: done")
    return written
