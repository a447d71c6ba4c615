"""Motion registration of one FOV: raw binary in, registered binary and shifts out.

What belongs here: the reference image, the loop over frames, and what suite2p calls ``reg_outputs``. What does not: the
metrics afterwards (``metrics``), and which process does this (``schedule``, ``worker``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ProcessingError, StorageError, problem
from ...progress import Progress, silent
from ...storage.hashing import hash_file
from ..fovs import plane
from ..fovs.marker import read_marker, remove_marker, why_not_whole, write_marker
from ..fovs.plane import FovJob
from ..fovs.threads import one_thread
from .frame_loop import Movement, register_frames
from .metrics import MIN_FRAMES_FOR_METRICS, registration_metrics
from .phasecorr import largest_shift
from .reference_image import make_reference, reference_frames

#: Changes when the same input and settings would give other results.
CODE_VERSION = "1"

#: Fewer usable frames than this give no reference to register to.
MIN_FRAMES = 50


@dataclass(frozen=True)
class RegistrationResult:
    """What registration found in one FOV."""

    folder: Path
    n_frames: int
    #: (n_frames,) rigid shifts that were taken out, px.
    yoff: np.ndarray
    xoff: np.ndarray
    #: (n_frames,) bool: excluded by the experimenter, or by the size of their shift.
    bad_frames: np.ndarray
    #: (n_frames,) bool: shifted as far as was looked for; not those that the experimenter excluded.
    at_limit: np.ndarray
    #: (ny, nx) f4.
    mean_image: np.ndarray
    #: (n_pcs, 4) px: rigid, mean non-rigid, max non-rigid, mean total; None where there were too few frames.
    reg_dx: np.ndarray | None
    #: True if a former run had left it whole.
    resumed: bool

    @property
    def reg_metrics_avg(self) -> np.ndarray | None:
        """(4,) mean of ``reg_dx`` over the principal components, px."""
        return None if self.reg_dx is None else self.reg_dx.mean(axis=0)

    @property
    def reg_metrics_max(self) -> np.ndarray | None:
        """(4,) maximum of ``reg_dx`` over the principal components, px."""
        return None if self.reg_dx is None else self.reg_dx.max(axis=0)


def image_motion_registration(job: FovJob, *, progress: Progress = silent) -> RegistrationResult:
    """Register the frames of one FOV to a reference made from them.

    Writes ``imaging.frames_motionRegistered.bin``, ``reg_outputs.npy``, ``db.npy``, ``settings.npy``, ``ops.npy`` into
    the FOV's folder, its completion marker last, and then removes the raw binary unless it is to be kept. Returns at
    once if the marker says that this was done from the same input with the same settings.

    Runs in this process; :func:`process_fovs` runs it in workers that were started with the right environment.

    Parameters
    ----------
    job
        Folder, options, bad frames.
    progress
        Told the frames registered.

    Raises
    ------
    ProcessingError
        If there are too few usable frames.
    MissingInputError, InputFileError
        If the raw binary is missing or cut short.
    StorageError
        If the results cannot be written.
    """
    if registration_is_whole(job):
        return load_registration(job.folder, resumed=True)
    started = time.monotonic()
    raw = plane.open_frames(job.folder / plane.RAW, job.shape)
    bad = _bad_frames(job, len(raw))
    remove_marker(job.folder, plane.REGISTRATION)
    try:
        outputs, moved = _register(job, raw, bad, progress)
        _save(job, len(raw), outputs)
    except OSError as error:
        raise StorageError(
            problem(
                job.folder,
                expected="room for the registered movie",
                found=str(error),
                remedy="Free space on this disk and run again; FOVs that are whole will not be repeated",
            )
        ) from error
    names = ("reg_outputs.npy", "db.npy", plane.BAD_FRAMES)
    notes = {"seconds": round(time.monotonic() - started, 3), "n_frames": len(raw), "raw_sha256": list(moved.read)}
    basis = plane.registration_basis(job, CODE_VERSION)
    write_marker(job.folder, plane.REGISTRATION, basis, names, notes, moved.written)
    if not job.keep_raw:
        for name in (plane.RAW, plane.RAW_CHAN2):
            (job.folder / name).unlink(missing_ok=True)
    return load_registration(job.folder, resumed=False)


def registration_is_whole(job: FovJob) -> bool:
    """Whether a former run left this FOV registered, from the same input with the same settings.

    Raw binaries that lie there are compared by their content where no ``input_version`` tells that they are the same.
    """
    if why_not_whole(job.folder, plane.REGISTRATION, plane.registration_basis(job, CODE_VERSION)) is not None:
        return False
    marker = read_marker(job.folder, plane.REGISTRATION)
    if job.input_version or marker is None:
        return marker is not None
    raws = [p for name in (plane.RAW, plane.RAW_CHAN2) if (p := job.folder / name).is_file()]
    return all(hash_file(p).sha256 in marker.notes.get("raw_sha256", []) for p in raws)


def load_registration(folder: Path, *, resumed: bool = True) -> RegistrationResult:
    """Read what registration left in ``planeN``."""
    outputs = plane.load_dict(folder / "reg_outputs.npy")
    maxregshift = plane.load_dict(folder / "settings.npy")["registration"]["maxregshift"]
    mean_image, yoff, xoff = (np.asarray(outputs[name]) for name in ("meanImg", "yoff", "xoff"))
    furthest = np.maximum(np.abs(yoff), np.abs(xoff)) >= largest_shift(maxregshift, mean_image.shape)
    return RegistrationResult(
        folder,
        len(yoff),
        yoff,
        xoff,
        np.asarray(outputs["badframes"], bool),
        furthest & ~np.asarray(outputs["badframes0"], bool),
        mean_image,
        outputs.get("regDX"),
        resumed,
    )


def _bad_frames(job: FovJob, n_frames: int) -> np.ndarray:
    bad = np.zeros(n_frames, bool)
    if job.bad_frames and job.bad_frames[-1] >= n_frames:
        raise ProcessingError(
            problem(
                job.folder,
                field="bad_frames",
                expected=f"indices below {n_frames}",
                found=str(job.bad_frames[-1]),
                remedy="Check that badframes.mat belongs to this session",
            )
        )
    bad[list(job.bad_frames)] = True
    if (n_good := int((~bad).sum())) < MIN_FRAMES:
        raise ProcessingError(
            problem(
                job.folder,
                expected=f"at least {MIN_FRAMES} usable frames",
                found=f"{n_good} of {n_frames} that are not marked bad",
                remedy="Check badframes.mat, or leave this recording out",
            )
        )
    return bad


def pick_device(settings: Mapping[str, Any]) -> Any:
    """Take the GPU where there is one and the settings do not forbid it."""
    import torch

    wanted = str(settings["torch_device"])
    return torch.device(wanted if wanted != "cuda" or torch.cuda.is_available() else "cpu")


@one_thread()
def _register(job: FovJob, raw: np.ndarray, bad: np.ndarray, progress: Progress) -> tuple[dict[str, Any], Movement]:
    """Register both channels; return suite2p's ``reg_outputs``. The movies then lie in the folder, complete."""
    import torch
    from suite2p.registration import bidiphase
    from suite2p.registration.register import compute_crop, registration_outputs_to_dict
    from suite2p.registration.utils import highpass_mean_image

    settings = job.options.settings_dict()
    reg = settings["registration"]
    device = pick_device(settings)
    chan2 = plane.open_frames(job.folder / plane.RAW_CHAN2, job.shape) if job.two_channels else None
    sample = reference_frames(raw if chan2 is None or not reg["align_by_chan2"] else chan2, reg["nimg_init"])
    if reg["do_bidiphase"] and reg["bidiphase"] == 0:
        reg["bidiphase"] = int(bidiphase.compute(sample))
    if reg["bidiphase"]:
        sample = bidiphase.shift(sample, int(reg["bidiphase"]))
    with torch.inference_mode():
        reference = make_reference(sample, reg, device)
        del sample
        moved = register_frames(job, raw, chan2, reference, reg, device, progress)
    mean, mean_chan2 = moved.means
    badframes, yrange, xrange = compute_crop(
        moved.xoff, moved.yoff, moved.corr, reg["th_badframes"], bad.copy(), reg["maxregshift"], *job.shape
    )
    outputs: dict[str, Any] = registration_outputs_to_dict(
        reference,
        moved.rmin,
        moved.rmax,
        mean,
        (moved.yoff, moved.xoff, moved.corr),
        (moved.yoff1, moved.xoff1, moved.corr1),
        (None, None),
        mean_chan2,
        badframes,
        bad,
        yrange,
        xrange,
        reg["bidiphase"],
    )
    outputs["meanImgE"] = highpass_mean_image(mean.astype(np.float32))
    if settings["run"]["do_regmetrics"] and len(raw) >= MIN_FRAMES_FOR_METRICS:
        registered = plane.open_frames(job.folder / plane.REGISTERED, job.shape)
        outputs["tPC"], outputs["regPC"], outputs["regDX"] = registration_metrics(registered, yrange, xrange, reg)
    return outputs, moved


def _save(job: FovJob, n_frames: int, outputs: dict[str, Any]) -> None:
    """Write suite2p's dictionaries as its GUI reads them, with paths relative to the folder and without the clock."""
    from suite2p import default_db

    db = default_db() | job.options.db_dict()
    db |= {"nframes": n_frames, "frames_per_folder": [n_frames], "reg_file": plane.REGISTERED, "save_path": "."}
    if job.two_channels:
        db["reg_file_chan2"] = plane.REGISTERED_CHAN2
    settings = job.options.settings_dict()
    np.save(job.folder / plane.BAD_FRAMES, np.asarray(job.bad_frames, int))
    for name, content in (("reg_outputs", outputs), ("db", db), ("settings", settings)):
        plane.save_objects(job.folder / f"{name}.npy", content)
    plane.save_objects(job.folder / "ops.npy", {**db, **settings, **outputs})
