"""The folder of one FOV in suite2p's layout, and the work order for it.

What belongs here: names of the files in ``planeN``, the frozen work order that travels to a worker, and reading of
suite2p's own dictionaries. What does not: the work.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputFileError, MissingInputError, SettingsError, problem
from ...session import plane_name
from ..options.from_metadata import Suite2pOptions, suite2p_options

RAW = "data_raw.bin"
RAW_CHAN2 = "data_chan2_raw.bin"
REGISTERED = "imaging.frames_motionRegistered.bin"
REGISTERED_CHAN2 = "imaging.frames_motionRegistered_chan2.bin"
BAD_FRAMES = "bad_frames.npy"
LOG = "run.log"
_LOG_TAIL_LINES = 12

REGISTRATION = "registration"
DETECTION = "detection"
#: In their order.
STAGES = (REGISTRATION, DETECTION)


@dataclass(frozen=True)
class FovJob:
    """One FOV's work order."""

    #: ``…/suite2p/planeN`` with the raw binary (``data_raw.bin``), or with the registered one.
    folder: Path
    options: Suite2pOptions
    #: Indices of frames that the experimenter excluded, ascending.
    bad_frames: tuple[int, ...] = ()
    #: Whatever names the version of the raw data that the binary was split from; compared on resume.
    input_version: str = ""
    #: Where suite2p's log goes; default is ``planeN/run.log``.
    log_folder: Path | None = None
    #: Whether the raw binary stays when registration is whole.
    keep_raw: bool = False
    #: Whether a hand-edited ``iscell.npy`` may be replaced when ROIs are detected anew.
    discard_curation: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        object.__setattr__(self, "log_folder", Path(self.log_folder) if self.log_folder else None)

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
        return (self.log_folder or self.folder) / LOG

    def log_tail(self) -> str:
        """Last lines of suite2p's log, for an error message."""
        try:
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
        except FileNotFoundError:
            return "(no log)"

    def to_json(self) -> str:
        """Write the order on one line."""
        return json.dumps(asdict(self) | {"options": _options_to_json(self.options)}, default=str)

    @classmethod
    def from_json(cls, text: str) -> FovJob:
        """Read what :meth:`to_json` wrote."""
        raw = json.loads(text)
        raw["bad_frames"] = tuple(raw["bad_frames"])
        raw["options"] = Suite2pOptions(**raw["options"])
        return cls(**raw)


def _options_to_json(options: Suite2pOptions) -> dict[str, Any]:
    return {"fov": options.fov, "db": options.db_dict(), "settings": options.settings_dict()}


def fov_jobs(
    suite2p_folder: str | Path,
    meta: Mapping[str, Any],
    *,
    fovs: Sequence[int] | None = None,
    genotype: Iterable[str | Mapping[str, Any]] | str = (),
    tau: float | None = None,
    overrides: Mapping[str, Any] | None = None,
    bad_frames: np.ndarray | None = None,
    input_version: str = "",
    log_folder: str | Path | None = None,
    keep_raw: bool = False,
    discard_curation: bool = False,
) -> tuple[FovJob, ...]:
    """Make the work orders of a session's FOVs.

    Parameters
    ----------
    suite2p_folder
        Folder with ``plane0``, ``plane1`` …
    meta
        Consolidated ``_ibl_rawImagingData.meta.json``.
    fovs
        Indices in ``meta['FOV']``; default all.
    genotype, tau, overrides
        As in :func:`suite2p_options`.
    bad_frames
        (n_frames,) bool, True for a frame that cropping and detection leave out.
    input_version
        Name of the raw data's version, for resume.
    log_folder
        Folder for suite2p's logs, one sub-folder ``planeN`` per FOV; default beside the data, ``planeN/run.log``.
    keep_raw, discard_curation
        See :class:`FovJob`.
    """
    bad: tuple[int, ...] = ()
    if bad_frames is not None:
        if np.asarray(bad_frames).dtype != bool:
            raise SettingsError(
                problem(
                    "bad_frames",
                    expected="a boolean per frame",
                    found=f"dtype {np.asarray(bad_frames).dtype}",
                    remedy="Pass FrameQC.bad_frames",
                )
            )
        bad = tuple(int(i) for i in np.flatnonzero(bad_frames))
    indices = range(len(meta["FOV"])) if fovs is None else fovs
    return tuple(
        FovJob(
            Path(suite2p_folder) / plane_name(i),
            suite2p_options(meta, i, tau=tau, genotype=genotype, overrides=overrides),
            bad,
            input_version,
            Path(log_folder) / plane_name(i) if log_folder else None,
            keep_raw,
            discard_curation,
        )
        for i in indices
    )


