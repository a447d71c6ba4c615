"""The demonstration: its folder, its settings, its session.

What belongs here: what makes the demo small and self-contained. It reads no lab's settings and touches nothing outside
its folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .settings import MesoSettings, load_settings

if TYPE_CHECKING:
    from meso_core.simulate import SimulatedSession

LAB = "demolab"


def demo_settings(folder: Path | None = None) -> MesoSettings:
    """Return the settings of the demo: everything in one folder, a made-up brain that needs no download."""
    folder = (folder or Path("demo")).absolute()
    os.environ.pop("DAGSTER_HOME", None)
    return load_settings(
        {
            "root": folder / "sessions",
            "home": folder / "home",
            "cache": folder / "cache",
            "atlas": "phantom",
            "atlas_resolution_um": 25,
            "quiet_minutes": 0.0,
        }
    )


def simulate_demo(settings: MesoSettings, say: Callable[[str], None]) -> SimulatedSession:
    """Simulate the demo's session; one that is there already is kept."""
    from meso_core.progress import throttled
    from meso_core.simulate import preset, simulate_session

    return simulate_session(settings.root, replace(preset("demo"), lab=LAB), progress=throttled(say, every_s=2.0))
