"""A real Chromium for tests of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import unavailable

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    """Find a Chromium: the one that ``MESO_CHROMIUM`` names, one of the system, or playwright's own."""
    named = [os.environ.get("MESO_CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))]
    for candidate in named:
        if candidate and Path(candidate).is_file():
            return candidate
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        own = driver.chromium.executable_path
    if not Path(own).is_file():
        unavailable("Chromium", "install one (`playwright install chromium`), or set MESO_CHROMIUM")
    return own


@contextmanager
def opened_browser(profile: Path) -> Iterator[Any]:
    """Open a browser with a profile of its own."""
    from playwright.sync_api import expect, sync_playwright

    path = chromium()
    expect.set_options(timeout=60_000)  # what comes late on a machine with much to do comes all the same
    with sync_playwright() as driver:
        opened = driver.chromium.launch_persistent_context(
            str(profile), executable_path=path, args=FLAGS, viewport={"width": 1500, "height": 1100}
        )
        opened.set_default_timeout(60_000)
        yield opened
        opened.close()
