"""Whether a cluster would take a step of this lab, asked before any session is begun.

What belongs here: the question. Nothing is made: Kubernetes judges a job and its pod as it would, and forgets them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...settings.settings import MesoSettings
from .cluster import Cluster, insist_on_packages
from .pods import PodOrder, job_of_step

if TYPE_CHECKING:
    import dagster as dg


def check_kubernetes(
    settings: MesoSettings, instance: dg.DagsterInstance | None = None, run: dg.DagsterRun | None = None
) -> None:
    """Ask Kubernetes whether it would take a small job.

    Parameters
    ----------
    settings
        Settings of the platform.
    instance, run
        As :func:`~meso_assets.runs.engines.kubernetes_api.job_of_step`.

    Raises
    ------
    SettingsError
        If there is no configuration of a cluster, no image is named, or Kubernetes does not know the namespace, the
        service account, or a part of the pod.
    EngineError
        If the API server does not answer, or refuses the login or the right.
    """
    from meso_core.imaging import StepNeeds

    insist_on_packages()
    job = job_of_step(settings, PodOrder("meso-check", StepNeeds(1, 1.0, False, 1)), instance, run)
    Cluster(settings).would_take(job)
