"""The steps of one run, and the jobs of SLURM that they are.

What belongs here: when steps are submitted, together or alone, what a job that is over means for its step, and what is
tried once more. What does not: how SLURM is asked (``slurm_commands``), and what a job does (``job``).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import dagster as dg

from meso_core.errors import EngineError, MesoError
from meso_core.imaging.needs import StepNeeds
from meso_core.session import SessionKey

from ....defs.dagster_internals import asset_of_step
from ....defs.dagster_internals.delegating import StepOrder
from ....defs.running.dead_runs import short
from ...engines.slurm_commands import (
    SlurmJob,
    cancel,
    check_slurm,
    jobs_called,
    jobs_of,
    largest_node,
    my_jobs,
    options_of,
    submit,
)
from ...settings.settings import MesoSettings
from ..routing import EngineOfRun, RunNeeds
from .orders import JobOrder, RunFolder, numbered
from .reasons import AGAIN, MORE_MEMORY, state_of, why_over

#: Between two questions to SLURM, s: one for all jobs of the run.
_ASK_EVERY_S = 5.0
#: What begins within this time is submitted together, s.
_TOGETHER_S = 0.8
#: After what a controller that does not answer is asked again, s.
_AGAIN_S = 10.0
#: A step has told its end when its job is over; its records may show it a moment later, s.
_GRACE_S = 4.0
#: SLURM forgets jobs some minutes after their end; one that it never knew it does not come to know, s. One that it
#: has forgotten while it was at work it ends where it finds it.
_UNKNOWN_S, _FORGOTTEN_S = 60.0, 20.0
#: Reasons of waiting that are no news.
_USUAL = {"", "None", "Priority", "Resources", "Dependency", "(null)", "JobArrayTaskLimit", "BeginTime"}


@dataclass(frozen=True, slots=True)
class _Job:
    """The job of a step."""

    id: str
    n: int
    task: int
    needs: StepNeeds
    log: str
    #: Why an earlier job of the step was over, where this one is the second.
    before: str = ""
    submitted: float = 0.0


@dataclass(slots=True)
class _Seen:
    """What was seen of a job."""

    job: SlurmJob | None = None
    over_since: float | None = None
    told: str = ""


class SlurmEngine(EngineOfRun):
    """SLURM for the steps of one run of a session."""

    name = "SLURM"

    def __init__(self, settings: MesoSettings, needs: RunNeeds, run: dg.DagsterRun, key: SessionKey) -> None:
        super().__init__(settings, needs, run, key)
        self._folder = RunFolder(settings.dagster_home, run.run_id)
        self._most = (0, 0)
        self._count = 0
        self._waiting: dict[str, tuple[StepOrder, str]] = {}
        self._waiting_since = 0.0
        self._not_before = 0.0
        self._uncertain: dict[tuple[str, ...], int] = {}
        self._jobs: dict[str, _Job] = {}
        self._seen: dict[str, _Seen] = defaultdict(_Seen)
        self._lost: dict[str, str] = {}
        self._asked_at = 0.0
        #: Asset → jobs of earlier runs that still work on it.
        self._held: dict[str, list[str]] = {}

    def begin(self, tell: Callable[[str], None]) -> None:
        """Check that SLURM takes jobs of this lab, and let what an earlier run has left at work come to its end.

        Raises
        ------
        SettingsError, EngineError
            As :func:`~meso_assets.runs.engines.slurm_commands.check_slurm`.
        """
        check_slurm(self._settings)
        self._most = largest_node(self._settings.slurm_partition)
        left = [job for job in my_jobs("meso-") if not job.is_over and self._folder.run_id not in job.name]
        for run_id in sorted({job.name.removeprefix("meso-").rpartition("-")[0] for job in left}):
            self._find_left(RunFolder(self._settings.dagster_home, run_id), left, tell)

    def _find_left(self, folder: RunFolder, left: Collection[SlurmJob], tell: Callable[[str], None]) -> None:
        for n, order in folder.orders().items():
            if order.session != self._session:
                continue
            jobs = [job for job in left if job.name == folder.name(n)]
            cancel([job.id for job in jobs if job.waits], waiting_alone=True)
            for job in jobs:
                if job.waits:
                    continue
                step = order.steps[int(job.id.partition("_")[2] or 0)]
                self._held.setdefault(asset_of_step(step), []).append(job.id)
                tell(f"job {job.id} of run {short(folder.run_id)} is still at work on {step} on {job.node}: what comes "
                     "after it waits for its end, and goes on with what it leaves")  # fmt: skip

    def launch(self, order: StepOrder) -> str:
        """Take a step; those that begin at the same time are submitted together, a moment later."""
        why = "" if not order.n_before else MORE_MEMORY  # the step itself asked for it: its worker was killed
        self._take(order, why)
        return f"{order.step} is handed to SLURM; logs of its job are in {self._folder.path}"

    def _take(self, order: StepOrder, why: str) -> None:
        self._lost.pop(order.step, None)
        self._waiting_since = self._waiting_since if self._waiting else time.monotonic()
        self._waiting[order.step] = (order, why)

    def terminate(self, order: StepOrder) -> None:
        """Cancel the job of a step."""
        self._waiting.pop(order.step, None)
        job = self._jobs.get(order.step)
        if job is not None:
            cancel([job.id])

    def why_lost(self, order: StepOrder) -> str | None:
        """Why a step will not tell its end any more; None while its job waits or works, or is tried once more."""
        self._submit_waiting(order)
        self._ask(order)
        step = order.step
        if step in self._lost:
            return self._lost[step]
        job = self._jobs.get(step)
        return None if job is None or step in self._waiting else self._judge(order, job)

    def _judge(self, order: StepOrder, job: _Job) -> str | None:
        seen, now = self._seen[job.id], time.monotonic()
        if seen.job is None and (self._silent or now - job.submitted < _UNKNOWN_S):
            seen.over_since = None
            return None
        if seen.job is not None and not seen.job.is_over:
            seen.over_since = None
            self._tell_waiting(order, seen)
            return None
        seen.over_since = seen.over_since or now
        if now - seen.over_since < (_GRACE_S if seen.job else _FORGOTTEN_S):
            return None
        refused = self._folder.why_refused(job.n, job.task)
        state = state_of(seen.job, self._folder.when_begun(job.n, job.task))
        tail = self._folder.tail(job.n, job.task)
        told = refused or why_over(seen.job, state, job.id, job.needs, tail, job.log)
        if not refused and state in AGAIN and not job.before:
            order.tell(f"{told} It is tried once more", {"job": job.id, "node": seen.job.node if seen.job else ""})
            self._take(order, state)
            return None
        return told

    def _tell_waiting(self, order: StepOrder, seen: _Seen) -> None:
        job = seen.job
        if job is not None and job.waits and job.reason not in _USUAL and job.reason != seen.told:
            seen.told = job.reason
            order.tell(f"job {job.id} waits: SLURM says {job.reason}", {"job": job.id})

    def _ask(self, order: StepOrder) -> None:
        """Ask SLURM for all jobs of the run at once."""
        now = time.monotonic()
        if now - self._asked_at < _ASK_EVERY_S or not self._jobs:
            return
        self._asked_at = now
        current = {job.id: self._folder.name(job.n) for step, job in self._jobs.items() if step not in self._waiting}
        open_ids = {one for one in current if (job := self._seen[one].job) is None or not job.is_over}
        try:
            found = jobs_of({one.partition("_")[0] for one in open_ids}) if open_ids else {}
        except MesoError as error:
            if not self._silent:
                order.tell(f"{error} Jobs go on meanwhile; it is asked again", {})
            self._silent = True
            return
        self._silent = False
        for one in open_ids:  # a controller that has forgotten a job may give its number to another one
            job = found.get(one)
            self._seen[one].job = job if job is not None and job.name == current[one] else None

    def _submit_waiting(self, asking: StepOrder) -> None:
        """Submit what waits: as one array what needs the same and belongs to one asset."""
        now = time.monotonic()
        if not self._waiting or now - self._waiting_since < _TOGETHER_S or now < self._not_before:
            return
        groups: dict[tuple[str, StepNeeds], list[str]] = defaultdict(list)
        for step, (_, why) in sorted(self._waiting.items()):
            groups[asset_of_step(step), self._needs_of(step, why)].append(step)
        for (asset, needs), steps in groups.items():
            try:
                self._submit(asset, needs, steps)
            except EngineError as error:
                if error.passes:
                    if not self._not_before:
                        asking.tell(f"{error} The steps wait, and are submitted when it answers", {})
                    self._not_before = now + _AGAIN_S
                    return
                self._give_up(steps, str(error))
            except MesoError as error:
                self._give_up(steps, str(error))
        self._not_before = 0.0

    def _give_up(self, steps: Collection[str], why: str) -> None:
        for step in steps:
            del self._waiting[step]
            self._lost[step] = why

    def _needs_of(self, step: str, why: str) -> StepNeeds:
        earlier = self._jobs.get(step)
        needs = self._needs.of(step) if earlier is None else earlier.needs
        needs = needs.with_more_memory() if why == MORE_MEMORY and earlier is not None else needs
        return replace(needs, cores=max(1, min(needs.cores, self._most[0])))

    def _submit(self, asset: str, needs: StepNeeds, steps: list[str]) -> None:
        begun = tuple(steps)
        again = begun in self._uncertain
        n = self._uncertain.setdefault(begun, self._count)
        self._count = max(self._count, n + 1)
        orders = [self._waiting[step][0] for step in steps]
        script = self._folder.write(n, self._order(needs, orders))
        found = jobs_called([self._folder.name(n)]) if again else []  # the answer alone may have been lost
        is_array = len(steps) > 1
        log = self._folder.log(n, "%a" if is_array else "0")
        own = [
            f"--job-name={self._folder.name(n)}",
            f"--output={str(log).replace('%', '%%').replace('%%a', '%a')}",
            "--open-mode=append",
            "--no-requeue",
            "--export=ALL",
            *([f"--array=0-{len(steps) - 1}"] if is_array else []),
            *([f"--dependency=afterany:{':'.join(held)}"] if (held := self._held.get(asset)) else []),
        ]
        number = found[0].id.partition("_")[0] if found else submit([*options_of(self._settings, needs), *own], script)
        del self._uncertain[begun]
        for task, (order, one) in enumerate(zip(orders, numbered(number, len(steps)), strict=True)):
            before = self._waiting.pop(order.step)[1]
            path = str(self._folder.log(n, str(task)))
            self._jobs[order.step] = _Job(one, n, task, needs, path, before, time.monotonic())
            self._seen[one] = _Seen()  # its number may be that of a job that SLURM has forgotten
            given = f"cores {needs.cores}, memory {needs.memory_gb:.1f} GB, at most {needs.minutes} min"
            order.tell(
                f"job {one} of SLURM: {given}",
                {"job": one, "log": path, "memory_gb": f"{needs.memory_gb:.1f}", "cores": str(needs.cores)},
            )

    def _order(self, needs: StepNeeds, orders: list[StepOrder]) -> JobOrder:
        environment = {**self._settings.as_environment(), "DAGSTER_HOME": str(self._settings.dagster_home)}
        if not needs.gpu:  # one that a node has by chance would make another result
            environment["CUDA_VISIBLE_DEVICES"] = ""
        return JobOrder(
            self._session,
            self._folder.run_id,
            tuple(order.step for order in orders),
            tuple(order.command for order in orders),
            needs.cores,
            needs.memory_gb,
            needs.minutes,
            environment,
            self._leader.as_record(),
        )
