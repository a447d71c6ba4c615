"""ROI detection, extraction and deconvolution of one registered FOV.

What belongs here: suite2p's steps after registration, in the order and with the functions of its ``pipeline``, and the
binned movie's denoising in bounded memory. What does not: names of ALF datasets (``export``).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ProcessingError, StorageError, problem
from ...progress import Progress, silent
from ..fovs import plane
from ..fovs.marker import changed_outputs, read_marker, remove_marker, why_not_whole, write_marker
from ..fovs.plane import FovJob
from ..fovs.threads import one_thread
from ..registration.fov import pick_device
from .denoise import denoise_blocks

#: Changes when the same input and settings would give other results.
CODE_VERSION = "1"

#: Frames that traces are extracted from at a time. Each frame is taken on its own; suite2p's 500 take 1.5 GB.
_FRAMES_AT_A_TIME = 50

#: What detection leaves, besides ``ops.npy``, ``redcell.npy`` and the second channel's traces.
_OUTPUTS = ("detect_outputs.npy", "stat.npy", "F.npy", "Fneu.npy", "spks.npy", "iscell.npy")
#: Files that suite2p's GUI rewrites when a person curates ROIs.
CURATED_FILES = frozenset(
    ("iscell.npy", "stat.npy", "F.npy", "Fneu.npy", "spks.npy", "redcell.npy", "F_chan2.npy", "Fneu_chan2.npy")
)


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
        If no ROI is found, or if ``iscell.npy`` was edited by hand and other settings ask for new ROIs.
    """
    registration = read_marker(job.folder, plane.REGISTRATION)
    if registration is None:
        raise ProcessingError(
            problem(job.folder, expected="a registered FOV", found="no completion marker", remedy="Register it first")
        )
    basis = plane.detection_basis(job, CODE_VERSION, registration.outputs)
    state = detection_state(job.folder, basis)
    if state in ("whole", "curated"):
        save_ops(job)
        return load_detection(job.folder, resumed=True)
    if state == "curated, outdated" and not job.discard_curation:
        raise ProcessingError(
            problem(
                job.folder / "iscell.npy",
                expected="the classification that detection left",
                found="one edited by hand, and settings that ask for other ROIs",
                remedy="Run with the settings of the curated ROIs, or let the curation be discarded (discard_curation)",
            )
        )
    started = time.monotonic()
    staged = job.folder / ".detection.part"
    shutil.rmtree(staged, ignore_errors=True)
    try:
        staged.mkdir()
        names = _detect(job, staged, progress)
        remove_marker(job.folder, plane.DETECTION)
        for name in names:
            (staged / name).replace(job.folder / name)
    except OSError as error:
        raise StorageError(
            problem(job.folder, expected="room for ROIs", found=str(error), remedy="Free space and run again")
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    save_ops(job)
    write_marker(job.folder, plane.DETECTION, basis, names, {"seconds": round(time.monotonic() - started, 3)})
    return load_detection(job.folder, resumed=False)


def detection_state(folder: Path, basis: Mapping[str, Any]) -> str:
    """Tell ``whole``, ``curated``, ``curated, outdated`` or ``to do``.

    Curated means that a person edited ``iscell.npy`` in suite2p's GUI after detection: what the GUI rewrites then
    belongs to the person.
    """
    marker = read_marker(folder, plane.DETECTION)
    if marker is None:
        return "to do"
    changed = changed_outputs(folder, marker)
    curated = "iscell.npy" in changed and (folder / "iscell.npy").is_file() and set(changed) <= CURATED_FILES
    if curated:
        untouched = why_not_whole(folder, plane.DETECTION, basis)
        return "curated" if untouched and untouched.endswith("changed since") else "curated, outdated"
    return "to do" if why_not_whole(folder, plane.DETECTION, basis) else "whole"


def load_detection(folder: Path, *, resumed: bool = True) -> DetectionResult:
    """Read what detection left in ``planeN``."""
    iscell = np.load(folder / "iscell.npy")
    return DetectionResult(folder, len(iscell), int(iscell[:, 0].sum()), is_curated(folder), resumed)


def is_curated(folder: Path) -> bool:
    """Whether ``iscell.npy`` is no longer what detection wrote."""
    marker = read_marker(folder, plane.DETECTION)
    return marker is not None and "iscell.npy" in changed_outputs(folder, marker)


@one_thread()
def _detect(job: FovJob, staged: Path, progress: Progress) -> list[str]:
    """Run suite2p's steps and leave their files in ``staged``."""
    steps = ("movie binned and ROIs detected", "traces extracted", "spikes deconvolved")
    settings = job.options.settings_dict()
    registered = plane.open_frames(job.folder / plane.REGISTERED, job.shape)
    reg = plane.load_dict(job.folder / "reg_outputs.npy")
    device = pick_device(settings)
    classifier = _classifier(settings["classification"])
    progress(0, len(steps), f"{job.folder.name}: {steps[0]}")
    detected, stat, redcell = _find_rois(job, registered, reg, settings, classifier, device)
    progress(1, len(steps), f"{job.folder.name}: {steps[1]}")
    stat, redcell, traces = _extract(job, registered, stat, redcell, settings, device)
    progress(2, len(steps), f"{job.folder.name}: {steps[2]}")
    traces["spks.npy"] = _deconvolve(traces["F.npy"], traces["Fneu.npy"], settings, device)
    from suite2p.classification import classify

    arrays: dict[str, Any] = {**traces, "iscell.npy": classify(stat=stat, classfile=classifier)}
    if redcell is not None:
        arrays["redcell.npy"] = redcell
    for name, array in arrays.items():
        np.save(staged / name, array)
    plane.save_objects(staged / "stat.npy", stat)
    plane.save_objects(staged / "detect_outputs.npy", detected)
    progress(3, len(steps), f"{job.folder.name}: done")
    return sorted([*arrays, "stat.npy", "detect_outputs.npy"])


def _classifier(settings: Mapping[str, Any]) -> Path:
    from suite2p import classification

    if settings["classifier_path"]:
        return Path(settings["classifier_path"])
    if settings["use_builtin_classifier"] or not classification.user_classfile.is_file():
        return Path(classification.builtin_classfile)
    return Path(classification.user_classfile)


def _find_rois(
    job: FovJob, registered: np.ndarray, reg: dict[str, Any], settings: dict[str, Any], classifier: Path, device: Any
) -> tuple[dict[str, Any], np.ndarray, np.ndarray | None]:
    from suite2p.detection import detect

    wanted = settings["detection"]
    bad = np.asarray(reg["badframes"], bool) | np.asarray(reg["badframes0"], bool)
    if bad.all():
        raise ProcessingError(
            problem(
                job.folder,
                expected="frames that registered well",
                found=f"all {len(bad)} marked bad",
                remedy="Look at the shifts; raise maxregshift or th_badframes",
            )
        )
    bin_size = wanted["bin_size"] or int(max(1, len(bad) // wanted["nbins"], round(settings["tau"] * settings["fs"])))
    crop = {"yrange": reg["yrange"], "xrange": reg["xrange"]}
    movie = detect.bin_movie(registered, bin_size, badframes=bad, nbins=wanted["nbins"], **crop)
    if wanted["denoise"]:
        movie = denoise_blocks(movie, wanted["block_size"])
    diameter = np.broadcast_to(np.asarray(settings["diameter"], float), 2).copy()
    try:
        detected, stat, redcell = detect.detection_wrapper(
            registered,
            mov=movie,
            diameter=diameter,
            tau=settings["tau"],
            fs=settings["fs"],
            meanImg_chan2=reg.get("meanImg_chan2"),
            badframes=bad,
            settings={**wanted, "denoise": False},
            classifier_path=classifier,
            preclassify=settings["classification"]["preclassify"],
            device=device,
            **crop,
        )
    except ValueError as error:
        if "no ROIs" not in str(error):
            raise
        raise _no_rois(job) from error
    if len(stat) == 0:
        raise _no_rois(job)
    return detected, stat, redcell


def _no_rois(job: FovJob) -> ProcessingError:
    return ProcessingError(
        problem(
            job.folder,
            expected="at least one ROI",
            found="none",
            remedy="Look at the registered movie; lower detection.threshold_scaling, or leave this FOV out",
        )
    )


def _extract(
    job: FovJob,
    registered: np.ndarray,
    stat: np.ndarray,
    redcell: np.ndarray | None,
    settings: dict[str, Any],
    device: Any,
) -> tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray]]:
    """Extract traces; ROIs whose trace is too noisy go, and the rest is extracted again without their overlaps."""
    from scipy.stats import skew
    from suite2p.detection import assign_overlaps
    from suite2p.extraction import extraction_wrapper

    wanted = settings["extraction"]
    a_few = {**wanted, "batch_size": min(wanted["batch_size"], _FRAMES_AT_A_TIME)}
    chan2 = plane.open_frames(job.folder / plane.REGISTERED_CHAN2, job.shape) if job.two_channels else None
    for attempt in range(2):
        cells, neuropil = _masks(stat, job.shape, wanted)
        found = extraction_wrapper(
            stat,
            registered,
            f_reg_chan2=chan2,
            cell_masks=cells,
            neuropil_masks=neuropil,
            settings=a_few,
            device=device,
        )
        corrected = found[0] - wanted["neuropil_coefficient"] * found[1]
        snr = 1 - 0.5 * np.diff(corrected, axis=1).var(axis=1) / corrected.var(axis=1)
        keep = snr > wanted["snr_threshold"]
        if attempt == 1 or wanted["snr_threshold"] <= 0 or keep.all():
            break
        if not keep.any():
            raise _no_rois(job)
        stat = assign_overlaps(stat[keep], *job.shape)
        redcell = redcell[keep] if redcell is not None else None
    skews, deviations = skew(corrected, axis=1), np.std(corrected, axis=1)
    for i, roi in enumerate(stat):
        roi["snr"], roi["skew"], roi["std"] = snr[i], skews[i], deviations[i]
        roi["neuropil_mask"] = neuropil[i] if neuropil is not None else np.zeros(0, np.int64)
    traces = dict(zip(("F.npy", "Fneu.npy", "F_chan2.npy", "Fneu_chan2.npy"), found, strict=True))
    return stat, redcell, {name: trace for name, trace in traces.items() if trace is not None}


def _masks(stat: np.ndarray, shape: tuple[int, int], wanted: Mapping[str, Any]) -> tuple[Any, Any]:
    from suite2p.extraction.masks import create_masks

    names = (
        "lam_percentile",
        "allow_overlap",
        "neuropil_extract",
        "inner_neuropil_radius",
        "min_neuropil_pixels",
        "circular_neuropil",
    )
    cells, neuropil = create_masks(stat, *shape, **{name: wanted[name] for name in names})
    return cells, neuropil


def _deconvolve(traces: np.ndarray, neuropil: np.ndarray, settings: dict[str, Any], device: Any) -> np.ndarray:
    from suite2p.extraction import oasis, preprocess

    if not settings["run"]["do_deconvolution"]:
        return np.zeros_like(traces)
    wanted = settings["extraction"]
    corrected = traces - wanted["neuropil_coefficient"] * neuropil
    flat = preprocess(
        F=corrected, fs=settings["fs"], batch_size=wanted["batch_size"], device=device, **settings["dcnv_preprocess"]
    )
    return np.asarray(oasis(F=flat, batch_size=wanted["batch_size"], tau=settings["tau"], fs=settings["fs"]))


def save_ops(job: FovJob) -> None:
    """Write the settings in force, and join suite2p's dictionaries to the ``ops.npy`` that older tools read.

    Registration writes both files as well, without what detection found: they are written again whenever detection is
    asked for, so that they do not tell which of the two ran last.
    """
    plane.save_objects(job.folder / "settings.npy", job.options.settings_dict())
    parts = [plane.load_dict(job.folder / f"{n}.npy") for n in ("db", "settings", "reg_outputs", "detect_outputs")]
    plane.save_objects(job.folder / "ops.npy", {key: value for part in parts for key, value in part.items()})
