"""Dagster's interface with a lab's whole history: seconds in a real Chromium until a page shows what it is opened for.

The peers are limits in seconds: above five a page is called slow. Ten thousand sessions are registered, a thousand of
them have all assets, with the metadata that assets report; there are no folders, for the interface looks at none. Each
page is opened in a tab of its own, after one visit, as a browser that is used daily has the program of the interface
in its cache; the best of three.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from meso_assets.defs.catalogue import CATALOGUE
from meso_assets.runs.instance import open_instance
from meso_assets.runs.settings.settings import MesoSettings
from meso_core.machine import cores_at_hand

from . import Row, plain_environment

_N_SESSIONS, _N_MADE, _TURNS, _LIMIT_S, _WITHIN_S = 10_000, 1_000, 3, 5.0, 120
_MESO = "from meso_assets.cli import main; main()"
#: What each materialisation says of itself: about as many values as those of meso's assets have.
_TOLD = {f"value_{i}": i / 7 for i in range(12)} | {"files": 40, "folder": "SP001/2023-03-03/001"}
_LAST = "SP099/2023-03-03/009"


def _sessions() -> list[str]:
    return [f"SP{number % 100:03d}/2023-03-03/{number // 100:03d}" for number in range(_N_SESSIONS)]


def _fill(settings: MesoSettings) -> None:
    """Write into Dagster's records what months of a lab leave there."""
    with open_instance(settings) as instance:
        instance.add_dynamic_partitions("session", _sessions())
        for name in CATALOGUE:
            for session in _sessions()[:_N_MADE]:
                made = dg.AssetMaterialization(name, metadata=_TOLD, partition=session)
                instance.report_runless_asset_event(made)


@contextmanager
def _serving(folder: Path, settings: MesoSettings) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = plain_environment()
    command = [sys.executable, "-c", _MESO, "dev", "--port", str(port)]
    with (folder / "log.txt").open("w") as log:
        server = subprocess.Popen(command, env=kept | settings.as_environment(), stdout=log, stderr=log)
        try:
            until = time.monotonic() + _WITHIN_S
            while not _answers(port):
                assert time.monotonic() < until, (folder / "log.txt").read_text()[-2000:]
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(60)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2):
            return True
    except OSError:
        return False


def _seconds(browser: Any, address: str, shows: str) -> float:
    """Open a page in a tab of its own; the best time until it shows a text."""
    times = []
    for _ in range(_TURNS):
        page = browser.new_page()
        start = time.perf_counter()
        page.goto(address)
        page.get_by_text(re.compile(shows)).first.wait_for(timeout=_WITHIN_S * 1000)
        times.append(time.perf_counter() - start)
        page.close()
    return min(times)


def rows() -> list[Row]:
    """Measure the pages that a lab opens."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # where modules of tests find each other
    from tests.browsers import opened_browser

    found = []
    on = f"{_N_SESSIONS:,} sessions, {_N_MADE:,} with {len(CATALOGUE)} assets, Chromium, {cores_at_hand()} cores"
    with tempfile.TemporaryDirectory(prefix="meso-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        settings = MesoSettings(root=folder / "root", home=folder / "home")
        settings.root.mkdir()
        _fill(settings)
        with _serving(folder, settings) as url, opened_browser(folder / "profile") as browser:
            pages = {
                "graph of all assets": ("asset-groups/", "suite2p"),
                "page of an asset": ("assets/rois", "value_11"),
                "its sessions": ("assets/rois?view=partitions", r"SP0\d\d/2023-03-03/\d{3}"),
                "what one session has": (f"assets/rois?view=partitions&partition={_LAST}", _LAST),
            }
            _seconds(browser, f"{url}/asset-groups/", "suite2p")
            for what, (path, shows) in pages.items():
                seconds = _seconds(browser, f"{url}/{path}", shows)
                row = f"interface: {what}; peer: the limit"
                found.append(Row(row, _LIMIT_S, seconds, "s", _LIMIT_S / seconds, "≥ 1", on))
    return found
