"""Links in Dagster's records lead to meso's pages from every page of Dagster, with a prefix before all and without."""

import asyncio
from urllib.parse import unquote, urljoin, urlsplit

import dagster as dg
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from meso_assets.overview.links import OVERVIEW_LINK, report_link
from meso_assets.runs.settings.settings import load_settings
from meso_assets.web.routes import PREFIX_VARIABLE, meso_routes, path_prefix

KEY = "SP035/2023-03-03/001"
HOST = "http://127.0.0.1:3000"
#: Pages of Dagster on which entries of metadata stand, one level deep and more.
PAGES = (
    "/assets",
    "/assets/session_report",
    "/assets/session_report?view=partitions&partition=SP035%2F2023-03-03%2F001",
    "/assets/session_report/",
    "/runs/7f0a2f5e-0000-4000-8000-000000000000",
    "/locations/meso_assets.definitions/asset-groups/report",
    "/overview/activity",
)
PREFIXES = ("", "/imaging", "/lab one/imaging", "/meso")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    root = tmp_path_factory.mktemp("prefix") / "Subjects"
    report = root / KEY / "reports" / "session_report.html"
    report.parent.mkdir(parents=True)
    (root / KEY / "raw_session.flag").touch()
    report.write_bytes(b"the report")
    return load_settings({"root": root, "home": root.parent / "home"})


@pytest.fixture(params=PREFIXES)
def interface(request, settings):
    """Ask for a path as a browser does, which follows redirects; what comes back, and from where."""
    prefix = request.param

    async def of_dagster(_):
        return PlainTextResponse("Dagster")

    dagster = [Route("/{path:path}", of_dagster), Route("/", of_dagster)]
    with dg.DagsterInstance.ephemeral() as instance:
        own = meso_routes(settings, instance, prefix)
        app = Starlette(routes=[*own, *([Mount(prefix, routes=dagster)] if prefix else dagster)])

        def opened(page, link=""):
            address = urljoin(f"{HOST}{prefix.replace(' ', '%20')}{page}", link)
            for _ in range(2):
                status, headers, content = asked(app, urlsplit(address).path)
                if status not in (301, 302, 303, 307, 308):
                    break
                address = urljoin(address, headers["location"])
            return status, content, unquote(urlsplit(address).path).removeprefix(prefix)

        yield opened


def asked(app, raw_path):
    scope = {"type": "http", "method": "GET", "path": unquote(raw_path), "raw_path": raw_path.encode(), "headers": []}
    messages = []

    async def send(message):
        messages.append(message)

    asyncio.run(app({**scope, "query_string": b"", "http_version": "1.1", "root_path": ""}, None, send))
    headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
    return messages[0]["status"], headers, b"".join(message.get("body", b"") for message in messages[1:])


@pytest.mark.parametrize("page", PAGES)
def test_the_link_to_a_report_leads_to_it_from_every_page(interface, page):
    (link,) = report_link(KEY).values()
    at = f"/meso/overview/files/{KEY}/-/reports/session_report.html"
    assert interface(page, link.value) == (200, b"the report", at)


@pytest.mark.parametrize("page", PAGES)
def test_the_link_to_the_overview_leads_to_it_from_every_page(interface, page):
    (link,) = OVERVIEW_LINK.values()
    status, content, path = interface(page, link.value)
    assert (status, path) == (200, "/meso/overview")
    assert KEY.encode() in content


@pytest.mark.parametrize("page", PAGES)
def test_pages_of_dagster_stay_where_they_are(interface, page):
    assert interface(page)[:2] == (200, b"Dagster")


def test_the_address_that_is_told_has_the_prefix_that_dagsters_server_is_given(monkeypatch):
    monkeypatch.delenv(PREFIX_VARIABLE, raising=False)
    assert path_prefix() == ""
    monkeypatch.setenv(PREFIX_VARIABLE, "/imaging")
    assert path_prefix() == "/imaging"
    from dagster_webserver.cli import dagster_webserver

    (option,) = [one for one in dagster_webserver.params if one.name == "path_prefix"]
    context = dagster_webserver.make_context("dagster-webserver", [], auto_envvar_prefix="DAGSTER_WEBSERVER")
    assert context.params[option.name] == "/imaging"
