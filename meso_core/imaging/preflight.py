"""Whether a session can be processed at all, asked before anything that takes long: room, memory, and for how long.

What belongs here: pure rules over the session's metadata, the machine and what earlier runs took. What does not: asking
the disk or the records, and reading the session (the platform does), and the pulses of the DAQ (``timing``), whose
answer is given as findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from ..counting import lasting
from ..errors import MesoError, ProcessingError, StorageError
from ..qc import QCResult, Verdict
from .needs import StepNeeds, Work, needs_of_work
from .workload import Due, PastStep, Plan, Step

ORIGIN = "meso_core.imaging.preflight"
#: Name of the check of the disk.
ROOM = "room_on_disk"
#: The estimate of memory is from above. Where even half of it is not there, a worker is killed for sure.
_SURE = 0.5
_REMEDY = "Mend each of them, then run again; `meso preflight SESSION` lists them"
#: What a step leaves, as a share of what goes in, where no earlier run has told it. Too little for an archive does no
#: harm: it tries some of the tifs before it begins.
_LEAVES: Mapping[Step, float] = {Step.ARCHIVE: 0.7, Step.REGISTRATION: 1.0, Step.DETECTION: 0.1}


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What this machine has for a session."""

    #: Folder whose disk is filled.
    folder: str
    free_bytes: int
    #: That a FOV may have; None where each step is given what it needs.
    memory_bytes: int | None
    #: FOVs that are worked on side by side.
    n_parallel: int = 1
    #: That one step may have.
    cores: int = 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """What processing a session will take."""

    #: At the peak, besides what is there.
    room_bytes: int
    #: Of one FOV, from above; None where the imaging metadata are not known, or no FOV is processed.
    memory_bytes: int | None
    #: Of the steps that take long, s; None where an earlier run has not done one of them.
    seconds: float | None

    def __str__(self) -> str:
        room = f"{self.room_bytes / 1e9:.1f} GB" if self.room_bytes >= 1e9 else f"{self.room_bytes / 1e6:.0f} MB"
        parts = [f"{room} on the disk"]
        if self.memory_bytes is not None:
            parts.append(f"{self.memory_bytes / 1e9:.1f} GB of memory for a field of view")
        if self.seconds is None:
            parts.append("time not estimated, for want of an earlier run on this machine")
        else:
            parts.append(f"about {lasting(self.seconds)} (measured on this machine)")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Finding:
    """One verdict, and the error to raise where it is that the session cannot be processed."""

    result: QCResult
    error: MesoError | None = None


@dataclass(frozen=True, slots=True)
class Preflight:
    """What is known of a session before it is processed."""

    session: str
    findings: tuple[Finding, ...]
    estimate: Estimate
    #: What each kind of step needs.
    needs: Mapping[Work, StepNeeds] = field(default_factory=dict)
    #: FOVs that are worked on, each in a step of its own.
    n_fovs: int = 1

    @property
    def results(self) -> tuple[QCResult, ...]:
        """The verdicts."""
        return tuple(finding.result for finding in self.findings)

    @property
    def errors(self) -> tuple[MesoError, ...]:
        """Why the session cannot be processed; none where it can."""
        return tuple(finding.error for finding in self.findings if finding.error is not None)

    def refuse(self, *checks: str) -> None:
        """Raise why the session cannot be processed; does nothing where it can.

        Parameters
        ----------
        *checks
            The checks that count; all by default.

        Raises
        ------
        MesoError
            The one reason as it is, or a :class:`ProcessingError` with all of them.
        """
        findings = [finding for finding in self.findings if not checks or finding.result.check in checks]
        errors = [finding.error for finding in findings if finding.error is not None]
        if len(errors) == 1:
            raise errors[0]
        if errors:
            found = "; ".join(f"({n}) {str(error).rstrip('.')}" for n, error in enumerate(errors, 1))
            raise ProcessingError.at(
                self.session, expected="a session that can be processed", found=found, remedy=_REMEDY
            )


