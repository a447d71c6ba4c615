"""What processing leaves in a session, without running suite2p: movies of the true size, published with verdicts."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from meso_core.archive import Override, RemovalPlan, bout_source, readable_records, removal_plan
from meso_core.errors import MesoWarning
from meso_core.qc import QCResult, Verdict, qc_path, results_to_json
from meso_core.scanimage import BoutSource, bin_per_plane, load_meta_files
from meso_core.session import imaging_bouts
from meso_core.storage import Basis, MadeBy, Staging, publish

ASSET, ARCHIVE_ASSET = "motion_registered_frames", "imaging_frames_archive"
PASS = QCResult("crispness_rises", Verdict.PASS, 1.2, 1.0, "registration sharpened the mean image", "test")


def session_sources(session: Path) -> tuple[BoutSource, ...]:
    """Pages of all bouts of a session."""
    return tuple(bout_source(bout) for bout in imaging_bouts(session))


def plan_of(session: Path, qc: Sequence[QCResult] | None = None, *, override: Override | None = None) -> RemovalPlan:
    """Ask the gate about a session whose movies were published by :func:`register`."""
    return removal_plan(session, ASSET, qc, archive_asset=ARCHIVE_ASSET, override=override)


def publish_archives(session: Path) -> None:
    """Publish the archives on record, as the platform does."""
    staging, contents = Staging(session, ARCHIVE_ASSET), {}
    for report in readable_records(session):
        archive = session / report.bout / report.name
        files = [file for file in archive.rglob("*") if file.is_file()] if archive.is_dir() else [archive]
        for file in files:
            staged = staging.folder / file.relative_to(session)
            staged.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, staged)
        contents[f"{report.bout}/{report.name}"] = report.contents
    if contents:
        publish(session, staging.seal(contents), Basis("1"), MadeBy("run"))


def register(session: Path, qc: Sequence[QCResult] = (PASS,)) -> None:
    """Publish the archives on record, and the movies as the pages are split, under the names of motion registration."""
    publish_archives(session)
    staging = Staging(session, ASSET)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)
        movies = bin_per_plane(session_sources(session), load_meta_files(session)[0], staging.folder / "suite2p")
    for movie in movies:
        movie.path.rename(movie.path.with_name("imaging.frames_motionRegistered.bin"))
    staging.write(qc_path(ASSET), results_to_json(tuple(qc)).encode())
    publish(session, staging.seal(), Basis("1"), MadeBy("run"))
