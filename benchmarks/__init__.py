"""Measurements against the tools that meso replaces; ``python -m benchmarks`` prints the table of the README.

Each ``bench_<topic>.py`` measures peer and ours side by side in one run and returns rows.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    #: What is measured, with the peer's name.
    what: str
    peer: float
    ours: float
    #: Of both figures, as in ``s`` or ``MB/s``.
    unit: str
    #: How many times ours is better; above 1 is better whatever the unit.
    ratio: float
    #: What was aimed at, as in ``≥ 3``.
    goal: str
    #: The input.
    on: str


def peak_bytes() -> float:
    """Largest resident memory of this process so far, with the mapped pages; getrusage counts the parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def plain_environment() -> dict[str, str]:
    """Environment of this process without settings of meso and Dagster; modules are kept compiled, as for anybody."""
    left_out = ("MESO_", "DAGSTER_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
