"""A session that is simulated, packed and read in a fraction of a second, for tests to which its pixels are all one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from meso_core.simulate import SimulationConfig, preset


def short(**changes: Any) -> SimulationConfig:
    """Settings of the ``tiny`` session with a quarter of the lines: pages still are several patches high and wide."""
    tiny = preset("tiny")
    rois = [
        replace(r, shape=(r.shape[0] // 4, r.shape[1]), size_deg=(r.size_deg[0], r.size_deg[1] / 4)) for r in tiny.rois
    ]
    return replace(tiny, rois=tuple(rois), **changes)
