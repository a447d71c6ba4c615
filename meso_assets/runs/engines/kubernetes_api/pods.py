"""The job of a step as Kubernetes is told of it: what its pod is given, and what the lab adds.

What belongs here: the translation of needs into resources. dagster-k8s makes the job of it, and refuses words that
Kubernetes does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, Any

from meso_core.errors import SettingsError

from ...settings.settings import MesoSettings

if TYPE_CHECKING:
    import dagster as dg

    from meso_core.imaging import StepNeeds

#: Where a step writes what it needs for itself: a folder of its pod, gone with it.
SCRATCH = "/scratch"
#: User of the image (deploy/Dockerfile); root is refused.
USER = 1000
#: How long a job that is over can be looked at, s.
_KEPT_S = 86_400
#: What a step that is told to end has for it, s: it ends at once.
_GRACE_S = 10
_STEP = ("python", "-m", "meso_assets.runs.executors.kubernetes.step")
_VARIABLE = "MESO_K8S_STEP"


@dataclass(frozen=True, slots=True)
class PodOrder:
    """What one job is made for."""

    name: str
    needs: StepNeeds
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def job_of_step(
    settings: MesoSettings,
    order: PodOrder,
    instance: dg.DagsterInstance | None = None,
    run: dg.DagsterRun | None = None,
) -> Any:  # noqa: ANN401  Kubernetes's
    """Make the description of a job.

    Parameters
    ----------
    settings
        Settings of the platform.
    order
        What it is for.
    instance, run
        Where Dagster's own launcher begins runs as pods, its volumes, secrets and accounts count for steps too.

    Returns
    -------
    V1Job

    Raises
    ------
    SettingsError
        If no image is named, or parts of pods are misspelt.
    """
    from dagster_k8s import K8sRunLauncher
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job

    launcher = instance.run_launcher if instance is not None else None
    if not settings.k8s_image:
        raise SettingsError.at(
            "MESO_K8S_IMAGE",
            expected="the image of meso for steps",
            found="nothing",
            remedy="Build one (deploy/Dockerfile), put it where the cluster fetches images, and name it with its tag",
        )
    context = _context(_usual())
    config = DagsterK8sJobConfig(job_image=settings.k8s_image, image_pull_policy="IfNotPresent")
    if isinstance(launcher, K8sRunLauncher) and run is not None:
        context = context.merge(K8sContainerContext.create_for_run(run, launcher, include_run_tags=False))
        config = context.get_k8s_job_config(settings.k8s_image, launcher)
    parts = context.merge(_context(_given(settings, order))).merge(_of_the_lab(settings)).run_k8s_config
    try:
        return construct_dagster_k8s_job(
            config, None, order.name, parts, pod_name=order.name, component="step_worker", labels=order.labels
        )
    except Exception as error:
        if _is_about_parts(error):
            raise _misspelt(error) from error
        raise


def _usual() -> dict[str, Any]:
    """Give a step what it has where nobody says something else: no root, no rights, a scratch of its own."""
    return {
        "container_config": {
            "command": list(_STEP),
            "security_context": {"allow_privilege_escalation": False, "capabilities": {"drop": ["ALL"]}},
            "volume_mounts": [{"name": "scratch", "mount_path": SCRATCH}],
            # a refusal, or the last lines of what the step has printed, are told with its end
            "termination_message_policy": "FallbackToLogsOnError",
        },
        "pod_spec_config": {
            "automount_service_account_token": False,
            "security_context": {"run_as_non_root": True, "run_as_user": USER, "fs_group": USER},
            "termination_grace_period_seconds": _GRACE_S,
            "volumes": [{"name": "scratch", "empty_dir": {}}],
        },
        "job_spec_config": {"backoff_limit": 0, "ttl_seconds_after_finished": _KEPT_S},
    }


def _given(settings: MesoSettings, order: PodOrder) -> dict[str, Any]:
    """Give a step what it needs. Asked for as much as it may have, a pod is the last that a full node ends."""
    needs = order.needs
    amounts: dict[str, str] = {"cpu": str(needs.cores), "memory": f"{ceil(needs.memory_gb * 1e9 / 2**20)}Mi"}
    most = amounts | ({"nvidia.com/gpu": "1"} if needs.gpu else {})
    account = settings.k8s_service_account
    return {
        "container_config": {
            "env": [{"name": name, "value": value} for name, value in order.environment.items()],
            "resources": {"requests": amounts, "limits": most},
        },
        # of the pod, not of the job: to wait for a node does not count
        "pod_spec_config": {
            "active_deadline_seconds": 60 * needs.minutes,
            **({"service_account_name": account} if account else {}),
        },
    }


def _context(parts: Mapping[str, Any]) -> Any:  # noqa: ANN401  dagster-k8s's
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import UserDefinedDagsterK8sConfig

    return K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig(**parts))


def _of_the_lab(settings: MesoSettings) -> Any:  # noqa: ANN401  dagster-k8s's
    try:
        return _context(settings.k8s_step)
    except Exception as error:
        if _is_about_parts(error):
            raise _misspelt(error) from error
        raise


def _is_about_parts(error: Exception) -> bool:
    """Whether what was given is wrong, not meso: dagster-k8s raises no kind of its own for a name that it misses."""
    return type(error) is Exception or isinstance(error, ValueError | TypeError)


def _misspelt(error: Exception) -> SettingsError:
    return SettingsError.at(
        _VARIABLE,
        expected="parts of a job, by the names of the Kubernetes API",
        found=" ".join(str(error).split()),
        remedy="Correct the name; `kubectl explain job.spec.template.spec` tells what there is",
    )
