"""The engines of one machine: steps side by side in processes, or all in one.

What belongs here: Dagster's own executors, as meso sets them. What is around them is in ``lead``.
"""

from __future__ import annotations

import dagster as dg

from ...defs.dagster_internals import preloaded_first
from ..settings.settings import MesoSettings


def in_process(settings: MesoSettings) -> dg.ExecutorDefinition:  # noqa: ARG001  as every engine is made
    """Run all steps in the process of the run."""
    return dg.in_process_executor


def multiprocess(settings: MesoSettings) -> dg.ExecutorDefinition:
    """Run steps side by side, as many as there are cores.

    A step in a process of its own costs about a second; a fork server that has the code location loaded keeps it there.
    """
    preloaded = [*preloaded_first("meso_assets.runs.step_processes"), "meso_assets.definitions"]
    return dg.multiprocess_executor.configured(
        {"max_concurrent": settings.cores, "start_method": {"forkserver": {"preload_modules": preloaded}}},
        name="side_by_side",
    )
