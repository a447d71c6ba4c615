"""From the report to the lineage of its session, in a real Chromium: served by the interface, and as a file."""

import asyncio
import threading
import time
from dataclasses import replace

import dagster as dg
import pytest
import uvicorn
from starlette.applications import Starlette

from meso_assets.io.session_names import add_sessions
from meso_assets.runs.settings.settings import load_settings
from meso_assets.web.guard import OwnPagesOnly
from meso_assets.web.lineage import lineage_routes
from meso_assets.web.overview import overview_routes
from meso_core.report import ReportInputs, make_report
from meso_core.session import SessionKey
from tests.browsers import opened_browser

#: A session of one lab, of a subject that two labs have, and what people type for the latter.
SESSIONS = (
    SessionKey("SP035", "2023-03-03", "001"),
    SessionKey("SP036", "2023-03-01", "001", "my-lab.b"),
    SessionKey("SP036", "2023-03-01", "001", "other"),
)
NAMES = (
    "SP035/2023-03-03/001",
    "SP036/2023-03-01/001@my-lab.b",
    "SP036/2023-03-01/001@other",
    "SP036/2023-03-01/001%40other",
    "other/Subjects/SP036/2023-03-01/001",
)
PREFIX = "/behind/a proxy"


def behind_a_proxy(app):
    """Answer below a prefix too, as behind a proxy that takes it away."""

    async def answer(scope, receive, send):
        if scope.get("path", "").startswith(f"{PREFIX}/"):
            raw = scope["raw_path"].removeprefix(PREFIX.replace(" ", "%20").encode())
            scope = {**scope, "path": scope["path"].removeprefix(PREFIX), "raw_path": raw}
        await app(scope, receive, send)

    return answer


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Roots with reports of sessions; the address of the interface, and where the first report lies."""
    folder = tmp_path_factory.mktemp("lineage")
    roots = [folder / "one", folder / "two"]
    for key in SESSIONS:
        file = key.folder(roots[key.lab == "other"]) / "reports" / "session_report.html"
        file.parent.mkdir(parents=True)
        (file.parents[1] / "raw_session.flag").touch()
        file.write_bytes(make_report(ReportInputs(key)).html)
    settings = load_settings({"root": roots, "home": folder / "home"})
    with dg.DagsterInstance.ephemeral() as instance:
        add_sessions(instance, SESSIONS)
        routes = [*overview_routes(settings, instance), *lineage_routes(settings, instance)]
        app = behind_a_proxy(OwnPagesOnly(Starlette(routes=routes)))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
        thread.start()
        until = time.monotonic() + 30
        while not server.started and time.monotonic() < until:
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", SESSIONS[0].folder(roots[0]) / "reports" / "session_report.html"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opened_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def watched(browser):
    """Open an address; errors of the page fail the test, and it tells what was asked for."""
    faults, pages = [], []

    def opened(address):
        page = browser.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.asked = []
        page.on("request", lambda asked: None if asked.url.startswith("data:") else page.asked.append(asked.url))
        page.goto(address)
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert faults == []


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("name", NAMES)
def test_the_report_in_the_interface_leads_to_the_lineage_of_its_session_and_that_back_to_all(
    lab, watched, name, prefix
):
    base = f"{lab[0]}{prefix.replace(' ', '%20')}"
    page = watched(f"{base}/meso/overview/files/{name}/-/reports/session_report.html")
    assert page.evaluate("window.origin") == "null", "it may reach nothing of the interface, but lead there"
    assert not page.locator(".elsewhere .words").is_visible()
    page.get_by_role("link", name="Which run made each result").click()
    page.wait_for_url(f"{base}/meso/lineage/{name}")
    shown = "SP036/2023-03-01/001@other" if "other" in name else name
    assert page.locator("h1").inner_text() == f"Lineage of {shown}"
    overview = page.get_by_role("link", name="Overview")
    assert overview.evaluate("link => link.href") == f"{base}/meso/overview"
    asset = page.get_by_role("link", name="rois in the interface").evaluate("link => link.href")
    assert asset.startswith(f"{base}/assets/rois?view=partitions&partition=SP03")
    assert len(page.asked) == 2, "two pages, and nothing else"


def test_as_a_file_the_report_says_the_commands_in_words_and_asks_for_nothing(lab, watched):
    page = watched(lab[1].as_uri())
    words = page.locator(".elsewhere .words")
    assert words.is_visible()
    assert "meso lineage SP035/2023-03-03/001." in words.inner_text()
    assert "meso audit SP035/2023-03-03/001." in words.inner_text()
    assert not page.locator(".elsewhere .live").is_visible()
    assert page.locator(".elsewhere a").count() == 0
    assert page.asked == [lab[1].as_uri()]


def test_on_another_server_the_words_stand(lab, watched, tmp_path):
    folder = tmp_path / "share"
    folder.mkdir()
    (folder / "session_report.html").write_bytes(lab[1].read_bytes())
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever).start()
        page = watched(f"http://127.0.0.1:{server.server_port}/session_report.html")
        assert page.locator(".elsewhere .words").is_visible()
        assert page.locator(".elsewhere a").count() == 0
        server.shutdown()


def test_on_paper_the_words_stand(lab, watched):
    page = watched(f"{lab[0]}/meso/overview/files/{NAMES[0]}/-/reports/session_report.html")
    page.emulate_media(media="print")
    assert page.locator(".elsewhere .words").is_visible()
    assert not page.locator(".elsewhere .live").is_visible()


@pytest.mark.parametrize("width", [1400, 800, 390])
def test_nothing_of_the_lineage_sticks_out_and_keys_walk_through_it(lab, watched, width):
    page = watched(f"{lab[0]}/meso/lineage/{NAMES[0]}")
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    page.keyboard.press("Enter")
    page.wait_for_url("**#results")
    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('#results').contains(document.activeElement)")


def test_equal_inputs_give_an_equal_report_wherever_it_lies_and_its_words_name_its_session():
    first, other = (make_report(ReportInputs(key)).html for key in (SESSIONS[0], replace(SESSIONS[0], lab="lab")))
    assert first == make_report(ReportInputs(SESSIONS[0])).html
    assert b"meso lineage SP035/2023-03-03/001@lab." in other
    assert b"127.0.0.1" not in first
