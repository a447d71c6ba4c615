"""Steps as jobs of SLURM: those that begin together and need the same are one array.

What belongs here: which step is which job, and what becomes of jobs. The commands of SLURM are in ``slurm_commands``.
"""

from __future__ import annotations

import dagster as dg

from ...settings.settings import MesoSettings
from ..routing import elsewhere
from .engine import SlurmEngine


def slurm(settings: MesoSettings) -> dg.ExecutorDefinition:
    """Run steps of sessions as jobs."""
    return elsewhere("slurm", SlurmEngine, settings)
