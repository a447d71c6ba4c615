"""The work folder of suite2p in a session, and what is published from it.

What belongs here: which folder, which work orders, which files. suite2p itself is run by ``meso_core.imaging``.

``.meso/work/suite2p/planeN`` keeps the completion markers and everything that resuming needs. Published files are hard
links to it (copies where a person may edit them), so nothing is on the disk twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meso_core.errors import MesoWarning, MissingInputError, ProcessingError, problem
from meso_core.progress import Progress
from meso_core.session import MESO_FOLDER, fov_name, imaging_bouts, plane_name

from .defs.made_with import settings_of
from .io.managers import FIGURES, Product, SessionFiles
from .io.metadata import picture, registration_metadata, rois_metadata
from .io.resources import OpenSession
from .runs.settings import MesoSettings

if TYPE_CHECKING:
    from meso_core.imaging import DetectionResult, FovJob, RegistrationResult

REGISTERED_FILES = ("db.npy", "settings.npy", "ops.npy", "reg_outputs.npy", "bad_frames.npy")
_SPLIT_MARKER = ".split"
#: Files as registration left them: detection writes them again, and what is published must not depend on that.
_AS_REGISTERED = {"ops.npy": ".ops-registered", "settings.npy": ".settings-registered"}


@dataclass(frozen=True)
class Suite2pWork:
    """suite2p on one session."""

    session: OpenSession
    settings: MesoSettings
    #: suite2p options of this run, by name.
    overrides: Mapping[str, Any]
    #: Whether curated ROIs may be replaced.
    discard_curation: bool = False

    @property
    def folder(self) -> Path:
        """Folder that holds ``plane0`` and the others."""
        return self.session.path / MESO_FOLDER / "work" / "suite2p"

    @cached_property
    def meta(self) -> dict[str, Any]:
        """Imaging metadata of the session."""
        return self.session.metadata()

    @property
    def all_overrides(self) -> dict[str, Any]:
        """Return the options of the settings and of the run; the run's win."""
        return {**self.settings.suite2p, **self.overrides}

    @cached_property
    def input_version(self) -> str:
        """Version of what is split, for resume: the frames, and which of their lines belong to which FOV."""
        from meso_core.scanimage import ImagingLayout

        frames = self.session.frames_version()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MesoWarning)  # splitting tells them
            layout = json.dumps(asdict(ImagingLayout.from_meta(self.meta)), sort_keys=True)
        return hashlib.sha256(f"{frames}\n{layout}".encode()).hexdigest()

    @cached_property
    def _bad_frames(self) -> list[Any]:
        from meso_assets.assets.timing import session_frame_qc

        return [bad for _, bad in session_frame_qc(self.session)[1]]

    def job(self, fov: int) -> FovJob:
        """Write the work order of a FOV; unknown suite2p options are refused here."""
        from meso_core.imaging import fov_jobs

        (job,) = fov_jobs(
            self.folder,
            self.meta,
            fovs=[fov],
            genotype=[allele for allele in self.settings.genotype.split(";") if allele],
            overrides=self.all_overrides,
            bad_frames=self._bad_frames[fov],
            input_version=self.input_version,
            discard_curation=self.discard_curation,
        )
        return job

    def split(self, progress: Progress) -> int:
        """Split the pages of the session where that is to be done, and return the number of FOVs."""
        from meso_core.archive import bout_source
        from meso_core.imaging.registration.fov import registration_is_whole
        from meso_core.scanimage import bin_per_plane

        jobs = [self.job(fov) for fov in range(len(self.meta["FOV"]))]
        open_jobs = [job for job in jobs if not registration_is_whole(job)]
        marker = self.folder / _SPLIT_MARKER
        is_split = marker.is_file() and marker.read_text() == self.input_version
        if open_jobs and not (is_split and all((job.folder / "data_raw.bin").is_file() for job in open_jobs)):
            marker.unlink(missing_ok=True)
            sources = [bout_source(bout, workers=self.settings.cores) for bout in imaging_bouts(self.session.path)]
            bin_per_plane(sources, self.meta, self.folder, progress=progress)
            marker.write_text(self.input_version)
        return len(jobs)

    def register(self, fov: int, progress: Progress) -> RegistrationResult:
        """Register one FOV in a worker process; at once where an earlier run left it whole (``resumed``)."""
        from meso_core.imaging import load_registration, process_fovs
        from meso_core.imaging.registration.fov import registration_is_whole

        job = self.job(fov)
        whole = registration_is_whole(job)
        if not whole:
            process_fovs([job], stages=("registration",), workers=1, progress=progress)
        for name, kept in _AS_REGISTERED.items():
            if not whole or not (job.folder / kept).is_file():
                shutil.copyfile(job.folder / name, job.folder / kept)
        return load_registration(job.folder, resumed=whole)

    def registrations(self, fovs: list[int]) -> list[RegistrationResult]:
        """Read what registration found."""
        from meso_core.imaging import load_registration

        return [load_registration(self.folder / plane_name(fov)) for fov in fovs]

    def registered_product(self, fovs: list[int]) -> Product:
        """Stage the registered movies.

        Raises
        ------
        ProcessingError
            If what they were made from has changed while they were made.
        """
        from meso_core.imaging.quality import registration_qc
        from meso_core.imaging.registration.fov import registration_is_whole

        if outdated := [fov_name(fov) for fov in fovs if not registration_is_whole(self.job(fov))]:
            raise ProcessingError(
                problem(
                    self.session.path,
                    expected="the raw frames and metadata that registration began with",
                    found=f"others, now that {', '.join(outdated)} came to be published",
                    remedy="Wait until the session is copied, then run motion_registered_frames again",
                )
            )
        staged = self.session.stage("motion_registered_frames")
        for fov in fovs:
            source, target = self.folder / plane_name(fov), staged / "suite2p" / plane_name(fov)
            for file in sorted(source.glob("imaging.frames_motionRegistered*.bin")):
                link(file, target / file.name)
            _copy(source, target, REGISTERED_FILES)
            for name, kept in _AS_REGISTERED.items():
                shutil.copyfile(source / kept, target / name)
        figures = [self._registration_figure(fov, staged) for fov in fovs]
        found = self.registrations(fovs)
        return Product(
            staged,
            settings=settings_of("motion_registered_frames", self.settings, self.overrides),
            qc=tuple(result for fov, one in zip(fovs, found, strict=True) for result in registration_qc(one, fov)),
            metadata={**registration_metadata(found), **picture(figures[0], "shifts over time of FOV_00")},
        )

    def _registration_figure(self, fov: int, staged: Path) -> bytes:
        from meso_core.imaging.figures import registration_figure

        rate = float(self.meta["scanImageParams"]["hRoiManager"]["scanVolumeRate"])
        path = _figure_path(staged, f"{fov_name(fov)}_motion")
        return registration_figure(self.folder / plane_name(fov), rate_hz=rate, path=path)

    def _rois_figure(self, fov: int, staged: Path) -> bytes:
        from meso_core.imaging.figures import rois_figure
        from meso_core.scanimage import um_per_pixel

        path = _figure_path(staged, f"{fov_name(fov)}_rois")
        return rois_figure(self.folder / plane_name(fov), um_per_px=um_per_pixel(self.meta["FOV"][fov]), path=path)

    def begin_rois(self, registered: SessionFiles) -> int:
        """Take back what a person curated since ROIs were published, and make an empty staging folder."""
        for fov in range(len(self.meta["FOV"])):
            if not (self.folder / plane_name(fov)).is_dir():
                raise MissingInputError(
                    problem(
                        self.folder / plane_name(fov),
                        expected="the work folder of motion registration",
                        found="no such folder",
                        remedy="Materialise motion_registered_frames again",
                    )
                )
        self._take_back_curation()
        self.session.stage("rois")
        return len(self.meta["FOV"])

    def _take_back_curation(self) -> None:
        manifest = self.session.manifest("rois")
        if manifest is None:
            return
        from meso_core.imaging.detection.fov import CURATED_FILES
        from meso_core.storage import hash_file

        for record in manifest.files:
            published = self.session.path / record.path
            is_curated = published.name in CURATED_FILES and published.is_file()
            if is_curated and hash_file(published).sha256 != record.sha256:
                shutil.copy2(published, self.folder / published.parent.name / published.name)

    def detect(self, fov: int, progress: Progress) -> DetectionResult:
        """Find the ROIs of one FOV in a worker process, and stage their datasets."""
        from meso_core.imaging import process_fovs
        from meso_core.imaging.export import export_rois, zip_plane
        from meso_core.storage import write_fov

        job = self.job(fov)
        (result,) = process_fovs([job], stages=("detection",), workers=1, progress=progress)
        assert result.detection is not None
        staged = self.session.stage("rois", keep=True)
        where = f"{self.session.key}/{fov_name(fov)}"
        write_fov(staged / "alf" / fov_name(fov), export_rois(job.folder, identity=where), where=where)
        zip_plane(job.folder, staged / "alf" / fov_name(fov) / "_suite2p_ROIData.raw.zip")
        names = [p.name for p in sorted(job.folder.glob("*.npy")) if p.name not in REGISTERED_FILES]
        _copy(job.folder, staged / "suite2p" / plane_name(fov), names)
        return result.detection

    def detections(self, fovs: list[int]) -> list[DetectionResult]:
        """Read what detection found."""
        from meso_core.imaging import load_detection

        return [load_detection(self.folder / plane_name(fov)) for fov in fovs]

    def rois_product(self, fovs: list[int]) -> Product:
        """Hand over the staged datasets of all FOVs."""
        from meso_core.imaging.quality import detection_qc

        staged = self.session.stage("rois", keep=True)
        figures = [self._rois_figure(fov, staged) for fov in fovs]
        found = self.detections(fovs)
        return Product(
            staged,
            settings=settings_of("rois", self.settings, self.overrides),
            qc=tuple(result for fov, one in zip(fovs, found, strict=True) for result in detection_qc(one, fov)),
            metadata={
                **rois_metadata(found),
                **picture(figures[0], "mean image of FOV_00 with outlines of ROIs"),
            },
        )


def _figure_path(staged: Path, name: str) -> Path:
    path = staged / FIGURES / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def link(source: Path, target: Path) -> None:
    """Give a file a second name; copy it where the file system cannot."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _copy(source: Path, target: Path, names: tuple[str, ...] | list[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
