"""Whether the engine that a setting names can run steps, asked before any session is begun.

What belongs here: which question is asked of which engine. An engine of this machine needs none.
"""

from __future__ import annotations

from ..settings.settings import MesoSettings


def check_engine(settings: MesoSettings) -> None:
    """Ask the engine whether it is there and would take a step.

    Raises
    ------
    SettingsError, EngineError
        If not, with what to change.
    """
    if settings.executor == "slurm":
        from .slurm_commands import check_slurm

        check_slurm(settings)
    elif settings.executor == "celery":
        from .celery_broker import check_broker

        check_broker(settings)
    elif settings.executor == "k8s":
        from .kubernetes_api import check_kubernetes

        check_kubernetes(settings)
