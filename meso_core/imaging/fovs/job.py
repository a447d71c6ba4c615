"""The work order of one FOV, and what the results of its stages depend on.

What belongs here: the frozen order that travels to a worker, and the basis of each stage. What does not: the work.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import MesoError, SettingsError
from ...json_text import json_text
from ...opening import open_plain
from ...scanimage import as_imaging_metadata
from ...session import plane_name
from ...session.imaging import ImagingMetadata
from ...storage.files.hashing import FileHash
from ...storage.manifests.basis import Basis
from ..device import device_class
from ..options import NO_OVERRIDES, Genotype, Suite2pOptions, Suite2pOverrides, suite2p_options
from .plane import LOG

#: Of a job without a declared basis: its own settings are compared, and raw binaries by their content.
NO_BASIS = Basis("")
_LOG_TAIL_LINES, _LOG_TAIL_BYTES = 12, 1 << 14


@dataclass(frozen=True)
class FovJob:
    """One FOV's work order."""

    #: ``…/suite2p/planeN`` with the raw binary (``data_raw.bin``), or with the registered one.
    folder: Path
    options: Suite2pOptions
    #: Indices of frames that the experimenter excluded, ascending.
    bad_frames: tuple[int, ...] = ()
    #: What the caller declares that the results depend on: versions of inputs, code and packages. The FOV's own
    #: settings are added to it.
    basis: Basis = NO_BASIS
    #: Whether the raw binary stays when registration is whole.
    keep_raw: bool = False
    #: Whether a hand-edited ``iscell.npy`` may be replaced when ROIs are detected anew.
    discard_curation: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return int(self.options.db["Ly"]), int(self.options.db["Lx"])

    @property
    def two_channels(self) -> bool:
        """Whether a second channel was saved."""
        return int(self.options.db["nchannels"]) > 1

    @property
    def log_path(self) -> Path:
        """File of suite2p's log."""
        return self.folder / LOG

    def log_tail(self) -> str:
        """Last lines of suite2p's log, for an error message."""
        try:
            with open_plain(self.log_path) as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
                return "\n".join(file.read().decode(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
        except MesoError:
            return "(no log)"

    def to_json(self) -> str:
        """Write the order on one line."""
        options = {"fov": self.options.fov, "db": self.options.db_dict(), "settings": self.options.settings_dict()}
        return json_text(asdict(self) | {"options": options})

    @classmethod
    def from_json(cls, text: str) -> FovJob:
        """Read what :meth:`to_json` wrote."""
        raw = json.loads(text)
        raw["bad_frames"] = tuple(raw["bad_frames"])
        raw["options"] = Suite2pOptions(**raw["options"])
        raw["basis"] = Basis.from_record(raw["basis"])
        return cls(**raw)


def registration_basis(job: FovJob) -> Basis:
    """Add to the job's basis what registration of this FOV depends on."""
    settings = job.options.settings
    return job.basis.with_settings(
        fov={
            "registration": settings["registration"],
            "do_regmetrics": settings["run"]["do_regmetrics"],
            "shape": list(job.shape),
            "channels": job.options.db["nchannels"],
            "bad_frames": hashlib.sha256(json_text(job.bad_frames).encode()).hexdigest(),
            "device": device_class(settings),
        }
    )


def detection_basis(job: FovJob, registered: Mapping[str, FileHash]) -> Basis:
    """Add to the job's basis what detection in this FOV depends on: its settings, and what registration left."""
    settings = job.options.settings_dict()
    for group in ("registration", "io", "torch_device"):
        settings.pop(group)
    own = {
        **settings,
        "run": {"do_deconvolution": settings["run"]["do_deconvolution"]},
        "shape": list(job.shape),
        "channels": job.options.db["nchannels"],
        "device": device_class(job.options.settings),
    }
    left = {name: registered[name].sha256 for name in registered if name.endswith(".bin") or name == "reg_outputs.npy"}
    return replace(job.basis, inputs={**job.basis.inputs, **left}).with_settings(fov=own)


def fov_jobs(
    suite2p_folder: str | Path,
    meta: Mapping[str, Any] | ImagingMetadata,
    *,
    fovs: Sequence[int] | None = None,
    genotype: Genotype = (),
    tau: float | None = None,
    overrides: Suite2pOverrides = NO_OVERRIDES,
    bad_frames: npt.NDArray[np.bool_] | None = None,
    basis: Basis = NO_BASIS,
    keep_raw: bool = False,
    discard_curation: bool = False,
) -> tuple[FovJob, ...]:
    """Make the work orders of a session's FOVs.

    Parameters
    ----------
    suite2p_folder
        Folder with ``plane0``, ``plane1`` …
    meta
        Imaging metadata of the session, or the content of its file.
    fovs
        Numbers of FOVs, from 0; default all.
    genotype, tau, overrides
        As in :func:`suite2p_options`.
    bad_frames
        (n_frames,) bool, True for a frame that cropping and detection leave out.
    basis
        What the results depend on besides the FOV's own settings, for resume.
    keep_raw, discard_curation
        See :class:`FovJob`.

    Raises
    ------
    SettingsError
        If ``bad_frames`` is not boolean.
    """
    bad: tuple[int, ...] = ()
    if bad_frames is not None:
        if np.asarray(bad_frames).dtype != bool:
            raise SettingsError.at(
                "bad_frames",
                expected="a boolean per frame",
                found=f"dtype {np.asarray(bad_frames).dtype}",
                remedy="Pass FrameQC.bad_frames",
            )
        bad = tuple(int(i) for i in np.flatnonzero(bad_frames))
    meta = as_imaging_metadata(meta)
    indices = range(len(meta.fovs)) if fovs is None else fovs
    return tuple(
        FovJob(
            Path(suite2p_folder) / plane_name(i),
            suite2p_options(meta, i, tau=tau, genotype=genotype, overrides=overrides),
            bad,
            basis,
            keep_raw,
            discard_curation,
        )
        for i in indices
    )
