"""suite2p on one session: its pages split, its FOVs registered, their ROIs found, the results staged.

What belongs here: which FOVs are open, in which folders they are worked on, and which files are handed over. What does
not: suite2p itself (``registration``, ``detection``), and where inputs come from: pages, metadata, bad frames and
published files are given.

The work folder keeps the completion markers and everything that resuming needs. Staged movies are hard links to it, so
no movie is on the disk twice; where no links can be made they are moved, and read where they were published. Small
files are copies, because suite2p's GUI may rewrite those that are published.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import MesoError, MesoWarning, ProcessingError
from ..opening import read_plain
from ..progress import Progress
from ..scanimage import BoutSource, ImagingLayout, bin_per_plane
from ..session import ImagingMetadata, fov_name, plane_name
from ..storage.alf import write_fov
from ..storage.files.atomic import storage_errors, write_file
from ..storage.manifests.basis import Basis
from ..storage.manifests.manifest import FileRecord
from .export import export_rois, zip_plane
from .figures import registration_figure, rois_figure
from .fovs import plane
from .fovs.job import NO_BASIS, FovJob, fov_jobs
from .fovs.marker import damaged_outputs, read_marker, remove_marker
from .fovs.plane import DETECTION, REGISTRATION
from .fovs.schedule import process_fovs
from .missing import FailedFov, missing_qc, refuse_nothing
from .options import NO_OVERRIDES, Genotype, Suite2pOverrides
from .published import refuse_to_lose_curation, take_curated, take_registered
from .quality import area_mm2, detection_qc, fields_qc, registration_qc
from .registration.fov import load_registration, registration_is_whole, why_not_registered
from .staging import (
    DetectedFov,
    RegisteredFov,
    StagedRegistration,
    StagedRois,
    record,
    stage_outputs,
    stage_picture,
    take_back_movies,
)

_SPLIT_MARKER = ".split"
_ROI_ZIP = "_suite2p_ROIData.raw.zip"


@dataclass(frozen=True)
class SessionImaging:
    """suite2p on one session."""

    #: Work folder; holds ``plane0`` and the others.
    folder: Path
    #: Imaging metadata of the session.
    meta: ImagingMetadata
    #: Name of the session in ROI identities and messages, as in ``SP035/2023-03-03/001``.
    identity: str
    overrides: Suite2pOverrides = NO_OVERRIDES
    genotype: Genotype = ""
    #: Per FOV, (n_frames,) bool: excluded by the experimenter. Empty if frames were not rated.
    bad_frames: Sequence[npt.NDArray[np.bool_]] = ()
    #: What registration and detection depend on besides the FOVs' own settings; inputs must be among it for resume.
    registration_basis: Basis = NO_BASIS
    detection_basis: Basis = NO_BASIS
    #: Whether curated ROIs may be replaced.
    discard_curation: bool = False
    #: Names of FOVs that are not worked on.
    left_out: frozenset[str] = frozenset()

    @property
    def n_fovs(self) -> int:
        """Number of FOVs of the recording."""
        return len(self.meta.fovs)

    @property
    def fovs(self) -> tuple[int, ...]:
        """Indices of the FOVs that are worked on."""
        return tuple(fov for fov in range(self.n_fovs) if fov_name(fov) not in self.left_out)

    def job(self, fov: int, stage: str) -> FovJob:
        """Write the work order of a FOV for ``registration`` or ``detection``."""
        return fov_jobs(
            self.folder,
            self.meta,
            fovs=[fov],
            genotype=self.genotype,
            overrides=self.overrides,
            bad_frames=self.bad_frames[fov] if self.bad_frames else None,
            basis=self.registration_basis if stage == REGISTRATION else self.detection_basis,
            discard_curation=self.discard_curation,
        )[0]

    def split(
        self, open_sources: Callable[[], Sequence[BoutSource]], progress: Progress, in_doubt: Collection[str] = ()
    ) -> tuple[int, ...]:
        """Split the pages of the session where FOVs are to be registered and were not split before.

        Parameters
        ----------
        open_sources
            Gives the pages by bout; called only where they are read.
        progress
            Told the pages done.
        in_doubt
            Folders, as ``plane1``, of which published files are gone or changed. A published movie is a second name of
            the one in the work folder: where the disk has damaged one, it has damaged both.

        Returns
        -------
        tuple of int
            Indices of the FOVs to register.

        Raises
        ------
        MesoError
            As :func:`~meso_core.scanimage.bin_per_plane`.
        """
        jobs = [self.job(fov, REGISTRATION) for fov in self.fovs]
        for folder in (job.folder for job in jobs if job.folder.name in in_doubt):
            left = read_marker(folder, REGISTRATION)
            if left is not None and damaged_outputs(folder, left):
                remove_marker(folder, REGISTRATION)
        raws = [(job.folder / plane.RAW, job.shape) for job in jobs if not registration_is_whole(job)]
        marker, version = self.folder / _SPLIT_MARKER, self._split_version()
        holds = bool(self.registration_basis.inputs) and marker.is_file() and read_plain(marker) == version.encode()
        if raws and not (holds and all(plane.has_whole_frames(raw, shape) for raw, shape in raws)):
            marker.unlink(missing_ok=True)
            bin_per_plane(open_sources(), self.meta, self.folder, progress=progress)
            for fov in sorted({*range(self.n_fovs)} - {*self.fovs}):
                self._remove_raw(fov)
            write_file(marker, version.encode())
        return self.fovs

    def _remove_raw(self, fov: int) -> None:
        for name in (plane.RAW, plane.RAW_CHAN2):
            (self.folder / plane_name(fov) / name).unlink(missing_ok=True)

    def _split_version(self) -> str:
        """Digest what raw binaries depend on: the basis but for suite2p's options, and which lines belong to whom."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MesoWarning)  # splitting tells them
            layout = asdict(ImagingLayout.from_meta(self.meta))
        return replace(self.registration_basis, settings={"layout": layout}).digest

    def register(self, fov: int, progress: Progress) -> RegisteredFov:
        """Register one FOV in a worker process; at once where an earlier run left it whole.

        Raises
        ------
        MesoError
            As :func:`image_motion_registration`, or if the worker died.
        """
        job = self.job(fov, REGISTRATION)
        reason = why_not_registered(job)
        (done,) = process_fovs([job], stages=(REGISTRATION,), workers=1, progress=progress)
        assert done.registration is not None
        self._remove_raw(fov)  # of a FOV that was whole when others were split
        return RegisteredFov(fov, done.registration.n_frames, reason or "")

    def take_back(self, staged: Path) -> None:
        """Take back the movies that a killed run has moved to be published, before their folder is emptied."""
        for fov in range(self.n_fovs):
            take_back_movies(self.folder / plane_name(fov), staged)

    def stage_registered(
        self, staged: Path, fovs: Sequence[int], published: Path | None = None, failed: Sequence[FailedFov] = ()
    ) -> StagedRegistration:
        """Stage the registered movies, suite2p's files and figures.

        Parameters
        ----------
        staged
            Folder that mirrors the session.
        fovs
            Indices of the FOVs that were registered, in their order.
        published
            Folder in which the files will lie by their paths. Movies are moved there where they cannot be linked;
            without it they are copied.
        failed
            FOVs that failed alone.

        Raises
        ------
        ProcessingError
            If what they were made from has changed since, or every FOV failed.
        """
        refuse_nothing(self.identity, fovs, failed)
        jobs = [self.job(fov, REGISTRATION) for fov in fovs]
        changed = {fov_name(job.options.fov): why for job in jobs if (why := why_not_registered(job))}
        if changed:
            raise ProcessingError.at(
                self.identity,
                expected="the inputs that registration began with",
                found=f"other inputs now, for {', '.join(changed)} ({'; '.join(sorted(set(changed.values())))})",
                remedy="Wait until the session is copied, then register it again",
            )
        files, pictures = [], []
        for job in jobs:
            files += stage_outputs(job, staged, REGISTRATION, published)
            picture = registration_figure(job.folder, rate_hz=self.meta.fov_rate_hz)
            files.append(stage_picture(job, staged, "motion", picture))
            pictures.append(picture.small)
        found = {fov_name(job.options.fov): load_registration(job.folder) for job in jobs}
        qc = [result for fov, one in zip(fovs, found.values(), strict=True) for result in registration_qc(one, fov)]
        missing = {one.name: one.reason for one in failed}
        qc += missing_qc(len(found), missing, self.left_out)
        return StagedRegistration(tuple(files), found, tuple(qc), pictures[0], missing)

    def begin_rois(
        self,
        root: Path,
        registered: Sequence[FileRecord],
        published: Mapping[str, str],
        lacking: Collection[str] = (),
    ) -> tuple[int, ...]:
        """Make the work folder hold what was published: the registered FOVs, and what a person curated since.

        Parameters
        ----------
        root
            Folder in which the published files lie by their paths.
        registered
            Files that registration published; taken from there where the work folder holds others or is gone.
        published
            Files of ROIs that were published, by path → sha-256; empty where there are none. Files of them that are
            others now were curated by a person, and win over those of the work folder.
        lacking
            Names of the FOVs that registration failed for, as it recorded.

        Returns
        -------
        tuple of int
            Indices of the FOVs whose ROIs are to be found.

        Raises
        ------
        MissingInputError
            If a FOV is neither among what registration published nor among those that it failed for.
        InputFileError
            If a published file has changed.
        CurationError
            If ROIs that a person curated would be removed, because their FOV is left out or was not registered.
        """
        fovs = tuple(fov for fov in self.fovs if fov_name(fov) not in lacking)
        for fov in sorted({*range(self.n_fovs)} - {*fovs}):
            if not self.discard_curation:
                why = "it is left out" if fov_name(fov) in self.left_out else "it was not registered"
                refuse_to_lose_curation(fov, root, published, why)
        for fov in fovs:
            folder = self.folder / plane_name(fov)
            take_registered(folder, root, registered, fov, self.identity)
            take_curated(folder, root, published)
        return fovs

    def detect(self, fov: int, staged: Path, progress: Progress) -> DetectedFov:
        """Find the ROIs of one FOV in a worker process, and stage its datasets.

        Parameters
        ----------
        fov
            Index of the FOV.
        staged
            Folder that mirrors the session; other FOVs may be staged there at the same time.
        progress
            Told the steps done.

        Raises
        ------
        MesoError
            As :func:`roi_detection`, or if the worker died; nothing of the FOV is staged then.
        """
        try:
            return self._detect(fov, staged, progress)
        except MesoError:
            with storage_errors(staged):
                for part in (f"alf/{fov_name(fov)}", f"suite2p/{plane_name(fov)}"):
                    shutil.rmtree(staged / part, ignore_errors=True)
            raise

    def _detect(self, fov: int, staged: Path, progress: Progress) -> DetectedFov:
        job = self.job(fov, DETECTION)
        (done,) = process_fovs([job], stages=(DETECTION,), workers=1, progress=progress)
        assert done.detection is not None
        where, alf = f"{self.identity}/{fov_name(fov)}", f"alf/{fov_name(fov)}"
        written = write_fov(staged / alf, export_rois(job.folder, identity=where), where=where)
        written[_ROI_ZIP] = zip_plane(job.folder, staged / alf / _ROI_ZIP)
        files = [record(f"{alf}/{name}", content) for name, content in written.items()]
        return DetectedFov(fov, done.detection, (*files, *stage_outputs(job, staged, DETECTION)))

    def stage_rois(self, staged: Path, detected: Sequence[DetectedFov], failed: Sequence[FailedFov] = ()) -> StagedRois:
        """Stage the figures, and list what was staged of all FOVs.

        Parameters
        ----------
        staged
            Folder that :meth:`detect` staged to.
        detected
            What it returned, in the order of the FOVs.
        failed
            FOVs that failed alone.

        Raises
        ------
        ProcessingError
            If every FOV failed.
        """
        refuse_nothing(self.identity, detected, failed)
        files, pictures = [file for one in detected for file in one.files], []
        for one in detected:
            job = self.job(one.fov, DETECTION)
            picture = rois_figure(job.folder, um_per_px=self.meta.fovs[one.fov].um_per_pixel)
            files.append(stage_picture(job, staged, "rois", picture))
            pictures.append(picture.small)
        missing = {one.name: one.reason for one in failed}
        not_registered = {*map(fov_name, self.fovs)} - {*missing} - {fov_name(one.fov) for one in detected}
        why = {**missing, **dict.fromkeys(not_registered, "it was not registered.")}
        areas = {fov.name: area_mm2(fov) for fov in self.meta.fovs}
        qc = [r for one in detected for r in detection_qc(one.result, one.fov, areas[fov_name(one.fov)])]
        qc += missing_qc(len(detected), why, self.left_out)
        qc += fields_qc({fov_name(one.fov): one.result.n_cells for one in detected}, areas)
        found = {fov_name(one.fov): one.result for one in detected}
        return StagedRois(tuple(files), found, tuple(qc), pictures[0], missing)
