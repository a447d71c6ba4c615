"""The gate before raw tifs are removed, and the removal.

What belongs here: the decision, as a pure function of what is recorded and what is on disk, and the one function of
this project that deletes raw data. It deletes a tif only if its archive's content was compared with just this tif,
the archive and the tif are still what they were then, and the session was processed and passed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..errors import ArchiveError, GateError, SettingsError, problem
from ..progress import Progress, silent
from ..qc import QCResult, Verdict
from ..scanimage.bouts import find_meta, read_meta
from ..session import MESO_FOLDER, imaging_bouts, plane_name, raw_tifs
from ..storage.hashing import sync_folder
from .chosen import archives_in
from .plain import plain_bytes
from .rawtif import hash_file_content
from .report import ArchiveReport, load_report

MOTION_REGISTERED = "imaging.frames_motionRegistered.bin"


@dataclass(frozen=True, slots=True)
class Override:
    """A person's decision to remove tifs although quality control or processing says no."""

    who: str
    why: str

    def __post_init__(self) -> None:
        if not self.who.strip() or not self.why.strip():
            raise SettingsError(
                problem("override", expected="who and why", found=f"{self}", remedy="Give your name and the reason")
            )


@dataclass(frozen=True, slots=True)
class PlannedRemoval:
    """One tif to remove, and what proves that it is safe elsewhere."""

    #: Path below the session.
    path: str
    size: int
    mtime_ns: int
    sha256: str
    md5: str
    #: Path of the archive below the session.
    archive: str
    archive_sha256: str


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why tifs may not be removed."""

    where: str
    message: str
    #: Whether a person may decide otherwise. Never where the archive is in doubt.
    can_be_overridden: bool


@dataclass(frozen=True, slots=True)
class RemovalPlan:
    """What would be removed from a session (the dry run), or why nothing may be."""

    session_path: Path
    removals: tuple[PlannedRemoval, ...]
    obstacles: tuple[Obstacle, ...]
    override: Override | None = None

    @property
    def allowed(self) -> bool:
        """Whether :func:`remove_raw_tifs` would go ahead."""
        left = [o for o in self.obstacles if not (self.override and o.can_be_overridden)]
        return bool(self.removals) and not left

    @property
    def freed_bytes(self) -> int:
        """Bytes of the tifs to remove."""
        return sum(r.size for r in self.removals)


@dataclass(frozen=True, slots=True)
class RemovalEvent:
    """One tif that was removed; a line of ``.meso/removals.jsonl``, written before the tif went."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    md5: str
    archive: str
    archive_sha256: str
    #: ISO 8601, UTC.
    at: str
    #: Who overrode the gate and why; None where it was open.
    override: Override | None = None


def removal_plan(session_path: Path, qc: Sequence[QCResult] | None, *, override: Override | None = None) -> RemovalPlan:
    """Decide which raw tifs of a session may be removed. Nothing is changed.

    Parameters
    ----------
    session_path
        Session folder.
    qc
        Stored quality control results of the session; none at all forbid the removal.
    override
        A person's decision. It opens the gate where QC or processing closes it, never where an archive is in doubt.

    Returns
    -------
    RemovalPlan
        All bouts together: one that is in doubt keeps the tifs of all.
    """
    session_path = Path(session_path)
    removals: list[PlannedRemoval] = []
    obstacles = _processing_obstacles(session_path, qc)
    for bout in imaging_bouts(session_path):
        tifs = raw_tifs(bout)
        if tifs:
            planned, found = _plan_bout(session_path, bout, tifs)
            removals += planned
            obstacles += found
    if not removals and not obstacles:
        obstacles.append(Obstacle(str(session_path), "there are no raw tifs", can_be_overridden=False))
    return RemovalPlan(session_path, tuple(removals), tuple(obstacles), override)


def remove_raw_tifs(plan: RemovalPlan, *, progress: Progress = silent) -> tuple[RemovalEvent, ...]:
    """Remove the tifs of a plan, after everything that it rests on was read and hashed again.

    All archives and all tifs are hashed before the first tif goes. Each removal is recorded, and the record is on the
    disk, before it happens.

    Parameters
    ----------
    plan
        From :func:`removal_plan`.
    progress
        Told of bytes hashed, then of tifs removed.

    Returns
    -------
    tuple of RemovalEvent

    Raises
    ------
    GateError
        If the gate is closed, or anything has changed since the plan was made. Then no tif was removed.
    """
    if not plan.allowed:
        raise _closed(plan.session_path, [f"{o.where}: {o.message}" for o in plan.obstacles] or ["nothing to remove"])
    _check_plan(plan)
    identities = _check_content(plan, progress)
    events = []
    for number, planned in enumerate(plan.removals, 1):
        tif = plan.session_path / planned.path
        if _identity(tif) != identities[planned.path]:
            raise _closed(plan.session_path, [f"{planned.path}: it changed at the last moment and was kept"])
        now = datetime.now(UTC).isoformat(timespec="seconds")
        event = RemovalEvent(**asdict(planned), at=now, override=plan.override if plan.obstacles else None)
        _record(plan.session_path, event)
        tif.unlink()
        sync_folder(tif.parent)
        events.append(event)
        progress(number, len(plan.removals), "tifs removed")
    return tuple(events)


def load_removals(session_path: Path) -> tuple[RemovalEvent, ...]:
    """Read the removals recorded for a session, oldest first."""
    path = Path(session_path) / MESO_FOLDER / "removals.jsonl"
    if not path.exists():
        return ()
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        body = json.loads(line)
        override = body.pop("override")
        events.append(RemovalEvent(**body, override=Override(**override) if override else None))
    return tuple(events)


