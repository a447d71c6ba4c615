"""Ticks of sensors and schedules that are older than the records' configuration keeps them.

What belongs here: counting and removing them; the daemon does so only for what is switched on.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import time
from typing import Any

import dagster as dg

_DAY_S = 86_400.0


def count_old_ticks(instance: dg.DagsterInstance) -> int:
    """Count the ticks that are older than the records' configuration keeps them (``retention``)."""
    return sum(
        len(instance.get_ticks(state.instigator_origin_id, state.selector_id, before=before, statuses=[status]))
        for state, status, before in _tick_limits(instance)
    )


def purge_old_ticks(instance: dg.DagsterInstance) -> None:
    """Remove the ticks that :func:`count_old_ticks` counts; the daemon does so only for what is switched on."""
    for state, status, before in _tick_limits(instance):
        instance.purge_ticks(state.instigator_origin_id, state.selector_id, before=before, tick_statuses=[status])


def _tick_limits(instance: dg.DagsterInstance) -> Iterator[tuple[Any, Any, float]]:
    """Tell for each sensor and schedule, and each status of its ticks, before when they are old, s since 1970."""
    for state in instance.all_instigator_state():
        for status, days in instance.get_tick_retention_settings(state.instigator_type).items():
            if days > 0:
                yield state, status, time() - days * _DAY_S
