"""A whole session, from settings to files.

What belongs here: the order in which files are made, and where they go. What does not: how each of them is made.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import StorageError
from ..progress import Progress, silent
from ..session import SessionKey, fov_name
from .config import SimulationConfig
from .faults import Faults, check_faults, folder_number, pulses, qc_short_by, spoil_files, spoil_pages
from .files import rigfiles
from .files.clock import daq_duration
from .files.pages import WrittenTif, plan_tifs, write_tifs
from .files.plain import PlainMovie
from .files.reference import write_reference
from .files.rigmeta import write_rig_metadata
from .files.timeline import write_software_events, write_timeline
from .plan import SessionPlan, make_plan
from .tissue.motion import brain_motion
from .tissue.movie import FovMovie, make_movie
from .truth import config_from_json, write_truth


@dataclass(frozen=True, slots=True)
class SimulatedSession:
    """Where a simulated session and its truth are."""

    key: SessionKey
    session_path: Path
    truth_path: Path
    #: True if the same session was there before; it was not changed.
    kept: bool = field(default=False, compare=False)


def simulate_session(
    root: str | Path,
    config: SimulationConfig,
    *,
    faults: Sequence[str] = (),
    progress: Progress = silent,
) -> SimulatedSession:
    """Write a session as a rig leaves it, and its ground truth beside the root.

    The session gets its name only when it is complete. The same settings give the same bytes.

    Parameters
    ----------
    root
        Folder of sessions (``MESO_ROOT``). The truth goes to ``<root>.truth``, never inside.
    config
        What to simulate: a :func:`preset`, :func:`config_from_meta`, or any other settings.
    faults
        Faults that the session gets: names from ``FAULTS``. A fault of frames or of a tif's end may say where it is,
        as a share of the last bout or tif: ``truncated_tif@0.9``.
    progress
        Called while frames are written.

    Returns
    -------
    SimulatedSession
        If the same session is there already, made from the same settings, it is not changed.

    Raises
    ------
    SettingsError
        If a fault is unknown, or impossible with these settings.
    StorageError
        If another session is there.
    """
    wrong, names = check_faults(faults, config), sorted(set(faults))
    root = Path(root)
    truth_root = root.with_name(root.name + ".truth")
    made = SimulatedSession(config.key, config.key.folder(root), config.key.folder(truth_root))
    if made.session_path.exists():
        return _kept(made, config, names)
    made = replace(made, session_path=made.session_path.with_name(folder_number(config, wrong)))
    plan = make_plan(config)
    session, truth = drafts = [p.with_name(f".{p.name}.part") for p in (made.session_path, made.truth_path)]
    try:
        for draft in drafts:
            _fresh(draft)
        movies = _movies(plan, truth)
        tifs = _write_session(session, plan, movies, wrong, progress)
        write_truth(truth, plan, [m for m in movies if isinstance(m, FovMovie)], names, tifs)
        # the truth comes first, so that every session has its truth
        for draft, place in ((truth, made.truth_path), (session, made.session_path)):
            if place.exists():
                shutil.rmtree(place)
            draft.rename(place)
    finally:  # a killed run leaves its drafts; the next run removes them
        for draft in drafts:
            shutil.rmtree(draft, ignore_errors=True)
    return made


def _kept(made: SimulatedSession, config: SimulationConfig, faults: list[str]) -> SimulatedSession:
    """Accept an existing session if it has the same settings and faults."""
    head = made.truth_path / "truth.json"
    if head.is_file():
        known = json.loads(head.read_text(encoding="utf-8"))
        if config_from_json(known["config"]) == config and known["faults"] == faults:
            return replace(made, kept=True)
    raise StorageError.at(
        made.session_path,
        expected="nothing, or the same simulated session",
        found="another session",
        remedy="Choose another root, subject or number, or move the folder away",
    )


def _fresh(draft: Path) -> None:
    """Make an empty folder to write into, without what a killed run left there."""
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(parents=True)


def _movies(plan: SessionPlan, truth: Path) -> list[FovMovie | PlainMovie]:
    """Prepare the movies; none if the settings turn them off."""
    folders = [truth / fov_name(i) for i in range(len(plan.geometry.fovs))]
    for folder in folders:
        folder.mkdir()
    if not plan.config.write_movie:
        return []
    if plan.config.plain_movie:
        return [PlainMovie(plan, i) for i in range(len(folders))]
    brain = brain_motion(plan.config, plan.frame_times)
    return [make_movie(plan, i, brain, folder) for i, folder in enumerate(folders)]


def _write_session(
    session: Path, plan: SessionPlan, movies: list[FovMovie | PlainMovie], faults: Faults, progress: Progress
) -> list[list[WrittenTif]]:
    """Write all files of a session, ``raw_session.flag`` last; return the tifs of each bout."""
    c, g = plan.config, plan.geometry
    written: list[list[WrittenTif]] = []
    for bout in plan.bouts:
        folder = session / f"raw_imaging_data_{bout.index:02d}"
        folder.mkdir()
        if movies:
            tifs = spoil_pages(plan_tifs(plan, bout), faults, c, bout.index)
            written.append(write_tifs(plan, movies, bout, folder, tifs, progress))
            if not c.plain_movie:
                write_reference(folder, plan, bout)
        if c.write_metadata:
            write_rig_metadata(folder, c, g, bout)
        short_by = qc_short_by(faults, bout.index, len(plan.bouts))
        kinds = plan.faults[bout.index][g.saved_frames(len(bout.scanimage))]
        rigfiles.write_frame_qc(folder, kinds, bout.index, short_by)
    sync = session / "raw_sync_data"
    sync.mkdir()
    write_timeline(sync, c, pulses(plan, faults), daq_duration(c, g, plan.bouts))
    seen = plan.bouts[:-1] if "missing_bout" in faults else plan.bouts
    write_software_events(sync, c, seen, g.frame_period)
    if movies and isinstance(movies[0], FovMovie):
        rigfiles.write_snapshots(session, movies[0].scene.base)
    rigfiles.write_description(session, c)
    spoil_files(session, faults)
    (session / "raw_session.flag").touch()
    return written
