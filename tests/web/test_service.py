"""meso as a service: the unit is one of systemd, the proxy asks for a login, and what is open to all is said."""

import asyncio
import contextlib
import getpass
import grp
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

import pytest
import uvicorn
from click.testing import CliRunner
from websockets.sync.client import connect

from meso_assets.cli import group, serve
from meso_assets.web.guard import LOOPBACK, OwnPagesOnly
from tests.conftest import unavailable

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
NAME = "meso.example.org"
LOGIN = {"Authorization": "Basic " + b64encode(b"anna:secret").decode()}
JSON = {"Content-Type": "application/json"}


def program(name: str, package: str) -> str:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin") or unavailable(name, f"apt install {package}")


def test_the_unit_is_one_that_systemd_takes_without_a_word(tmp_path):
    verify = program("systemd-analyze", "systemd")
    here = {
        "/opt/meso/.venv/bin/meso": str(Path(sys.executable).with_name("meso")),
        "User=meso": f"User={getpass.getuser()}",
        "Group=meso": f"Group={grp.getgrgid(os.getgid()).gr_name}",
    }
    text = (DEPLOY / "meso.service").read_text()
    for installed, found in here.items():
        assert installed in text
        text = text.replace(installed, found)
    (tmp_path / "meso.service").write_text(text)
    # other units of this machine may lack what a container leaves out
    told = subprocess.run([verify, "verify", tmp_path / "meso.service"], capture_output=True, text=True, check=False)
    assert [line for line in told.stderr.splitlines() if "meso" in line] == []
    (tmp_path / "meso.service").write_text(text.replace("Type=exec", "Type=exek"))
    told = subprocess.run([verify, "verify", tmp_path / "meso.service"], capture_output=True, text=True, check=False)
    assert "exek" in told.stderr, "it looks at the unit"


def test_the_example_of_the_settings_names_settings_only():
    from meso_assets.runs.settings.settings import MesoSettings

    lines = [line.lstrip("# ") for line in (DEPLOY / "environment.example").read_text().splitlines()]
    names = {line.partition("=")[0] for line in lines if line.partition("=")[0].isupper()}
    known = {f"MESO_{name.upper()}" for name in MesoSettings.model_fields} | {
        "ALYX_USER",
        "ALYX_PASSWORD",
        "MESO_NOTICES",
        "MESO_POSTGRES",
        "MESO_BROKER",
    }
    assert names <= known
    assert "MESO_ROOT" in names


async def app(scope, receive, send):
    """Answer as the interface would, behind the guard."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "a line of the log"})
        await send({"type": "websocket.close"})
    elif scope["type"] == "http":
        seen = dict(scope["headers"]).get(b"authorization", b"none")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"authorization: " + seen})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@contextlib.contextmanager
def interface(port):
    """Serve the guarded stand-in of Dagster's application."""
    guarded = OwnPagesOnly(app, LOOPBACK | {NAME})
    server = uvicorn.Server(uvicorn.Config(guarded, "127.0.0.1", port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    """Address of a real nginx with the configuration of ``deploy``, but for TLS, before the guard."""
    nginx, folder, port, behind = (
        program("nginx", "nginx-light"),
        tmp_path_factory.mktemp("nginx"),
        free_port(),
        free_port(),
    )
    text = (DEPLOY / "nginx.conf").read_text()
    for installed, found in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        ("/etc/nginx/meso.users", str(folder / "users")),
        ("http://127.0.0.1:3000", f"http://127.0.0.1:{behind}"),
    ):
        assert installed in text
        text = text.replace(installed, found)
    text = "\n".join(line for line in text.splitlines() if "ssl_certificate" not in line)
    places = " ".join(f"{name}_temp_path {folder};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.getuid() == 0 else ""
    head = f"{user} daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}"
    (folder / "nginx.conf").write_text(f"{head}\nhttp {{ access_log off; {places}\n{text}\n}}\n")
    (folder / "users").write_text("anna:{PLAIN}secret\n")
    with interface(behind), subprocess.Popen([nginx, "-p", folder, "-c", folder / "nginx.conf"]) as running:
        deadline = time.monotonic() + 30
        while (status(f"127.0.0.1:{port}") != 401) and time.monotonic() < deadline:
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
        running.terminate()


def status(address, path="/", method="GET", **headers):
    """Ask by the name that people use; 0 where nobody listens."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://{address}{path}", method=method, headers={"Host": NAME, **more})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.read() == b"authorization: none", "who has logged in is nobody else's business"
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def test_without_a_login_nothing_is_answered_and_with_one_all_of_it(proxy):
    assert status(proxy) == 401
    assert status(proxy, Authorization="Basic " + b64encode(b"anna:other").decode()) == 401
    assert status(proxy, **LOGIN) == 200
    assert status(proxy, "/graphql", "POST", **LOGIN, **JSON, Origin=f"https://{NAME}") == 200


def test_another_page_in_the_browser_of_somebody_who_has_logged_in_can_start_nothing(proxy):
    assert status(proxy, "/graphql", "POST", **LOGIN, **JSON, Origin="https://page.example") == 403
    assert status(proxy, Host="rebound.example", **LOGIN) in (401, 403)


def test_a_log_that_grows_comes_through_the_proxy(proxy):
    host, port = proxy.split(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as line,
        connect(f"ws://{NAME}/graphql", sock=line, additional_headers=LOGIN, origin=f"http://{NAME}") as log,
    ):
        assert log.recv(timeout=10) == "a line of the log"


@pytest.mark.parametrize(
    ("host", "warns"), [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True)]
)
def test_what_listens_to_all_says_that_it_has_no_login(tmp_path, monkeypatch, host, warns):
    monkeypatch.setenv("MESO_ROOT", str(tmp_path))
    monkeypatch.delenv("MESO_UI_HOSTS", raising=False)
    served = []
    monkeypatch.setattr(serve, "serve_sessions", lambda settings, host, port: served.append((host, port)))
    told = CliRunner().invoke(group, ["serve", "--host", host])
    assert told.exit_code == 0, told.output
    assert served == [(host, 3000)]
    assert ("has no login" in told.output) is warns
