"""Steps as pods of Kubernetes: each a job of its own, with what it needs.

What belongs here: which step is which job, and what becomes of jobs. The API server is asked in ``kubernetes_api``.
"""

from __future__ import annotations

import dagster as dg

from ...settings.settings import MesoSettings
from ..routing import elsewhere
from .engine import KubernetesEngine


def kubernetes_pods(settings: MesoSettings) -> dg.ExecutorDefinition:
    """Run steps of sessions as pods."""
    return elsewhere("k8s", KubernetesEngine, settings)
