"""Takes the pictures of the pages for a lab: the interface, the overview and a report, on the demo's data.

``make pictures`` runs it; it makes the demo first where there is none. The pictures are kept in the repository, small,
so that the pages show them wherever they are read.
"""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "docs" / "_static" / "pictures"
MESO = [sys.executable, "-c", "from meso_assets.cli import main; main()"]
#: Picture → page of the interface, and a text that it shows when it is there.
PAGES = {
    "graph": ("asset-groups/", "suite2p"),
    "overview": ("meso/overview", "SP035"),
    "asset": ("assets/frame_times", "frame_rate_hz"),
}
_WIDTH, _HEIGHT, _COLOURS = 1400, 900, 128


@contextmanager
def interface(demo: Path) -> Iterator[str]:
    """Open the interface on the demo; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([*MESO, "dev", "--demo", "--folder", str(demo), "--port", str(port)])
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2).close()
                break
            except OSError:
                if server.poll() is not None:
                    raise SystemExit("the interface has ended by itself; its messages are above") from None
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(60)


def keep(page: Any, name: str) -> None:  # noqa: ANN401  of playwright
    """Keep what a page shows as a small picture."""
    time.sleep(2)  # what comes into view moves
    shown = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(_COLOURS)
    FOLDER.mkdir(parents=True, exist_ok=True)
    shown.save(FOLDER / f"{name}.png", optimize=True)


def main() -> None:
    """Take all pictures."""
    sys.path.append(str(REPOSITORY))
    from tests.browsers import opened_browser

    demo = REPOSITORY / "demo"
    subprocess.run([*MESO, "demo", "--folder", str(demo)], check=True)
    (report,) = demo.glob("sessions/**/reports/session_report.html")
    with interface(demo) as address, TemporaryDirectory() as profile, opened_browser(Path(profile)) as browser:
        page = browser.new_page()
        page.set_viewport_size({"width": _WIDTH, "height": _HEIGHT})
        for name, (path, shows) in PAGES.items():
            page.goto(f"{address}/{path}")
            page.get_by_text(shows).first.wait_for()
            keep(page, name)
        page.goto(report.as_uri())
        page.get_by_role("heading").first.wait_for()
        keep(page, "report")


if __name__ == "__main__":
    main()