def _processing_obstacles(session_path: Path, qc: Sequence[QCResult] | None) -> list[Obstacle]:
    obstacles = []
    missing = [plane for plane in _planes(session_path) if not _has_frames(session_path / "suite2p" / plane)]
    if missing:
        message = f"there are no motion-registered frames ({MOTION_REGISTERED})"
        obstacles.append(Obstacle(f"suite2p: {', '.join(missing)}", message, can_be_overridden=True))
    if not qc:
        obstacles.append(Obstacle("quality control", "there are no results yet", can_be_overridden=True))
    obstacles += [
        Obstacle(f"check {r.check}" + (f" of {r.fov}" if r.fov else ""), r.message, can_be_overridden=True)
        for r in qc or ()
        if r.verdict is Verdict.FAIL
    ]
    return obstacles


def _planes(session_path: Path) -> list[str]:
    """Planes that a processed session has: one per FOV of the metadata, at least one."""
    metas = [meta for bout in imaging_bouts(session_path) if (meta := find_meta(bout)) is not None]
    n_fovs = max((len(read_meta(meta)["FOV"]) for meta in metas), default=1)
    return [plane_name(i) for i in range(max(n_fovs, 1))]


def _has_frames(plane: Path) -> bool:
    movie = plane / MOTION_REGISTERED
    return movie.is_file() and movie.stat().st_size > 0


def _plan_bout(session_path: Path, bout: Path, tifs: Sequence[Path]) -> tuple[list[PlannedRemoval], list[Obstacle]]:
    """Compare the tifs of a bout with the recorded verification of its archive, by names, sizes and times."""
    report = load_report(session_path, bout.name)
    problems = _doubts(bout, report)
    if report is None or problems:
        return [], [Obstacle(bout.name, message, can_be_overridden=False) for message in problems]
    members = {m.name: m for m in report.members}
    planned = []
    for tif in tifs:
        member, status = members.get(tif.name), tif.lstat()
        if member is None or tif.is_symlink():
            problems.append(f"{tif.name} is not in the archive")
        elif (status.st_size, status.st_mtime_ns) != (member.size, member.mtime_ns):
            problems.append(f"{tif.name} changed after it was archived (size or time)")
        else:
            path = tif.relative_to(session_path).as_posix()
            archive = (bout / report.name).relative_to(session_path).as_posix()
            hashes = (member.sha256, member.md5, archive, report.sha256)
            planned.append(PlannedRemoval(path, member.size, member.mtime_ns, *hashes))
    return planned, [Obstacle(bout.name, message, can_be_overridden=False) for message in problems]


def _doubts(bout: Path, report: ArchiveReport | None) -> list[str]:
    """Tell what makes the archive of a bout unfit to be the only copy."""
    if report is None:
        return ["no verification of an archive is recorded for this bout"]
    if not report.compared_with_tifs:
        return [f"{report.name} was never compared with these tifs"]
    archive = bout / report.name
    if not archive.exists() or archive.is_symlink():
        return [f"{report.name} is recorded, but not there"]
    try:
        plain_bytes(archive)
    except ArchiveError as error:
        return [str(error)]
    if archive.is_file() and archive.stat().st_size != report.size:
        return [f"{report.name} changed after it was verified (size)"]
    if others := [other.name for other in archives_in(bout) if other != archive]:
        return [f"{', '.join(others)} lies beside {report.name}, the archive on record: move it away"]
    return []


def _check_plan(plan: RemovalPlan) -> None:
    """Make the plan's facts again from the disk: whoever made it, only what stands there now counts."""
    facts, doubts = [], []
    bouts = dict.fromkeys(Path(r.path).parent.name for r in plan.removals)
    for name in bouts:
        bout = plan.session_path / name
        planned, obstacles = _plan_bout(plan.session_path, bout, raw_tifs(bout))
        facts += planned
        doubts += [f"{o.where}: {o.message}" for o in obstacles]
    doubts += [f"{r.path}: not as it was when the plan was made" for r in plan.removals if r not in facts]
    if doubts:
        raise _closed(plan.session_path, doubts)


def _check_content(plan: RemovalPlan, progress: Progress) -> dict[str, tuple[int, int, int]]:
    """Hash all archives and all tifs of a plan; returns what identifies each tif."""
    from .zarr_write import folder_hash

    doubts = []
    for path, sha256 in {r.archive: r.archive_sha256 for r in plan.removals}.items():
        archive = plan.session_path / path
        try:
            found = folder_hash(archive)[1] if archive.is_dir() else hash_file_content(archive)
        except ArchiveError as error:
            doubts.append(str(error))
            continue
        if found != sha256:
            doubts.append(f"{path}: other content than was verified")
    identities, done = {}, 0
    for planned in plan.removals:
        tif = plan.session_path / planned.path
        identities[planned.path] = _identity(tif)
        if hash_file_content(tif) != planned.sha256 or _identity(tif) != identities[planned.path]:
            doubts.append(f"{planned.path}: other content than was archived")
        done += planned.size
        progress(done, plan.freed_bytes, "bytes hashed again")
    if doubts:
        raise _closed(plan.session_path, doubts)
    return identities


def _identity(tif: Path) -> tuple[int, int, int]:
    status = tif.lstat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def _record(session_path: Path, event: RemovalEvent) -> None:
    path = session_path / MESO_FOLDER / "removals.jsonl"
    path.parent.mkdir(exist_ok=True)
    # ASCII with escapes: a name that is not UTF-8 has no other spelling
    line = json.dumps(asdict(event), sort_keys=True) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def _closed(session_path: Path, reasons: Sequence[str]) -> GateError:
    return GateError(
        problem(
            session_path,
            expected="an open gate for the removal of raw tifs",
            found="; ".join(reasons),
            remedy="Archive and process the session first; an override (who and why) cannot replace a verified archive",
        )
    )