def judge_session(
    session: str, due: Due, machine: MachineFacts, past: Sequence[PastStep] = (), others: Iterable[Finding] = ()
) -> Preflight:
    """Judge whether what is due of a session fits the machine, and estimate what it takes.

    Parameters
    ----------
    session
        Name of the session, for messages.
    due
        What is to be made, from what.
    machine
        What the machine has.
    past
        Steps of earlier runs on this machine.
    others
        Findings of other rooms: whether metadata can be read, whether frames match the DAQ's pulses.

    Returns
    -------
    Preflight
        Nothing is raised: the findings carry the errors.
    """
    plan = Plan.of(due)
    estimate = Estimate(_room(due, plan, machine, past), plan.memory, _seconds(due, plan, past))
    findings = [*others]
    if due.steps:
        findings.append(_judge_room(session, estimate.room_bytes, machine))
    if plan.memory is not None and machine.memory_bytes is not None:
        findings.append(_judge_memory(session, plan.memory, machine.memory_bytes))
    needs = needs_of_work(due, plan, cores=machine.cores, past=past)
    return Preflight(session, tuple(findings), estimate, needs, plan.n_fovs)


def _room(due: Due, plan: Plan, machine: MachineFacts, past: Sequence[PastStep]) -> int:
    """Bytes at the peak: movies as they were cut and registered ones are there together for a while."""
    movies = plan.movie_bytes
    left = {step: _leaves(step, past) for step in Step}
    cut = registered = found = 0.0
    if Step.REGISTRATION in due.steps:
        registered = movies * left[Step.REGISTRATION]
        cut = plan.cut_bytes + registered * min(1.0, machine.n_parallel / plan.n_fovs)
    if Step.DETECTION in due.steps:
        found = 2 * movies * left[Step.DETECTION]  # in the work folder and where it is published
    archive = due.raw_bytes * left[Step.ARCHIVE] if Step.ARCHIVE in due.steps else 0.0
    return max(0, int(max(cut, registered + found) + archive) - due.left_bytes) + due.fetched_bytes


def _leaves(step: Step, past: Sequence[PastStep]) -> float:
    shares = [one.bytes_out / one.bytes_in for one in past if one.step is step and one.bytes_in]
    return median(shares) if shares else _LEAVES[step]


def _seconds(due: Due, plan: Plan, past: Sequence[PastStep]) -> float | None:
    """Wall time; the archive is made beside the other two."""
    took: dict[Step, float] = {}
    for step in due.steps:
        rates = [one.seconds / one.bytes_in for one in past if one.step is step and one.bytes_in]
        if not rates:
            return None
        took[step] = median(rates) * (due.raw_bytes if step is Step.ARCHIVE else plan.movie_bytes)
    movies = took.get(Step.REGISTRATION, 0.0) + took.get(Step.DETECTION, 0.0)
    return max(took.get(Step.ARCHIVE, 0.0), movies)


def _judge_room(session: str, needed: int, machine: MachineFacts) -> Finding:
    check, free = ROOM, machine.free_bytes
    if needed <= free:
        message = f"{needed / 1e9:.3f} GB needed, {free / 1e9:.3f} GB free on the disk of {machine.folder}"
        return Finding(QCResult(check, Verdict.PASS, needed, free, message, ORIGIN))
    error = StorageError.at(
        machine.folder,
        expected=f"room for about {needed / 1e9:.3f} GB, for the movies and the archive of {session}",
        found=f"{free / 1e9:.3f} GB free",
        remedy="Free space on this disk, or move the session to another one",
    )
    return Finding(QCResult(check, Verdict.FAIL, needed, free, str(error), ORIGIN), error)


def _judge_memory(session: str, needed: int, there: int) -> Finding:
    check = "memory_per_fov"
    what = f"up to {needed / 1e9:.1f} GB of memory for its largest field of view, {there / 1e9:.1f} GB to be used"
    if needed <= there:
        return Finding(QCResult(check, Verdict.PASS, needed, there, what, ORIGIN))
    if needed * _SURE <= there:
        message = f"{what}: a worker may be killed for want of memory; then lower suite2p's option nbins (MESO_SUITE2P)"
        return Finding(QCResult(check, Verdict.WARNING, needed, there, message, ORIGIN))
    error = ProcessingError.at(
        session,
        expected=f"about {needed / 1e9:.1f} GB of memory for its largest field of view",
        found=f"{there / 1e9:.1f} GB to be used",
        remedy="Raise MESO_MEMORY_GB if the machine has more, use a machine that has, or lower suite2p's options "
        "nbins and nimg_init (MESO_SUITE2P)",
    )
    return Finding(QCResult(check, Verdict.FAIL, needed, there, str(error), ORIGIN), error)
