"""The settings of the engines that run steps: which one, and what it needs to know.

What belongs here: what a lab may choose of an engine. How each runs a step is in ``executors``.
"""

from __future__ import annotations

import os
import shlex
from typing import Literal, TypeVar

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

#: Options of sbatch with which meso finds its jobs again, and what they print.
_OWN_OPTIONS = {
    *("--array", "-a", "--dependency", "-d", "--error", "-e", "--export", "--job-name", "-J", "--output", "-o"),
    *("--parsable", "--test-only", "--wait", "-W", "--wrap"),
}
#: Tells a job of an engine what it was given: cores, and memory in GB.
_GIVEN = "_MESO_JOB_HAS"
S = TypeVar("S", bound="EngineSettings")


class EngineSettings(BaseSettings):
    """Which engine runs the steps; the part of :class:`~meso_assets.runs.settings.MesoSettings` that is about it."""

    executor: Literal["multiprocess", "in_process", "slurm", "celery"] = Field(
        "multiprocess",
        description="Steps of a run in processes of their own, all in one, as jobs of a SLURM cluster, or by "
        "workers of Celery (docs/cluster.md).",
    )
    slurm_partition: str = Field("", description="Partition of SLURM, if not its usual one.")
    slurm_account: str = Field("", description="Account of SLURM that jobs count for, if not the user's usual one.")
    slurm_options: str = Field(
        "",
        description="Further options of `sbatch`, as in `--qos=long --constraint=avx2`; they win over what meso asks.",
    )
    slurm_jobs: int = Field(
        64, ge=1, description="Most jobs of one run at once, and most fields of view at once over all runs."
    )
    celery_steps: int = Field(
        64,
        ge=1,
        description="Most steps of one run in the queues of Celery at once, and most fields of view over all runs.",
    )

    @field_validator("slurm_options")
    @classmethod
    def _options_that_are_left_to_the_lab(cls, value: str) -> str:
        named = {word.partition("=")[0] for word in shlex.split(value)}
        if taken := sorted(named & _OWN_OPTIONS):
            raise ValueError(f"meso sets {', '.join(taken)} itself: leave that out")
        return value

    @property
    def steps_go_elsewhere(self) -> bool:
        """Whether steps are handed to an engine that gives each what it needs, on any machine."""
        return self.executor not in ("multiprocess", "in_process")


def given_to_job(cores: int, memory_gb: float) -> dict[str, str]:
    """Make the variable that tells a job of an engine what it was given; see :func:`as_given_to_job`."""
    return {_GIVEN: f"{cores} {memory_gb}"}


def is_job_of_engine() -> bool:
    """Whether this process is the job of an engine, on whichever machine."""
    return _GIVEN in os.environ


def as_given_to_job(settings: S) -> S:
    """Return the settings with the cores and the memory of the job that this process is; as they are in any other."""
    if not is_job_of_engine():
        return settings
    cores, memory_gb = os.environ[_GIVEN].split()
    return settings.model_copy(update={"cores": int(cores), "memory_gb": float(memory_gb)})
