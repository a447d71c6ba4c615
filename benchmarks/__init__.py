"""Measurements against the tools that meso replaces; ``python -m benchmarks`` prints the table of the README.

Each ``bench_<topic>.py`` measures peer and ours side by side in one run and returns rows.
"""

from __future__ import annotations

from dataclasses import dataclass


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
