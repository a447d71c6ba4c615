"""Takes the pictures of the pages for a lab: interface and report on the demo's data, the overview of a small lab.

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
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "docs" / "_static" / "pictures"
MESO = [sys.executable, "-c", "from meso_assets.cli import main; main()"]
_WIDTH, _HEIGHT, _COLOURS = 1400, 860, 128


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


def overview_of_a_lab(demo: Path) -> str:
    """Write the overview of a small lab: the demo's session under other names, some of them in other states."""
    from meso_assets.overview.page import html_page
    from meso_assets.overview.refresh import overview_of
    from meso_assets.runs.demo import demo_settings
    from meso_assets.runs.instance import open_instance
    from meso_assets.runs.status.cells import State

    settings = demo_settings(demo)
    with open_instance(settings) as instance:
        overview = overview_of(settings, instance)
    (session,) = overview.sessions
    states = {  # as a rig's week leaves them: row, asset, state, reason
        (1, "frame_times"): (State.STALE, "raw_daq: 1 changed"),
        (3, "frame_times"): (State.FAILED, "TimingError: expected a DAQ pulse for each of the 600 frames, found 597"),
        (5, "rois"): (State.RUNNING, "45 % (cells found: FOV_01 of 3)"),
        (5, "roi_brain_locations"): (State.MISSING, ""),
    }
    rows = []
    for row, (subject, day) in enumerate((s, d) for s in ("SP035", "SP036", "SP040") for d in ("01", "02", "03")):
        name = f"{subject}/2023-03-{day}/001"
        cells = [
            replace(cell, state=state, why=why)
            for cell in session.cells
            for state, why in [states.get((row, cell.asset), (cell.state, cell.why))]
        ]
        rows.append(replace(session, session=name, place=name, cells=tuple(cells)))
    return html_page(replace(overview, root="/data/Subjects", sessions=tuple(rows)))


def take_interface(page: Any, address: str) -> None:  # noqa: ANN401  of playwright
    """Take the page of an asset."""
    page.goto(f"{address}/assets/frame_times")
    page.get_by_text("frame_rate_hz").first.wait_for()
    keep(page, "asset")


def main() -> None:
    """Take all pictures."""
    sys.path += [str(REPOSITORY), str(REPOSITORY / "tests")]  # modules of tests find each other there
    from tests.browsers import opened_browser

    demo = REPOSITORY / "demo"
    subprocess.run([*MESO, "demo", "--folder", str(demo)], check=True)
    (report,) = demo.glob("sessions/**/reports/session_report.html")
    with TemporaryDirectory() as name, opened_browser(Path(name, "profile")) as browser:
        page = browser.new_page()
        page.set_viewport_size({"width": _WIDTH, "height": _HEIGHT})
        with interface(demo) as address:
            take_interface(page, address)
            page.goto(f"{address}/meso/lineage/{report.parents[1].relative_to(demo / 'sessions').as_posix()}")
            keep(page, "lineage")
        overview = Path(name, "overview.html")
        overview.write_text(overview_of_a_lab(demo))
        page.goto(overview.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        keep(page, "overview")
        page.goto(report.as_uri())
        page.get_by_role("heading").first.wait_for()
        keep(page, "report")
        page.get_by_role("heading", name="FOV_00").first.evaluate("heading => heading.scrollIntoView()")
        keep(page, "fields")


if __name__ == "__main__":
    main()
