"""The gate before raw tifs are removed, and the removal.

What belongs here: the decision, as a pure function of what is recorded and what is on disk, and the one function of
this project that deletes raw data. It deletes a tif only if its archive's content was compared with just this tif,
the archive and the tif are still what they were then, and the session was processed and passed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from ...errors import ArchiveError, GateError, problem
from ...progress import Progress, silent
from ...qc import QCResult
from ...session import imaging_bouts, raw_tifs
from ...storage.atomic import storage_errors
from ...storage.hashing import sync_folder
from ..rawtif import hash_file_content, identity
from ..report import ArchiveReport, hash_of_listing, load_report
from ..selection import archives_in
from ..untrusted import plain_bytes
from .log import Override, RemovalEvent, recorded
from .processed import page_mismatch, processing_doubts


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
    #: Name under which the motion-registered frames were published.
    frames_asset: str
    removals: tuple[PlannedRemoval, ...]
    obstacles: tuple[Obstacle, ...]
    override: Override | None = None
    #: Verdicts besides the stored ones.
    qc: tuple[QCResult, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether :func:`remove_raw_tifs` would go ahead."""
        left = [o for o in self.obstacles if not (self.override and o.can_be_overridden)]
        return bool(self.removals) and not left

    @property
    def freed_bytes(self) -> int:
        """Bytes of the tifs to remove."""
        return sum(r.size for r in self.removals)


def removal_plan(
    session_path: Path, frames_asset: str, qc: Sequence[QCResult] | None = None, *, override: Override | None = None
) -> RemovalPlan:
    """Decide which raw tifs of a session may be removed. Nothing is changed.

    Parameters
    ----------
    session_path
        Session folder; the verdicts stored in it (``reports/qc``) count.
    frames_asset
        Name under which the motion-registered frames were published: they prove that the session was processed.
    qc
        Further quality control results.
    override
        A person's decision. It opens the gate where QC or processing closes it, never where an archive is in doubt.

    Returns
    -------
    RemovalPlan
        All bouts together: one that is in doubt keeps the tifs of all.

    Raises
    ------
    ArchiveError, InputFileError, StorageError
        If a record, a tif or the session's folder cannot be read.
    """
    session_path, qc = Path(session_path), tuple(qc or ())
    removals: list[PlannedRemoval] = []
    with storage_errors(session_path):
        obstacles = _processing_obstacles(session_path, frames_asset, qc)
        for bout in imaging_bouts(session_path):
            tifs = raw_tifs(bout)
            if tifs:
                planned, found = _plan_bout(session_path, bout, tifs)
                removals += planned
                obstacles += found
    if not removals and not obstacles:
        obstacles.append(Obstacle(str(session_path), "there are no raw tifs", can_be_overridden=False))
    return RemovalPlan(session_path, frames_asset, tuple(removals), tuple(obstacles), override, qc)


def remove_raw_tifs(plan: RemovalPlan, *, progress: Progress = silent) -> tuple[RemovalEvent, ...]:
    """Remove the tifs of a plan, after all archives and tifs were hashed again.

    After the hashing, and before the first tif is removed, the gate is asked again. Each removal is recorded, and the
    record is on the disk, before it happens.

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
        If the gate is closed, anything has changed since the plan was made, or files may not be removed there. Then no
        tif was removed.
    StorageError
        If a removal cannot be recorded, or fails: this tif is there and has no event. Those before it are gone, and
        recorded.
    """
    if not plan.allowed:
        raise _closed(plan.session_path, [f"{o.where}: {o.message}" for o in plan.obstacles] or ["nothing to remove"])
    with storage_errors(plan.session_path):
        _check_plan(plan)
        identities = _check_content(plan, progress)
        overridden = _check_plan(plan)  # hashing takes long
        events = []
        for number, planned in enumerate(plan.removals, 1):
            events.append(_remove(plan, planned, identities[planned.path], overridden=overridden))
            progress(number, len(plan.removals), "tifs removed")
    return tuple(events)


def _remove(
    plan: RemovalPlan, planned: PlannedRemoval, before: tuple[int, int, int], *, overridden: bool
) -> RemovalEvent:
    tif = plan.session_path / planned.path
    if identity(tif) != before:
        raise _closed(plan.session_path, [f"{planned.path}: it has just changed and was kept"])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    event = RemovalEvent(**asdict(planned), at=now, override=plan.override if overridden else None)
    with recorded(plan.session_path, event):
        tif.unlink()
    sync_folder(tif.parent)
    return event


def _processing_obstacles(session_path: Path, frames_asset: str, qc: Sequence[QCResult]) -> list[Obstacle]:
    doubts = processing_doubts(session_path, frames_asset, qc)
    return [Obstacle(where, message, can_be_overridden=True) for where, message in doubts]


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
    obstacles = [Obstacle(bout.name, message, can_be_overridden=False) for message in problems]
    if mismatch := page_mismatch(bout, report.n_pages):
        obstacles.append(Obstacle(bout.name, mismatch, can_be_overridden=True))
    return planned, obstacles


def _doubts(bout: Path, report: ArchiveReport | None) -> list[str]:
    """Say why the archive of a bout cannot be the only copy."""
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


def _check_plan(plan: RemovalPlan) -> bool:
    """Check the plan against the disk again; returns whether the override was needed."""
    obstacles = _processing_obstacles(plan.session_path, plan.frames_asset, plan.qc)
    facts, doubts = [], []
    bouts = dict.fromkeys(Path(r.path).parent.name for r in plan.removals)
    for name in bouts:
        bout = plan.session_path / name
        planned, found = _plan_bout(plan.session_path, bout, raw_tifs(bout))
        facts += planned
        obstacles += found
        if not os.access(bout, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            doubts.append(f"{name}: files may not be removed from this folder")
    doubts += [f"{o.where}: {o.message}" for o in obstacles if not (plan.override and o.can_be_overridden)]
    doubts += [f"{r.path}: not as it was when the plan was made" for r in plan.removals if r not in facts]
    if doubts:
        raise _closed(plan.session_path, doubts)
    return bool(obstacles)


def _check_content(plan: RemovalPlan, progress: Progress) -> dict[str, tuple[int, int, int]]:
    """Hash all archives and all tifs of a plan; returns what identifies each tif."""
    from ..zarr.write import folder_content

    doubts = []
    for path, sha256 in {r.archive: r.archive_sha256 for r in plan.removals}.items():
        archive = plan.session_path / path
        try:
            if archive.is_dir():
                inside = folder_content(archive)
                found, _ = hash_of_listing({name: content.sha256 for name, content in inside.items()})
            else:
                found = hash_file_content(archive)
        except ArchiveError as error:
            doubts.append(str(error))
            continue
        if found != sha256:
            doubts.append(f"{path}: other content than was verified")
    identities, done = {}, 0
    for planned in plan.removals:
        tif = plan.session_path / planned.path
        identities[planned.path] = identity(tif)
        if hash_file_content(tif) != planned.sha256 or identity(tif) != identities[planned.path]:
            doubts.append(f"{planned.path}: other content than was archived")
        done += planned.size
        progress(done, plan.freed_bytes, "bytes hashed again")
    if doubts:
        raise _closed(plan.session_path, doubts)
    return identities


def _closed(session_path: Path, reasons: Sequence[str]) -> GateError:
    return GateError(
        problem(
            session_path,
            expected="an open gate for the removal of raw tifs",
            found="; ".join(reasons),
            remedy="Archive and process the session first; an override (who and why) cannot replace a verified archive",
        )
    )
