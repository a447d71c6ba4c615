"""Motion registration of one FOV: raw binary in, registered binary and shifts out.

What belongs here: the reference image, the loop over frames, and what suite2p calls ``reg_outputs``. What does not: the
metrics afterwards (``metrics``), and which process does this (``schedule``, ``worker``).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ProcessingError
from ...progress import Progress, silent
from ...storage.files.atomic import storage_errors
from ...storage.files.deferred_renames import remove_name
from ...storage.files.hashing import FileHash, hash_file
from ..device import pick_device
from ..fovs import plane
from ..fovs.job import FovJob, registration_basis
from ..fovs.marker import Marker, read_marker, remove_marker, why_not_whole, write_marker
from ..fovs.threads import one_thread
from .frame_loop import Movement, register_frames
from .metrics import MIN_FRAMES_FOR_METRICS, registration_metrics
from .phasecorr import largest_shift
from .reference_image import make_reference, reference_frames

if TYPE_CHECKING:
    import torch

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
    n_frames = len(raw)
    bad = _bad_frames(job, n_frames)
    with storage_errors(job.folder):
        remove_marker(job.folder, plane.REGISTRATION)
        plane.remove_leftovers(job.folder)
        outputs, moved = _register(job, raw, bad, progress)
        written = {**moved.written, **_save(job, n_frames, outputs)}
    notes = {"seconds": round(time.monotonic() - started, 3), "n_frames": n_frames, "raw_sha256": list(moved.read)}
    write_marker(job.folder, Marker(plane.REGISTRATION, registration_basis(job), written, notes))
    del raw  # a share removes no file that is mapped
    if not job.keep_raw:
        for name in (plane.RAW, plane.RAW_CHAN2):
            remove_name(job.folder / name)
    return load_registration(job.folder, resumed=False)


def registration_is_whole(job: FovJob) -> bool:
    """Whether a former run left this FOV registered, on the same basis."""
    return why_not_registered(job) is None


def why_not_registered(job: FovJob) -> str | None:
    """Tell why this FOV has to be registered, or None where a former run left it whole.

    Raw binaries that lie there are compared by their content where the job's basis names no version of its inputs.
    """
    if reason := why_not_whole(job.folder, plane.REGISTRATION, registration_basis(job)):
        return reason
    marker = read_marker(job.folder, plane.REGISTRATION)
    if job.basis.inputs or marker is None:
        return None
    raws = [path for name in (plane.RAW, plane.RAW_CHAN2) if (path := job.folder / name).is_file()]
    known = marker.notes.get("raw_sha256", [])
    other = [path.name for path in raws if hash_file(path).sha256 not in known]
    return f"{', '.join(other)}: other frames than those that were registered" if other else None


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
        raise ProcessingError.at(
            job.folder,
            field="bad_frames",
            expected=f"indices below {n_frames}",
            found=str(job.bad_frames[-1]),
            remedy="Check that badframes.mat belongs to this session",
        )
    bad[list(job.bad_frames)] = True
    if (n_good := int((~bad).sum())) < MIN_FRAMES:
        raise ProcessingError.at(
            job.folder,
            expected=f"at least {MIN_FRAMES} usable frames",
            found=f"{n_good} of {n_frames} that are not marked bad",
            remedy="Check badframes.mat, or leave this field of view out (MESO_LEFT_OUT_FOVS)",
        )
    return bad


@one_thread()
def _register(job: FovJob, raw: np.ndarray, bad: np.ndarray, progress: Progress) -> tuple[dict[str, Any], Movement]:
    """Register both channels; return suite2p's ``reg_outputs``. The movies then lie in the folder, complete."""
    import torch

    settings = job.options.settings_dict()
    reg = settings["registration"]
    device = pick_device(settings)
    chan2 = plane.open_frames(job.folder / plane.RAW_CHAN2, job.shape) if job.two_channels else None
    with torch.inference_mode():
        reference = _reference(raw if chan2 is None or not reg["align_by_chan2"] else chan2, reg, device)
        moved = register_frames(job, raw, chan2, reference, reg, device, progress)
    outputs = _outputs(job, moved, reference, bad, reg)
    if settings["run"]["do_regmetrics"] and len(raw) >= MIN_FRAMES_FOR_METRICS:
        registered = plane.open_frames(job.folder / plane.REGISTERED, job.shape)
        metrics = registration_metrics(registered, outputs["yrange"], outputs["xrange"], reg)
        outputs["tPC"], outputs["regPC"], outputs["regDX"] = metrics
    return outputs, moved


def _reference(frames: np.ndarray, reg: dict[str, Any], device: torch.device) -> np.ndarray:
    """Make the reference image; the shift between lines, where suite2p is to find it, is put into ``reg``."""
    from suite2p.registration import bidiphase

    sample = reference_frames(frames, reg["nimg_init"])
    if reg["do_bidiphase"] and reg["bidiphase"] == 0:
        reg["bidiphase"] = int(bidiphase.compute(sample))
    if reg["bidiphase"]:
        sample = bidiphase.shift(sample, int(reg["bidiphase"]))
    return make_reference(sample, reg, device)


def _outputs(
    job: FovJob, moved: Movement, reference: np.ndarray, bad: np.ndarray, reg: dict[str, Any]
) -> dict[str, Any]:
    """Lay out what was found as suite2p's ``reg_outputs``."""
    from suite2p.registration.register import compute_crop, registration_outputs_to_dict
    from suite2p.registration.utils import highpass_mean_image

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
    return outputs


def _save(job: FovJob, n_frames: int, outputs: dict[str, Any]) -> dict[str, FileHash]:
    """Write suite2p's dictionaries as its GUI reads them, with paths relative to the folder and without the clock.

    The settings are all that were in force, those of detection too: the GUI wants them when a person merges ROIs.
    """
    from suite2p import default_db

    db = default_db() | job.options.db_dict()
    db |= {"nframes": n_frames, "frames_per_folder": [n_frames], "reg_file": plane.REGISTERED, "save_path": "."}
    if job.two_channels:
        db["reg_file_chan2"] = plane.REGISTERED_CHAN2
    settings = job.options.settings_dict()
    parts = {"reg_outputs": outputs, "db": db, "settings": settings, "ops": {**db, **settings, **outputs}}
    written = {f"{name}.npy": plane.save_objects(job.folder / f"{name}.npy", part) for name, part in parts.items()}
    bad_frames = plane.save_array(job.folder / plane.BAD_FRAMES, np.asarray(job.bad_frames, int))
    return {**written, plane.BAD_FRAMES: bad_frames}
