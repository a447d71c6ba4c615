"""suite2p on one session: its pages split, its FOVs registered, their ROIs found, the results staged.

What belongs here: which FOVs are open, in which folders they are worked on, and which files are handed over. What does
not: suite2p itself (``registration``, ``detection``), and where inputs come from: pages, metadata, bad frames and
published files are given.

The work folder keeps the completion markers and everything that resuming needs. Staged movies are hard links to it, so
no movie is on the disk twice; where no links can be made they are moved, and read where they were published. Small
files are copies, because suite2p's GUI may rewrite those that are published.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import MesoWarning, MissingInputError, ProcessingError
from ..opening import TABLE_BYTES, open_plain, read_plain
from ..progress import Progress
from ..scanimage import BoutSource, ImagingLayout, bin_per_plane
from ..session import ImagingMetadata, fov_name, plane_name
from ..storage.alf import write_fov
from ..storage.atomic import write_file
from ..storage.basis import Basis
from ..storage.hashing import FileHash, hash_file
from ..storage.manifest import FileRecord
from .detection.fov import CURATED_FILES
from .detection.results import CLASSIFICATION
from .export import export_rois, zip_plane
from .figures import registration_figure, rois_figure
from .fovs import plane
from .fovs.job import NO_BASIS, FovJob, fov_jobs
from .fovs.marker import Marker, changed_outputs, read_marker, remove_marker, write_marker
from .fovs.plane import DETECTION, REGISTRATION
from .fovs.schedule import process_fovs
from .options import NO_OVERRIDES, Genotype, Suite2pOverrides
from .quality import detection_qc, registration_qc
from .registration.fov import load_registration, registration_is_whole, why_not_registered
from .staging import (
    DetectedFov,
    RegisteredFov,
    StagedRegistration,
    StagedRois,
    copy_checked,
    copy_file,
    link_file,
    record,
    stage_outputs,
    stage_picture,
    take_back_movies,
)

_SPLIT_MARKER = ".split"
_ROI_ZIP = "_suite2p_ROIData.raw.zip"
#: What registration leaves and detection does not read: suite2p's GUI may rewrite it where it is published.
_NOT_FOR_DETECTION = frozenset(("ops.npy", "settings.npy"))


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

    @property
    def n_fovs(self) -> int:
        """Number of FOVs."""
        return len(self.meta.fovs)

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

    def split(self, open_sources: Callable[[], Sequence[BoutSource]], progress: Progress) -> int:
        """Split the pages of the session where FOVs are to be registered and were not split before.

        Parameters
        ----------
        open_sources
            Gives the pages by bout; called only where they are read.
        progress
            Told the pages done.

        Returns
        -------
        int
            Number of FOVs.

        Raises
        ------
        MesoError
            As :func:`~meso_core.scanimage.bin_per_plane`.
        """
        jobs = [self.job(fov, REGISTRATION) for fov in range(self.n_fovs)]
        raws = [job.folder / plane.RAW for job in jobs if not registration_is_whole(job)]
        marker, version = self.folder / _SPLIT_MARKER, self._split_version()
        holds = bool(self.registration_basis.inputs) and marker.is_file() and read_plain(marker) == version.encode()
        if raws and not (holds and all(raw.is_file() for raw in raws)):
            marker.unlink(missing_ok=True)
            bin_per_plane(open_sources(), self.meta, self.folder, progress=progress)
            write_file(marker, version.encode())
        return len(jobs)

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
        for name in (plane.RAW, plane.RAW_CHAN2):  # of a FOV that was whole when others were split
            (job.folder / name).unlink(missing_ok=True)
        return RegisteredFov(fov, done.registration.n_frames, reason or "")

    def take_back(self, staged: Path) -> None:
        """Take back the movies that a killed run has moved to be published, before their folder is emptied."""
        for fov in range(self.n_fovs):
            take_back_movies(self.folder / plane_name(fov), staged)

    def stage_registered(self, staged: Path, fovs: Sequence[int], published: Path | None = None) -> StagedRegistration:
        """Stage the registered movies, suite2p's files and figures.

        Parameters
        ----------
        staged
            Folder that mirrors the session.
        fovs
            Indices of the FOVs, in their order.
        published
            Folder in which the files will lie by their paths. Movies are moved there where they cannot be linked;
            without it they are copied.

        Raises
        ------
        ProcessingError
            If what they were made from has changed since.
        """
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
        found = tuple(load_registration(job.folder) for job in jobs)
        qc = tuple(result for fov, one in zip(fovs, found, strict=True) for result in registration_qc(one, fov))
        return StagedRegistration(tuple(files), found, qc, pictures[0])

    def begin_rois(self, root: Path, registered: Sequence[FileRecord], published: Mapping[str, str]) -> int:
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

        Returns
        -------
        int
            Number of FOVs.

        Raises
        ------
        MissingInputError
            If a FOV is not among what registration published.
        InputFileError
            If a published file has changed.
        """
        for fov in range(self.n_fovs):
            self._take_registered(fov, root, registered)
            self._take_curated(fov, root, published)
        return self.n_fovs

    def _take_curated(self, fov: int, root: Path, published: Mapping[str, str]) -> None:
        """Take back the files that suite2p's GUI rewrites; every curation changes ``iscell.npy``."""
        source, target = root / "suite2p" / plane_name(fov), self.folder / plane_name(fov)
        recorded = published.get(f"suite2p/{plane_name(fov)}/{CLASSIFICATION}")
        if recorded is None or not (source / CLASSIFICATION).is_file():
            return
        open_plain(source / CLASSIFICATION, limit=TABLE_BYTES).close()  # it is hashed and copied before it is read
        if (target / CLASSIFICATION).is_file() and hash_file(source / CLASSIFICATION).sha256 == recorded:
            return
        for name in sorted(CURATED_FILES):
            if (source / name).is_file():
                copy_file(source / name, target / name)

    def _take_registered(self, fov: int, root: Path, registered: Sequence[FileRecord]) -> None:
        prefix, folder = f"suite2p/{plane_name(fov)}/", self.folder / plane_name(fov)
        wanted = {
            file.path.removeprefix(prefix): FileHash(file.size, file.sha256, file.md5)
            for file in registered
            if file.path.startswith(prefix) and file.path.removeprefix(prefix) not in _NOT_FOR_DETECTION
        }
        if plane.REGISTERED not in wanted:
            raise MissingInputError.at(
                f"{self.identity}/{prefix}{plane.REGISTERED}",
                expected=f"the registered movie of {fov_name(fov)} among what was published",
                found="none",
                remedy="Register the frames of this session again",
            )
        marker = read_marker(folder, REGISTRATION)
        if marker is not None and wanted.items() <= marker.outputs.items() and not changed_outputs(folder, marker):
            return
        remove_marker(folder, REGISTRATION)
        for name, content in wanted.items():
            if not name.endswith(".bin"):
                copy_checked(root / prefix / name, folder / name, content)
            elif not link_file(root / prefix / name, folder / name, content):
                plane.note_moved(folder, [root / prefix])  # it is read there
        # registration itself is not whole by this: what the files were made from is for the publisher to know
        write_marker(folder, Marker(REGISTRATION, NO_BASIS, wanted, {"taken_from": "published files"}))

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
            As :func:`roi_detection`, or if the worker died.
        """
        job = self.job(fov, DETECTION)
        (done,) = process_fovs([job], stages=(DETECTION,), workers=1, progress=progress)
        assert done.detection is not None
        where, alf = f"{self.identity}/{fov_name(fov)}", f"alf/{fov_name(fov)}"
        written = write_fov(staged / alf, export_rois(job.folder, identity=where), where=where)
        written[_ROI_ZIP] = zip_plane(job.folder, staged / alf / _ROI_ZIP)
        files = [record(f"{alf}/{name}", content) for name, content in written.items()]
        return DetectedFov(fov, done.detection, (*files, *stage_outputs(job, staged, DETECTION)))

    def stage_rois(self, staged: Path, detected: Sequence[DetectedFov]) -> StagedRois:
        """Stage the figures, and list what was staged of all FOVs.

        Parameters
        ----------
        staged
            Folder that :meth:`detect` staged to.
        detected
            What it returned, in the order of the FOVs.
        """
        files, pictures = [file for one in detected for file in one.files], []
        for one in detected:
            job = self.job(one.fov, DETECTION)
            picture = rois_figure(job.folder, um_per_px=self.meta.fovs[one.fov].um_per_pixel)
            files.append(stage_picture(job, staged, "rois", picture))
            pictures.append(picture.small)
        qc = tuple(result for one in detected for result in detection_qc(one.result, one.fov))
        return StagedRois(tuple(files), tuple(one.result for one in detected), qc, pictures[0])