def count_frames(path: Path, shape: tuple[int, int]) -> int:
    """Frames of a binary of int16 frames.

    Raises
    ------
    MissingInputError, InputFileError
        If it is not there, or does not hold whole frames.
    """
    if not path.is_file():
        raise MissingInputError(
            problem(path, expected="a binary of this FOV's frames", found="no such file", remedy="Split the tifs again")
        )
    frame_bytes = 2 * shape[0] * shape[1]
    n_frames, rest = divmod(path.stat().st_size, frame_bytes)
    if rest or n_frames == 0:
        raise InputFileError(
            problem(
                path,
                expected=f"whole frames of {shape[0]} × {shape[1]} int16",
                found=f"{path.stat().st_size} bytes ({n_frames} frames and {rest} bytes)",
                remedy="Split the tifs again; the file was cut short or belongs to another FOV",
            )
        )
    return n_frames


def open_frames(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Map a binary as (n_frames, ny, nx) int16, read-only."""
    return np.memmap(path, np.int16, "r", shape=(count_frames(path, shape), *shape))


def load_dict(path: Path) -> dict[str, Any]:
    """Read one of suite2p's pickled dictionaries (``db.npy``, ``reg_outputs.npy`` …) that our own worker wrote."""
    try:
        value = np.load(path, allow_pickle=True).item()
    except FileNotFoundError as error:
        raise MissingInputError(
            problem(path, expected="suite2p's output", found="no such file", remedy="Run this FOV again")
        ) from error
    except (ValueError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise InputFileError(
            problem(path, expected="suite2p's output", found=f"{error}", remedy="Run this FOV again")
        ) from error
    return dict(value)


def save_objects(path: Path, content: Mapping[str, Any] | np.ndarray) -> None:
    """Write one of suite2p's dictionaries, or its array of ROIs, whole or not at all.

    ``numpy.save`` pickles an object that occurs twice by reference, so that equal values give unequal bytes, depending
    on which of them are one object in memory. Here every value is written out.

    Parameters
    ----------
    path
        File that ``numpy.load(path, allow_pickle=True)`` will read.
    content
        A dictionary, or an array of dictionaries.
    """
    array = content if isinstance(content, np.ndarray) else np.array(dict(content), dtype=object)
    beside = path.with_name(f".{path.name}.part")
    with beside.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_1_0(file, header)
        pickler = pickle.Pickler(file, protocol=4)
        pickler.fast = True
        pickler.dump(array)
    beside.replace(path)


@dataclass(frozen=True)
class Basis:
    """What a stage's results depend on; the marker keeps it."""

    input: Mapping[str, Any]
    settings: Mapping[str, Any]
    db: Mapping[str, Any]
    bad_frames: str
    code: str
    extra: Mapping[str, Any] = field(default_factory=dict)


def registration_basis(job: FovJob, code: str) -> dict[str, Any]:
    """List what registration depends on."""
    settings = job.options.settings_dict()
    return asdict(
        Basis(
            {"version": job.input_version},
            {"registration": settings["registration"], "do_regmetrics": settings["run"]["do_regmetrics"]},
            {k: job.options.db[k] for k in ("Ly", "Lx", "nchannels")},
            hashlib.sha256(json.dumps(job.bad_frames).encode()).hexdigest(),
            code,
        )
    )


def detection_basis(job: FovJob, code: str, registration_outputs: Mapping[str, Any]) -> dict[str, Any]:
    """List what detection depends on: its settings, and the registered movie."""
    settings = job.options.settings_dict()
    for group in ("registration", "run", "io", "torch_device"):
        settings.pop(group)
    settings["do_deconvolution"] = job.options.settings["run"]["do_deconvolution"]
    outputs = {name: registration_outputs[name] for name in sorted(registration_outputs) if name.endswith(".bin")}
    return asdict(Basis(outputs, settings, {"Ly": job.shape[0], "Lx": job.shape[1]}, "", code))
