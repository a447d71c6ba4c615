"""Header fields that differ between tifs and bouts that belong together, and those that may not.

What belongs here: the one table of both, and the one tolerance. What does not: who compares what with what.
"""

from __future__ import annotations

import math

#: Measured by ScanImage at each start: they drift with the resonant mirror.
MEASURED = frozenset(
    {
        "hRoiManager.linePeriod",
        "hRoiManager.scanFramePeriod",
        "hRoiManager.scanFrameRate",
        "hRoiManager.scanVolumeRate",
        "hScan2D.flybackTimePerFrame",
        "hScan2D.flytoTimePerScanfield",
        "hScan2D.scannerFrequency",
    }
)
#: By this share: 21 µs at the last of 512 lines.
MEASURED_SHARE = 1e-3
#: Beginnings of fields that decide which pixels are where.
_LAYOUT = (
    "VERSION_",
    "hChannels.channelSave",
    "hFastZ.discardFlybackFrames",
    "hFastZ.enable",
    "hFastZ.num",
    "hFastZ.userZs",
    "hRoiManager.",
    "hScan2D.bidirectional",
    "hScan2D.channelsDataType",
    "hScan2D.fillFractionSpatial",
    "hScan2D.flyback",
    "hScan2D.flyto",
    "hScan2D.logAverageFactor",
    "hScan2D.logFilePerChannel",
    "hScan2D.pixelBinFactor",
    "hScan2D.scan",
    "hScan2D.uniformSampling",
    "hStackManager.",
    "imagingSystem",
    "objectiveResolution",
)
#: Counters that go on while it is recorded.
_COUNTERS = ("Done",)


def is_layout(field: str) -> bool:
    """Whether a header field (without ``SI.``) decides which pixels are where."""
    return field.startswith(_LAYOUT) and not field.endswith(_COUNTERS)


def is_near(a: object, b: object, share: float) -> bool:
    """Whether two values are equal, numbers within a relative tolerance."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(is_near(x, y, share) for x, y in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or math.isclose(a, b, rel_tol=share, abs_tol=1e-9) or (a != a and b != b)
    return bool(a == b)


def drifted(field: str, a: object, b: object) -> bool:
    """Whether two values of a header field (without ``SI.``) are of one measured quantity, within its tolerance."""
    return field in MEASURED and is_near(a, b, MEASURED_SHARE)
