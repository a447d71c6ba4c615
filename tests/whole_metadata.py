"""Imaging metadata of which a test gives what matters to it; the rest is filled up as the rig would write it."""

from __future__ import annotations

import copy
from typing import Any


def whole_metadata(fovs: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """Metadata of FOVs that lie one under the other in the pages.

    Each FOV needs ``nXnYnZ`` and its corners in ``MM`` or ``Deg``; one makes up for the other.
    """
    filled, first = [], 1
    for fov in copy.deepcopy(fovs):
        n_lines = fov["nXnYnZ"][1]
        deg = fov.get("Deg") or {corner: [10 * ap, 10 * ml] for corner, (ml, ap) in fov["MM"].items()}
        mm = fov.get("MM") or {corner: [y / 10, x / 10] for corner, (x, y) in deg.items()}
        lines = list(range(first, first + n_lines))
        filled.append({"slice_id": 0, "lineIdx": lines, **fov, "Deg": deg, "MM": mm})
        first += n_lines
    return {
        "version": "0.2.2",
        "nFrames": 100,
        "channelSaved": 2,
        "centerMM": {"ML": 2.5, "AP": -2.0},
        "rawScanImageMeta": {
            "Software": "SI.acqState = 'grab'",
            "Height": first - 1,
            "Width": max(fov["nXnYnZ"][0] for fov in fovs),
        },
        "scanImageParams": scan_image_params(),
        "FOV": filled,
        **copy.deepcopy(fields),
    }


def scan_image_params(resolution: float = 150.0, **rates: float) -> dict[str, Any]:
    """Rates and geometry of the scanner; ``resolution`` in µm per degree."""
    rates = {"linePeriod": 4e-5, "scanFrameRate": 5.0, "scanVolumeRate": 5.0, **rates}
    return {"objectiveResolution": resolution, "hRoiManager": rates}
