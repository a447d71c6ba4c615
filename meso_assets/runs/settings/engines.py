"""The settings of the engines that run steps: which one, and what it needs to know.

What belongs here: what a lab may choose of an engine. How each runs a step is in ``executors``.
"""

from __future__ import annotations

import os
import shlex
from typing import Any, Literal, TypeVar

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

#: Options of sbatch with which meso finds its jobs again, and what they print.
_OWN_OPTIONS = {
    *("--array", "-a", "--dependency", "-d", "--error", "-e", "--export", "--job-name", "-J", "--output", "-o"),
    *("--parsable", "--test-only", "--wait", "-W", "--wrap"),
}
#: Parts of a job of Kubernetes.
_PARTS = {"container_config", "job_metadata", "job_spec_config", "pod_spec_config", "pod_template_spec_metadata"}
#: Tells a job of an engine what it was given: cores, and memory in GB.
_GIVEN = "_MESO_JOB_HAS"
S = TypeVar("S", bound="EngineSettings")


class EngineSettings(BaseSettings):
    """Which engine runs the steps: a part of :class:`~meso_assets.runs.settings.settings.MesoSettings`."""

    executor: Literal["multiprocess", "in_process", "slurm", "celery", "k8s"] = Field(
        "multiprocess",
        description="Steps of a run in processes of their own, all in one, as jobs of a SLURM cluster, by workers of "
        "Celery, or as pods of Kubernetes (docs/cluster.md).",
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

    k8s_image: str = Field("", description="Image of meso for the pods of steps, with its tag (deploy/Dockerfile).")
    k8s_namespace: str = Field(
        "", description="Namespace of Kubernetes for them, if not the one of this pod or of kubectl's configuration."
    )
    k8s_service_account: str = Field("", description="Service account of these pods, if not `default`.")
    k8s_step: dict[str, Any] = Field(
        default_factory=dict,
        description="Parts of these pods, as dagster-k8s takes them (`container_config`, `pod_spec_config`): volumes, "
        "secrets by name, nodes; JSON in a variable. They win over what meso asks.",
    )
    k8s_steps: int = Field(
        64, ge=1, description="Most pods of one run at once, and most fields of view at once over all runs."
    )

    @field_validator("k8s_step")
    @classmethod
    def _parts_that_are_known(cls, value: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(set(value) - _PARTS):
            raise ValueError(f"{', '.join(unknown)}: parts are {', '.join(sorted(_PARTS))}")
        return value

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
