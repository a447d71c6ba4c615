"""Which raw tifs of a session may be removed, or why none may.

What belongs here: the decision, as a function of what is recorded and what is on disk. ``removal`` follows it, after
a comparison of the content.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...errors import ArchiveError, GateError
from ...qc import DEFAULT_LIMITS, Limits, QCResult
from ...review import REJECT, decision, person_verdicts
from ...session import imaging_bouts, printable, raw_tifs
from ...storage import Manifest, load_manifest
from ...storage.files.atomic import storage_errors
from ...storage.files.times import same_time
from ..report import ArchiveReport, load_report
from ..selection import archives_in, holds
from ..untrusted import plain_bytes
from .folder import Folder
from .kept import as_place
from .log import Override
from .place import Place
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
    #: Names under which the motion-registered frames and the archives were published.
    frames_asset: str
    archive_asset: str
    removals: tuple[PlannedRemoval, ...]
    obstacles: tuple[Obstacle, ...]
    override: Override | None = None
    #: Verdicts besides the stored ones.
    qc: tuple[QCResult, ...] = ()
    #: Whether the tifs can be opened where they are seen; if not, the archive's record tells how many pages there are.
    opens_tifs: bool = True
    #: Those with which the stored verdicts are judged.
    limits: Limits = field(default_factory=dict)
    #: Raw tifs that are in the bouts.
    n_tifs: int = 0

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
    where: Path | Place,
    frames_asset: str,
    qc: Sequence[QCResult] | None = None,
    *,
    archive_asset: str,
    override: Override | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> RemovalPlan:
    """Decide which raw tifs of a session may be removed. Nothing is changed.

    Parameters
    ----------
    where
        Session folder, or the place of its tifs; the verdicts stored in it (``reports/qc``) count.
    frames_asset
        Name under which the motion-registered frames were published: they prove that the session was processed.
    qc
        Further quality control results.
    archive_asset
        Name under which the archives were published: their records must agree with its manifest.
    override
        A person's decision. It opens the gate where QC or processing closes it, never where an archive is in doubt, or
        where a person has rejected the session.
    limits
        Those with which the stored verdicts are judged.

    Returns
    -------
    RemovalPlan
        All bouts together: one that is in doubt keeps the tifs of all.

    Raises
    ------
    ArchiveError, InputFileError, StorageError
        If a record, a tif or the session's folder cannot be read.
    """
    place, qc = as_place(where), tuple(qc or ())
    place.look()
    session_path, opens_tifs = place.session_path, isinstance(place, Folder)
    with storage_errors(session_path):
        obstacles = _processing_obstacles(session_path, frames_asset, qc, opens_tifs=opens_tifs, limits=limits)
        kept = place.kept()
        if interrupted := [tif.path for tif in kept if tif.event is None]:
            message = f"the removal of {', '.join(interrupted)} was interrupted: `meso restore` puts them back"
            obstacles.append(Obstacle(str(session_path), message, can_be_overridden=False))
        tifs = {bout: raw_tifs(bout) for bout in imaging_bouts(session_path)}
        removals, found = _plan_bouts(session_path, archive_asset, tifs)
    obstacles += found
    if not removals and not obstacles:
        obstacles.append(Obstacle(str(session_path), "there are no raw tifs", can_be_overridden=False))
    named = tuple(replace(o, where=place.named(o.where), message=place.named(o.message)) for o in obstacles)
    return RemovalPlan(
        session_path,
        frames_asset,
        archive_asset,
        tuple(removals),
        named,
        override,
        qc,
        opens_tifs,
        limits,
        sum(map(len, tifs.values())),
    )


def check_plan(plan: RemovalPlan, moved: Iterable[Path] = (), *, place: Place | None = None) -> bool:
    """Check a plan against the disk again; returns whether the override was needed.

    Parameters
    ----------
    plan
        The plan.
    moved
        Tifs of it that were moved out of their bouts meanwhile.
    place
        Where the tifs lie, if not in the folder of the plan.

    Raises
    ------
    GateError
        If it does not hold any more.
    """
    place = place or as_place(plan.session_path)
    place.look()
    obstacles = _processing_obstacles(
        plan.session_path, plan.frames_asset, plan.qc, opens_tifs=plan.opens_tifs, limits=plan.limits
    )
    bouts = [plan.session_path / name for name in dict.fromkeys(Path(r.path).parent.name for r in plan.removals)]
    tifs = {bout: (*raw_tifs(bout), *(tif for tif in moved if tif.parent.name == bout.name)) for bout in bouts}
    facts, found = _plan_bouts(plan.session_path, plan.archive_asset, tifs)
    obstacles += found
    doubts = place.doubts(bouts)
    doubts += [f"{o.where}: {o.message}" for o in obstacles if not (plan.override and o.can_be_overridden)]
    doubts += [f"{r.path}: not as it was when the plan was made" for r in plan.removals if r not in facts]
    if doubts:
        raise closed(plan.session_path, doubts)
    return bool(obstacles)


def archive_doubts_of(bout: Path, report: ArchiveReport | None, manifest: Manifest | None) -> list[str]:
    """Say why the archive of a bout cannot be the only copy, as records and names on the disk say."""
    if bout.is_symlink():
        target = printable(str(bout.readlink()))
        return [f"it is a link to {target}: what lies elsewhere is not removed. Put the folder in place of the link"]
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
        return [str(error).rstrip(".")]
    if archive.is_file() and archive.stat().st_size != report.size:
        return [f"{report.name} changed after it was verified (size)"]
    if others := [other.name for other in archives_in(bout) if other != archive]:
        return [f"{', '.join(others)} lies beside {report.name}, the archive on record: move it away"]
    return _manifest_doubts(report, manifest)


def closed(session_path: Path, reasons: Sequence[str]) -> GateError:
    """Make the error of a gate that is closed."""
    return GateError.at(
        session_path,
        expected="an open gate for the removal of raw tifs",
        found="; ".join(reasons),
        remedy="Archive and process the session first; an override (who and why) cannot replace a verified archive",
    )


def _processing_obstacles(
    session_path: Path, frames_asset: str, qc: Sequence[QCResult], *, opens_tifs: bool, limits: Limits
) -> list[Obstacle]:
    doubts = processing_doubts(session_path, frames_asset, qc, opens_tifs=opens_tifs, limits=limits)
    found = [Obstacle(where, message, can_be_overridden=True) for where, message in doubts]
    person = decision(person_verdicts(session_path))
    if person is not None and person.says == REJECT:
        told = f"the session was {person.told}; its tifs stay until a person accepts it (meso qc set)"
        found.append(Obstacle("verdict of a person", told, can_be_overridden=False))
    return found


def _plan_bouts(
    session_path: Path, archive_asset: str, tifs: dict[Path, tuple[Path, ...]]
) -> tuple[list[PlannedRemoval], list[Obstacle]]:
    manifest = load_manifest(session_path, archive_asset) if any(tifs.values()) else None
    removals: list[PlannedRemoval] = []
    obstacles: list[Obstacle] = []
    for bout, of_bout in tifs.items():
        if of_bout:
            planned, found = _plan_bout(bout, of_bout, manifest)
            removals += planned
            obstacles += found
    return removals, obstacles


def _plan_bout(
    bout: Path, tifs: Sequence[Path], manifest: Manifest | None
) -> tuple[list[PlannedRemoval], list[Obstacle]]:
    """Compare the tifs of a bout with the recorded verification of its archive, by names, sizes and times."""
    report = load_report(bout.parent, bout.name)
    problems = archive_doubts_of(bout, report, manifest)
    if report is None or problems:
        return [], [Obstacle(bout.name, message, can_be_overridden=False) for message in problems]
    members = {m.name: m for m in report.members}
    planned: list[PlannedRemoval] = []
    for tif in tifs:
        member, status = members.get(tif.name), tif.lstat()
        path, archive = f"{bout.name}/{tif.name}", f"{bout.name}/{report.name}"
        if member is None:
            problems.append(f"{tif.name} is not in the archive: archive the bout again, or move it out of the bout")
        elif tif.is_symlink():
            problems.append(
                f"{tif.name} is a link to {printable(str(tif.readlink()))}: what lies elsewhere is not removed. Put "
                "the tif itself in place of the link, or move the link out of the bout"
            )
        elif status.st_size != member.size or not same_time(status.st_mtime_ns, member.mtime_ns):
            problems.append(f"{tif.name} changed after it was archived (size or time)")
        elif path in [p.path for p in planned]:
            problems.append(f"a new {tif.name} has appeared")
        else:
            hashes = (member.sha256, member.md5, archive, report.sha256)
            planned.append(PlannedRemoval(path, member.size, status.st_mtime_ns, *hashes))
    obstacles = [Obstacle(bout.name, message, can_be_overridden=False) for message in problems]
    if mismatch := page_mismatch(bout, report.n_pages):
        obstacles.append(Obstacle(bout.name, mismatch, can_be_overridden=True))
    return planned, obstacles


def _manifest_doubts(report: ArchiveReport, manifest: Manifest | None) -> list[str]:
    """Compare the record of an archive with what was published."""
    place = f"{report.bout}/{report.name}"
    if manifest is None:
        return [f"{report.name} was not published: there is no manifest of it"]
    if not holds({file.path: file.sha256 for file in manifest.files}, report):
        return [f"the record of {report.name} and the manifest of {manifest.asset} tell of different archives"]
    if tuple(manifest.contents.get(place, ())) != report.contents:
        return [f"the record of {report.name} and the manifest of {manifest.asset} list different tifs"]
    return []
