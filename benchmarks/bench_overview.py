"""A lab's whole disk: a tick of the sensor, ``meso status`` and the overview, with very many sessions.

The peers are limits in seconds. Each is measured in a process of its own, as the daemon and a terminal have it, after a
first look at everything, which a new version of meso takes too: it is shown by itself. A tick is the best of three, for
the daemon is there already; the commands are whole, with the start of Python.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.runs.settings.settings import MesoSettings
from meso_core.machine import cores_at_hand

from . import Row, plain_environment
from .many_sessions import FILES_EACH, ManySessions

_N_MADE, _N_RAW, _N_NEW, _TURNS = 1_000, 9_000, 100, 3
_MESO = "from meso_assets.cli import main; main()"
_TICK = """
import sys, time
import dagster as dg
from meso_assets.defs.sensors.sensors import scan
from meso_assets.io.resources import Platform
from meso_assets.runs.instance import open_instance
from meso_assets.runs.settings.settings import load_settings
settings = load_settings()
with open_instance(settings) as instance:
    cursor = None
    for _ in range(int(sys.argv[1])):
        start = time.perf_counter()
        told = scan(dg.build_sensor_context(instance=instance, cursor=cursor), Platform.open(settings))
        print(time.perf_counter() - start, flush=True)
        cursor = told.cursor
        for request in told.dynamic_partitions_requests:
            instance.add_dynamic_partitions("session", request.partition_keys)
"""


class _Disk:
    """A root and a home, and what is run on them."""

    def __init__(self, folder: Path) -> None:
        self.settings = MesoSettings(root=folder / "root", home=folder / "home")
        self.sessions = ManySessions(self.settings.root, self.settings)
        self._environment = {
            **plain_environment(),
            "MESO_ROOT": str(folder / "root"),
            "MESO_HOME": str(folder / "home"),
        }

    def command(self, *words: str) -> float:
        """Run a command of meso; returns its seconds."""
        start = time.perf_counter()
        command = [sys.executable, "-c", _MESO, *words]
        subprocess.run(command, env=self._environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - start

    def ticks(self, n: int) -> list[float]:
        """Let the sensor look; returns the seconds of each tick."""
        command = [sys.executable, "-c", _TICK, str(n)]
        told = subprocess.run(
            command, env=self._environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return [float(line) for line in told.stdout.split()]


def rows() -> list[Row]:
    """Measure all."""
    with tempfile.TemporaryDirectory(prefix="meso-bench-") as name:
        disk = _Disk(Path(name))
        for _ in disk.sessions.write(_N_MADE):
            pass
        disk.sessions.write_raw(range(_N_RAW))
        time.sleep(3)  # what has just changed is looked at again
        first = disk.ticks(8)
        quiet = disk.ticks(_TURNS)
        status = min(disk.command("status") for _ in range(_TURNS))
        overview = min(disk.command("overview") for _ in range(_TURNS))
        disk.sessions.write_raw(range(_N_RAW, _N_RAW + _N_NEW))
        (new,) = disk.ticks(1)
        size = (Path(name) / "home" / "overview.html").stat().st_size / 1e6
    on = f"{_N_MADE + _N_RAW:,} sessions, {_N_MADE:,} with {len(CATALOGUE)} assets and {len(CATALOGUE) * FILES_EACH} "
    on += f"files each, {cores_at_hand()} cores, page cache warm"
    return [
        Row("tick of the sensor, nothing new; peer: the limit", 2.0, min(quiet), "s", 2.0 / min(quiet), "≥ 1", on),
        Row(f"tick with {_N_NEW} new sessions; peer: the limit", 5.0, new, "s", 5.0 / new, "≥ 1", on),
        Row("longest tick of the first look; peer: the limit", 20.0, max(first), "s", 20.0 / max(first), "≥ 1", on),
        Row("meso status; peer: the limit", 3.0, status, "s", 3.0 / status, "≥ 1", on),
        Row("meso overview; peer: the limit", 3.0, overview, "s", 3.0 / overview, "≥ 1", on),
        Row("size of the overview; peer: the limit for 1,000", 3.0, size, "MB", 3.0 / size, "≥ 1", on),
    ]
