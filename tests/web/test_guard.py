"""The guard before the web server: only its own pages, and programs, may ask for anything."""

import asyncio

import pytest

from meso_assets.web.guard import OwnPagesOnly

JSON = {"content-type": "application/json"}
HOST = "127.0.0.1:3000"


async def _app(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"reached"})


def ask(method="POST", path="/graphql", kind="http", hosts=None, more=(), **headers):
    """Send a request through the guard; returns the messages that come back."""
    given = {"host": HOST, **headers}
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items() if value is not None]
    scope = {"type": kind, "path": path, "query_string": b"", "headers": [*raw, *more]}
    scope |= {"method": method} if kind == "http" else {}
    messages = []

    async def send(message):
        messages.append(message)

    guard = OwnPagesOnly(_app, hosts) if hosts else OwnPagesOnly(_app)
    asyncio.run(guard(scope, None, send))
    return messages


def status(**request):
    return ask(**request)[0]["status"]


@pytest.mark.parametrize("host", [HOST, "localhost:3000", "[::1]:3000", "LOCALHOST"])
def test_the_interface_on_this_machine_may_ask(host):
    assert status(host=host, origin=f"http://{host}", **JSON) == 200
    assert status(host=host, **JSON) == 200, "a program sends no Origin"
    assert status(host=host, method="GET", path="/runs") == 200


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD", "PUT"])
@pytest.mark.parametrize("path", ["/graphql", "/", "/report_asset_materialization/x", "/logs/a"])
@pytest.mark.parametrize(
    "foreign",
    [
        {"host": "rebound.example:3000"},
        {"host": "127.0.0.1.example"},
        {"host": "127.0.0.1@x"},
        {"host": ""},
        {"host": None},
        {"origin": "http://page.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "http://localhost:3000"},
        {"origin": "file://"},
        {"origin": ""},
    ],
    ids=str,
)
def test_other_pages_and_names_are_refused_whatever_they_ask(method, path, foreign):
    (start, body) = ask(method=method, path=path, **{**JSON, **foreign})
    assert start["status"] == 403
    assert b": expected " in body["body"] or b", field " in body["body"]


def test_two_hosts_are_none():
    assert status(more=[(b"host", b"127.0.0.1:3000")], **JSON) == 403


@pytest.mark.parametrize("form", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; x=y"])
@pytest.mark.parametrize("path", ["/graphql", "/report_asset_materialization/x"])
def test_what_a_form_can_send_without_asking_changes_nothing(form, path):
    assert status(path=path, **{"content_type": form}) == 403


def test_a_browser_that_says_that_another_page_asks_is_believed():
    assert status(sec_fetch_site="cross-site", **JSON) == 403
    assert status(sec_fetch_site="same-site", **JSON) == 403
    assert status(sec_fetch_site="same-origin", **JSON) == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_graphql_request_by_get_is_refused_and_its_page_is_shown(method):
    assert status(method=method) == 403
    assert status(method=method, path="/prefix/graphql/") == 403
    assert status(method=method, accept="text/html") == 200


@pytest.mark.parametrize("foreign", [{"origin": "http://page.example"}, {"host": "page.example"}, {"origin": "null"}])
def test_a_websocket_of_another_page_is_closed_before_it_opens(foreign):
    assert ask(kind="websocket", **foreign)[0]["type"] == "websocket.close"


def test_a_websocket_of_the_interface_is_opened():
    assert ask(kind="websocket", origin=f"http://{HOST}")[0]["type"] == "websocket.accept"


def test_a_lab_may_name_its_proxy():
    assert status(host="meso.lab", origin="https://meso.lab", hosts=["meso.lab"], **JSON) == 200
    assert status(host="meso.lab", origin="https://other.lab", hosts=["meso.lab"], **JSON) == 403


def test_no_other_page_may_show_the_interface_in_a_frame():
    assert (b"x-frame-options", b"DENY") in ask(method="GET", path="/runs")[0]["headers"]
