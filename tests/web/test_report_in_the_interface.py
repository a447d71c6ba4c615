"""A report that is opened from the overview, in a real Chromium: its scripts run and reach nothing of the interface."""

import asyncio
import threading
import time

import dagster as dg
import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from meso_assets.runs.settings.settings import load_settings
from meso_assets.web.overview import overview_routes
from meso_core.report.draw.movie import webm
from tests.browsers import opened_browser

KEY = "SP035/2023-03-03/001"
REPORT = """<title>as it was</title><script>
document.title = "ran";
fetch("/secret").then(() => { document.title = "reached"; }, () => { document.title = "refused"; });
</script>"""


@pytest.fixture
def address(tmp_path):
    """The overview's routes beside something that a page of another origin must not read."""
    file = tmp_path / "Subjects" / KEY / "reports" / "session_report.html"
    file.parent.mkdir(parents=True)
    file.write_text(REPORT)
    settings, asked = load_settings({"root": tmp_path / "Subjects", "home": tmp_path / "home"}), []

    async def secret(_):
        asked.append(1)
        return PlainTextResponse("secret")

    with dg.DagsterInstance.ephemeral() as instance:
        app = Starlette(routes=[*overview_routes(settings, instance), Route("/secret", secret)])
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
        thread.start()
        until = time.monotonic() + 30
        while not server.started and time.monotonic() < until:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", asked
        server.should_exit = True
        thread.join()


def test_a_movie_beside_a_report_is_played(address, tmp_path):
    base, _ = address
    folder = tmp_path / "Subjects" / KEY / "reports"
    (folder / "session_movies").mkdir()
    levels = np.random.default_rng(0).integers(0, 256, (30, 64, 132), np.uint8)
    (folder / "session_movies" / "FOV_00.webm").write_bytes(webm(levels))
    (folder / "session_report.html").write_text(
        '<title>it has not come</title><video muted src="session_movies/FOV_00.webm"></video><script>'
        'const movie = document.querySelector("video"); movie.onerror = () => { document.title = "refused"; };'
        "movie.oncanplay = () => { document.title = `${movie.videoWidth} × ${movie.videoHeight}`; };</script>"
    )
    with opened_browser(tmp_path / "profile") as browser:
        page = browser.new_page()
        page.goto(f"{base}/meso/overview/files/{KEY}/-/reports/session_report.html")
        until = time.monotonic() + 30
        while page.title() == "it has not come" and time.monotonic() < until:
            time.sleep(0.05)
        assert page.title() == "132 × 64"


def test_the_scripts_of_a_report_run_and_reach_nothing(address, tmp_path):
    base, asked = address
    with opened_browser(tmp_path / "profile") as browser:
        page = browser.new_page()
        page.goto(f"{base}/meso/overview/files/{KEY}/-/reports/session_report.html")
        until = time.monotonic() + 20
        while page.title() in ("as it was", "ran") and time.monotonic() < until:
            time.sleep(0.05)
        assert page.title() == "refused"
        assert page.evaluate("window.origin") == "null"
    assert asked == []
