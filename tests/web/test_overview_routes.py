"""Over the web: the overview, and figures of sessions; nothing else of a session, and nothing beside it."""

import asyncio
from types import SimpleNamespace
from urllib.parse import unquote

import dagster as dg
import pytest
from starlette.applications import Starlette

from meso_assets.runs.settings.settings import load_settings
from meso_assets.web.overview import overview_routes

KEY = "SP035/2023-03-03/001"
FILES = "/meso/overview/files"


@pytest.fixture
def settings(tmp_path):
    session = tmp_path / "Subjects" / KEY
    for path in ("raw_session.flag", "reports/figures/a.png", "reports/report.html", "reports/qc/rois.json"):
        (session / path).parent.mkdir(parents=True, exist_ok=True)
        (session / path).write_bytes(b"content")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return load_settings({"root": tmp_path / "Subjects", "home": tmp_path / "home"})


@pytest.fixture
def get(settings):
    """Ask for a path, as the server does; what comes back."""
    with dg.DagsterInstance.ephemeral() as instance:
        app = Starlette(routes=overview_routes(settings, instance))

        def ask(path):
            scope = {"type": "http", "method": "GET", "path": unquote(path), "query_string": b"", "headers": []}
            messages = []

            async def send(message):
                messages.append(message)

            async def receive():
                return {"type": "http.request", "body": b"", "more_body": False}

            asyncio.run(app({**scope, "http_version": "1.1", "root_path": ""}, receive, send))
            headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
            content = b"".join(message.get("body", b"") for message in messages[1:])
            return SimpleNamespace(status_code=messages[0]["status"], headers=headers, content=content)

        yield ask


def test_the_page_is_made_when_it_is_asked_for_and_no_browser_keeps_it(get, settings):
    answer = get("/meso/overview")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert KEY.encode() in answer.content
    assert answer.content == (settings.home / "overview.html").read_bytes()


def test_a_root_that_is_gone_is_told(get, settings):
    settings.root.rename(settings.root.with_name("away"))
    answer = get("/meso/overview")
    assert answer.status_code == 503
    assert b"Set MESO_ROOT" in answer.content


@pytest.mark.parametrize(
    ("path", "kind"), [("reports/figures/a.png", "image/png"), ("reports/report.html", "text/html")]
)
def test_figures_and_reports_are_shown_and_a_report_is_of_no_origin_and_may_ask_nobody(get, path, kind):
    answer = get(f"{FILES}/{KEY}/-/{path}")
    assert (answer.status_code, answer.content) == (200, b"content")
    assert answer.headers["content-type"].startswith(kind)
    assert answer.headers["x-content-type-options"] == "nosniff"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none';"), "no allow-same-origin, no connect-src"
    assert "same-origin" not in policy
    assert policy.replace("media-src 'self'", "").count("'self'") == 0, "nothing from here but a movie beside it"


def test_of_a_report_that_was_not_made_it_is_told_what_makes_it(get):
    answer = get(f"{FILES}/{KEY}/-/reports/session_report.html")
    assert answer.status_code == 404
    assert b"expected a report, found none was made yet" in answer.content
    assert f"run `meso report {KEY}`".encode() in answer.content


@pytest.mark.parametrize(
    "path",
    [
        f"{KEY}/-/raw_session.flag",
        f"{KEY}/-/reports/qc/rois.json",
        f"{KEY}/-/reports/../../../../secret.png",
        f"{KEY}/-/reports/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/secret.png",
        f"{KEY}/-//etc/passwd.png",
        f"{KEY}/-/reports/figures",
        f"{KEY}/-/reports/figures/b.png",
        f"{KEY}/-/reports/out.png",
        f"{KEY}/-/reports/outside/secret.png",
        "../../-/reports/a.png",
        "SP035/2023-03-03/009/-/reports/figures/a.png",
        "-/reports/a.png",
    ],
)
def test_nothing_else_is_handed_out(get, settings, path):
    reports = settings.root / KEY / "reports"
    (reports / "out.png").symlink_to(settings.root.parent / "secret.png")
    (reports / "outside").symlink_to(settings.root.parent)
    answer = get(f"{FILES}/{path}")
    assert answer.status_code == 404
    assert b"secret" not in answer.content.replace(b"secret.png", b"")
