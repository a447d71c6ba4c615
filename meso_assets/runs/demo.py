"""The demonstration: its folder, its settings, its session.

What belongs here: what makes the demo small and self-contained. It reads no lab's settings and touches nothing outside
its folder.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from meso_core.errors import MissingInputError

from .settings.settings import MesoSettings, load_settings

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


def made_demo_settings(folder: Path | None = None) -> MesoSettings:
    """Return the settings of a demo that was made.

    Raises
    ------
    MissingInputError
        If there is none in the folder.
    """
    settings = demo_settings(folder)
    if not settings.local_root.is_dir():
        remedy = "`make demo` (or `meso demo`)" if folder is None else f"`meso demo --folder {_quoted(folder)}`"
        raise MissingInputError.at(
            settings.local_root,
            expected="the sessions of the demo",
            found="no such folder",
            remedy=f"Run {remedy} first",
        )
    return settings


def how_to_open(folder: Path | None = None) -> str:
    """Tell the command that opens the interface on a demo."""
    return "`make dev` (or `meso dev --demo`)" if folder is None else f"`meso dev --demo --folder {_quoted(folder)}`"


def _quoted(folder: Path) -> str:
    return shlex.quote(str(folder))


def simulate_demo(settings: MesoSettings, say: Callable[[str], None]) -> SimulatedSession:
    """Simulate the demo's session; one that is there already is kept."""
    from meso_core.progress import throttled
    from meso_core.simulate import preset, simulate_session
    from meso_core.storage import storage_errors

    with storage_errors(settings.local_root):
        config = replace(preset("demo"), lab=LAB)
        return simulate_session(settings.local_root, config, progress=throttled(say, every_s=2.0))
