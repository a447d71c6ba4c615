"""How the steps of a run are executed: one module for each engine, and what every run does around it (``lead``).

What belongs here: which engine a setting means. To add one: its name in ``engines.EngineSettings``, a module, and a row
of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import dagster as dg

from ..settings.settings import MesoSettings
from .celery import celery_workers
from .kubernetes import kubernetes_pods
from .lead import led
from .local import in_process, multiprocess
from .slurm import slurm

#: Name in the settings → what makes Dagster's executor.
ENGINES: Mapping[str, Callable[[MesoSettings], dg.ExecutorDefinition]] = {
    "celery": celery_workers,
    "in_process": in_process,
    "k8s": kubernetes_pods,
    "multiprocess": multiprocess,
    "slurm": slurm,
}


def executor(settings: MesoSettings) -> dg.ExecutorDefinition:
    """Make the executor that the settings name, with the frame of a run around it."""
    return led(ENGINES[settings.executor](settings), settings)
