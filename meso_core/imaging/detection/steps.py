"""suite2p's steps after registration, with its functions, in bounded memory.

What belongs here: finding ROIs, extracting traces, deconvolving, as suite2p's ``pipeline`` does. What does not: when a
step has to run and where its files go (``fov``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ProcessingError
from ..fovs import plane
from ..fovs.job import FovJob
from .denoise import denoise_blocks

if TYPE_CHECKING:
    import torch

#: Frames that traces are extracted from at a time. Each frame is taken on its own; suite2p's 500 take 1.5 GB.
_FRAMES_AT_A_TIME = 50


def classifier_file(settings: Mapping[str, Any]) -> Path:
    """Choose the classifier: the file that the settings name, the built-in one, or the one that the user trained."""
    from suite2p import classification

    if settings["classifier_path"]:
        return Path(settings["classifier_path"])
    if settings["use_builtin_classifier"] or not classification.user_classfile.is_file():
        return Path(classification.builtin_classfile)
    return Path(classification.user_classfile)


def find_rois(
    job: FovJob,
    registered: np.ndarray,
    reg: dict[str, Any],
    settings: dict[str, Any],
    classifier: Path,
    device: torch.device,
) -> tuple[dict[str, Any], np.ndarray, np.ndarray | None]:
    """Find ROIs; return suite2p's ``detect_outputs``, ``stat`` and ``redcell`` (None with one channel).

    A field without cells, which suite2p refuses, has empty results: it is an everyday matter.

    Raises
    ------
    ProcessingError
        If no frame registered well.
    """
    from suite2p.detection import detect

    wanted = settings["detection"]
    bad = np.asarray(reg["badframes"], bool) | np.asarray(reg["badframes0"], bool)
    crop = {"yrange": reg["yrange"], "xrange": reg["xrange"]}
    movie = _binned_movie(job, registered, bad, crop, settings)
    try:
        detected, stat, redcell = detect.detection_wrapper(
            registered,
            mov=movie,
            diameter=np.broadcast_to(np.asarray(settings["diameter"], float), 2).copy(),
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
        # detection works in the binned movie itself
        return _no_rois(job, _binned_movie(job, registered, bad, crop, settings), settings)
    return detected, stat, redcell


def _binned_movie(
    job: FovJob, registered: np.ndarray, bad: np.ndarray, crop: Mapping[str, Any], settings: Mapping[str, Any]
) -> np.ndarray:
    """Average the good frames in bins, and denoise them where it is asked for."""
    from suite2p.detection.detect import bin_movie

    if bad.all():
        raise ProcessingError.at(
            job.folder,
            expected="frames that registered well",
            found=f"all {len(bad)} marked bad",
            remedy="Look at the shifts; raise maxregshift or th_badframes",
        )
    wanted = settings["detection"]
    bin_size = wanted["bin_size"] or int(max(1, len(bad) // wanted["nbins"], round(settings["tau"] * settings["fs"])))
    movie: np.ndarray = bin_movie(registered, bin_size, badframes=bad, nbins=wanted["nbins"], **crop)
    return denoise_blocks(movie, wanted["block_size"]) if wanted["denoise"] else movie


def _no_rois(
    job: FovJob, movie: np.ndarray, settings: Mapping[str, Any]
) -> tuple[dict[str, Any], np.ndarray, np.ndarray | None]:
    """Return what suite2p leaves of a field, but for the ROIs: its images, by which a person sees why."""
    from suite2p.detection.utils import temporal_high_pass_filter

    mean = movie.mean(axis=0)
    detected = {
        "meanImg_crop": mean,
        "max_proj": temporal_high_pass_filter(mov=movie, width=settings["detection"]["highpass_time"]).max(axis=0),
        "diameter": np.broadcast_to(np.asarray(settings["diameter"], float), 2).copy(),
    }
    return detected, np.empty(0, object), np.zeros((0, 2), np.float32) if job.two_channels else None


def extract_traces(
    job: FovJob,
    registered: np.ndarray,
    stat: np.ndarray,
    redcell: np.ndarray | None,
    settings: dict[str, Any],
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray]]:
    """Extract traces; ROIs whose trace is too noisy go, and the rest is extracted again without their overlaps."""
    if len(stat) == 0:
        return stat, redcell, _no_traces(job, len(registered))
    from suite2p.detection import assign_overlaps
    from suite2p.extraction import extraction_wrapper

    wanted = settings["extraction"]
    a_few = {**wanted, "batch_size": min(wanted["batch_size"], _FRAMES_AT_A_TIME)}
    second = plane.find_movie(job.folder, plane.REGISTERED_CHAN2)
    chan2 = plane.open_frames(second, job.shape) if job.two_channels else None
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
            return stat[keep], redcell[keep] if redcell is not None else None, _no_traces(job, len(registered))
        stat = assign_overlaps(stat[keep], *job.shape)
        redcell = redcell[keep] if redcell is not None else None
    _describe(stat, corrected, snr, neuropil)
    traces = dict(zip(("F.npy", "Fneu.npy", "F_chan2.npy", "Fneu_chan2.npy"), found, strict=True))
    return stat, redcell, {name: trace for name, trace in traces.items() if trace is not None}


def _no_traces(job: FovJob, n_frames: int) -> dict[str, np.ndarray]:
    names = ("F.npy", "Fneu.npy", *(("F_chan2.npy", "Fneu_chan2.npy") if job.two_channels else ()))
    return {name: np.zeros((0, n_frames), np.float32) for name in names}


def _describe(stat: np.ndarray, corrected: np.ndarray, snr: np.ndarray, neuropil: list[np.ndarray] | None) -> None:
    """Put what the classifier looks at, and the neuropil mask, into the ROIs' dictionaries."""
    from scipy.stats import skew

    skews, deviations = skew(corrected, axis=1), np.std(corrected, axis=1)
    for i, roi in enumerate(stat):
        roi["snr"], roi["skew"], roi["std"] = snr[i], skews[i], deviations[i]
        roi["neuropil_mask"] = neuropil[i] if neuropil is not None else np.zeros(0, np.int64)


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


def deconvolve(traces: np.ndarray, neuropil: np.ndarray, settings: dict[str, Any], device: torch.device) -> np.ndarray:
    """Deconvolve traces (n_rois, n_frames) f4 after neuropil and baseline are taken out; zeros where not asked for."""
    from suite2p.extraction import oasis, preprocess

    if not len(traces) or not settings["run"]["do_deconvolution"]:
        return np.zeros_like(traces)
    wanted = settings["extraction"]
    corrected = traces - wanted["neuropil_coefficient"] * neuropil
    flat = preprocess(
        F=corrected, fs=settings["fs"], batch_size=wanted["batch_size"], device=device, **settings["dcnv_preprocess"]
    )
    return np.asarray(oasis(F=flat, batch_size=wanted["batch_size"], tau=settings["tau"], fs=settings["fs"]))
