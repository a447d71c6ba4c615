"""What processing leaves in a session, without running suite2p: movies of the true size, published with verdicts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from meso_core.archive import session_sources
from meso_core.errors import MesoWarning
from meso_core.qc import QCResult, Verdict, qc_path, results_to_json
from meso_core.scanimage import bin_per_plane, load_meta_files
from meso_core.storage import RunProvenance, publish, stage_folder

ASSET = "motion_registered_frames"
PASS = QCResult("crispness_rises", Verdict.PASS, 1.2, 1.0, "registration sharpened the mean image", "test")


def register(session: Path, qc: Sequence[QCResult] = (PASS,)) -> None:
    """Publish the movies as the pages are split, under the names that motion registration gives them."""
    staged = stage_folder(session, ASSET)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MesoWarning)
        movies = bin_per_plane(session_sources(session), load_meta_files(session)[0], staged / "suite2p")
    for movie in movies:
        movie.path.rename(movie.path.with_name("imaging.frames_motionRegistered.bin"))
    verdicts = staged / qc_path(ASSET)
    verdicts.parent.mkdir(parents=True)
    verdicts.write_text(results_to_json(tuple(qc)))
    publish(session, ASSET, staged, RunProvenance("run", "1"))
