"""What jobs of SLURM have told of themselves, and what orchestration takes by that.

The rows are written by ``job``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from meso_core.imaging.needs import StepNeeds

from .clock import Costs
from .engines import Taken
from .plan import SimStep

#: For which the last jobs are waited for, s.
_LATEST_S = 60.0


@dataclass(frozen=True, slots=True)
class JobTold:
    """A job."""

    session: str
    step: str
    cores: int
    memory_gb: float
    minutes: int
    begin: float
    end: float
    slept: float
    #: Processor time besides, s.
    cpu: float

    @property
    def needs(self) -> StepNeeds:
        """What it was given."""
        return StepNeeds(self.cores, self.memory_gb, False, self.minutes)

    @property
    def besides(self) -> float:
        """Wall time besides the sleep, s."""
        return self.end - self.begin - self.slept


def read_jobs(file: Path, n_steps: int) -> tuple[JobTold, ...]:
    """Read all rows, once so many jobs have told theirs: a job does so some moments after its step has ended."""
    until = time.monotonic() + _LATEST_S
    while len(lines := file.read_text().splitlines()) < n_steps:
        if time.monotonic() > until:
            raise RuntimeError(f"{len(lines)} of {n_steps} jobs have told what they took, after {_LATEST_S:.0f} s")
        time.sleep(0.2)
    return tuple(JobTold(**json.loads(line)) for line in lines)


def steps_as_told(
    plan: Sequence[SimStep], jobs: Sequence[JobTold], seconds: Mapping[str, float]
) -> tuple[SimStep, ...]:
    """Give the steps of a plan the needs that their jobs had, and the seconds for which they are to sleep."""
    had = {job.step: job.needs for job in jobs}
    return tuple(
        SimStep(step.key, step.after, had[step.key], seconds[step.key], step.is_first, step.has_place) for step in plan
    )


def costs_of_run(plan: Sequence[SimStep], jobs: Sequence[JobTold], taken: Taken) -> Costs:
    """Tell what orchestration takes, from the run of one session for which there was room at all times.

    A job takes the processor time of all jobs in the mean, and as much longer as those that were alone on the machine
    waited for the processor, which others use too.
    """
    by_step = {job.step: job for job in jobs}
    waited = [
        by_step[step.key].begin - max(by_step[one].end for one in step.after)
        for step in plan
        if step.after and not set(step.after) - by_step.keys()
    ]
    alone = [job for job in jobs if not any(_overlap(job, other) for other in jobs if other is not job)]
    slower = median(job.besides / job.cpu for job in alone or jobs)
    return Costs(
        begin=min(job.begin for job in jobs) - taken.begin,
        end=taken.end - max(job.end for job in jobs),
        turn=max(0.0, median(waited)),  # a step tells its end before its process is over
        job=sum(job.cpu for job in jobs) / len(jobs) * slower,
    )


def _overlap(one: JobTold, other: JobTold) -> bool:
    """Whether two jobs wanted the processor at the same time."""
    return one.begin + one.slept < other.end and other.begin + other.slept < one.end
