"""How ScanImage scans: lines that pass while the galvos fly, and the frames of a volume.

What belongs here: rules that follow from the header alone. What does not: fields of view and pages (``layout``).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def fly_to_lines(seconds: float, line_period: float) -> int:
    """Lines that the resonant scanner passes while the galvos fly.

    The scanner goes back and forth, so the number is even: ``2 * ceil(t / (2 * line_period))``. The rule fits the
    page heights and frame periods of three microscopes.

    Parameters
    ----------
    seconds
        Fly-to time between scanfields, or fly-back time at the end of a frame.
    line_period
        Seconds per line.
    """
    # rounded first, or the last bit of a decimal number would make 4 lines of 2
    return 2 * math.ceil(round(seconds / (2 * line_period), 6))


def stack_frames(header: dict[str, Any], n_used: int = 1) -> tuple[int, int]:
    """Slices and fly-back frames per volume.

    Parameters
    ----------
    header
        Parsed ``SI.`` header.
    n_used
        Slices known otherwise; the header may name more, never less.
    """
    if not header.get("SI.hStackManager.enable", False):
        return n_used, 0
    zs = np.atleast_1d(header.get("SI.hStackManager.zs", 0))
    n_slices = max(n_used, _count(header.get("SI.hStackManager.numFramesPerVolume"), zs.size))
    n_all = _count(header.get("SI.hStackManager.numFramesPerVolumeWithFlyback"), n_slices)
    return n_slices, max(0, n_all - n_slices)


def _count(value: object, default: int) -> int:
    """Read a count, unless it is empty or infinite."""
    return int(value) if isinstance(value, int | float) and math.isfinite(value) and value >= 1 else default
