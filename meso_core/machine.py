"""Cores and memory that this process may use, and how many processes fit into them.

What belongs here: asking the kernel, control groups included, and Python's own upkeep. What does not: what a process
needs.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
#: Limit, use and statistics of the control group, version 2 and version 1.
_MEMORY = tuple(
    tuple(Path("/sys/fs/cgroup", name) for name in names)
    for names in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    )
)

#: How much of a local disk may be filled with what is fetched from a server, GB, where a lab says nothing else.
SCRATCH_GB = 200.0


def cores_at_hand() -> int:
    """Count the cores that this process may use: those it is bound to, within the quota of its control group."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CPU_QUOTA.read_text().split()
        return max(1, min(n_cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no such control group, or "max"
        return n_cores


def memory_in_all() -> int:
    """Return all memory, in bytes: that of the machine, or the limit of the control group.

    Use this to divide all memory between processes. :func:`memory_at_hand` subtracts what running processes use.
    """
    import psutil

    total = int(psutil.virtual_memory().total)
    for limit, _, _ in _MEMORY:
        try:
            total = min(total, int(limit.read_text()))
        except (OSError, ValueError):  # no such control group, or "max"
            continue
    return total


def memory_at_hand() -> int:
    """Return the free memory, in bytes: what the kernel calls available, within what is left to the control group.

    Cached pages of files count as used by a control group, but the kernel frees them on demand; here they are free.
    """
    import psutil

    at_hand = int(psutil.virtual_memory().available)
    for limit, used, statistics in _MEMORY:
        try:
            left = int(limit.read_text()) - int(used.read_text()) + _cached_files(statistics)
        except (OSError, ValueError):  # no such control group, or "max"
            continue
        at_hand = min(at_hand, left)
    return max(at_hand, 0)


def side_by_side(memory_each: float, *, cores: int, memory: float) -> int:
    """Count the processes that fit: one per core, fewer if memory is short, at least one; memory in one unit."""
    return max(1, min(cores, int(memory // memory_each)))


def _cached_files(statistics: Path) -> int:
    """Bytes of cached file pages that were not used lately; 0 if that is not known."""
    if not statistics.is_file():
        return 0
    rows = dict(line.split() for line in statistics.read_text().splitlines())
    return int(rows.get("total_inactive_file", rows.get("inactive_file", 0)))


@contextmanager
def in_haste() -> Iterator[None]:
    """Look for no garbage in the block: what is imported and found stays, and to look through it takes long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
