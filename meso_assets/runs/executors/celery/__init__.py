"""Steps as tasks of Celery: workers on several machines take them from queues, each what it has room for.

What belongs here: which step goes to which queue. The broker is asked in ``celery_broker``, what a worker does is in
``worker``.
"""

from __future__ import annotations

import dagster as dg

from ...settings.settings import MesoSettings
from ..routing import elsewhere
from .engine import CeleryEngine


def celery_workers(settings: MesoSettings) -> dg.ExecutorDefinition:
    """Run steps of sessions on workers."""
    return elsewhere("celery", CeleryEngine, settings)
