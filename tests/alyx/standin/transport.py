"""HTTP: from bytes on a socket to requests and back, and the faults that strike in between."""

from __future__ import annotations

import email
import json
import socket
import threading
import time
from contextlib import suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .faults import Fault
from .refusals import RefusalError, refuse
from .resource import Request

if TYPE_CHECKING:
    from .server import StandIn


class Listener:
    """A port on loopback that is listened to or not, and the connections to it."""

    def __init__(self, server: StandIn) -> None:
        self.port = 0
        self._handler = type("Handler", (_Handler,), {"stand_in": server, "connections": set()})
        self._http: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._http is not None:
            return
        self._http = _Server(("127.0.0.1", self.port), self._handler)
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._http is None or self._thread is None:
            return
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._http = self._thread = None
        for connection in list(self._handler.connections):
            close(connection)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64


def close(connection: socket.socket) -> None:
    with suppress(OSError):  # the client may have closed it already
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    stand_in: StandIn
    connections: set[socket.socket]

    def setup(self) -> None:
        super().setup()
        self.connections.add(self.connection)

    def finish(self) -> None:
        self.connections.discard(self.connection)
        with suppress(OSError):  # closed on purpose, or by the client
            super().finish()

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ValueError, OSError):
            self.close_connection = True  # closed on purpose, or by the client

    def log_message(self, *args: Any) -> None:
        """Keep the output of tests clean."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_PATCH(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.stand_in.requests.append((self.command, path.strip("/").partition("/")[0]))
        fault = self.stand_in.faults.of(self.command, path) or Fault()
        if fault.meanwhile:
            fault.meanwhile()
        if fault.instead:
            return self._send(*fault.instead)
        time.sleep(fault.wait)
        if fault.drop:
            return self._hang_up()
        if fault.after_files is not None:
            self.stand_in.behaviour.fail_after = fault.after_files
        status, headers, content = self._carry_out(path, dict(parse_qsl(url.query)), body)
        time.sleep(fault.wait_after)
        return self._hang_up() if fault.lose else self._send(status, headers, content)

    def _carry_out(self, path: str, query: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {"Content-Type": "application/json"}
        try:
            data, files = self._parsed(body)
            if path == "/auth-token":
                status, content = self.stand_in.log_in(self.command, data)
            else:
                user = self.stand_in.user_of(self.headers.get("Authorization"))
                if (seconds := self.stand_in.throttle.wait(user)) is not None:
                    headers["Retry-After"] = str(seconds)
                    refuse(429, f"Request was throttled. Expected available in {seconds} seconds.")
                request = Request(user, self.stand_in.url, query, data, files)
                status, content = self.stand_in.answer(self.command, path, request)
        except RefusalError as refusal:
            if isinstance(refusal.body, str):
                return refusal.status, {"Content-Type": "text/html; charset=utf-8"}, refusal.body.encode()
            status, content = refusal.status, {"status_code": refusal.status, **refusal.body}
        except Exception as error:  # noqa: BLE001  as the server does: what it did not foresee is a 500
            status, content = 500, {"status_code": 500, "detail": f"{type(error).__name__}: {error}"}
        return status, headers, b"" if status == 204 else json.dumps(content).encode()

    def _parsed(self, body: bytes) -> tuple[dict[str, Any], dict[str, tuple[str, bytes]]]:
        kind = self.headers.get("Content-Type") or ""
        if kind.startswith("multipart"):
            return _form(kind, body)
        if kind.startswith("application/x-www-form-urlencoded"):
            return dict(parse_qsl(body.decode())), {}
        if not body or body == b"null":
            return {}, {}
        try:
            content = json.loads(body)
        except ValueError as error:
            refuse(400, f"JSON parse error - {error}")
        return (content, {}) if isinstance(content, dict) else refuse(400, "Invalid data. Expected a dictionary.")

    def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _hang_up(self) -> None:
        self.close_connection = True
        close(self.connection)


def _form(kind: str, body: bytes) -> tuple[dict[str, Any], dict[str, tuple[str, bytes]]]:
    message = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    data: dict[str, Any] = {}
    files: dict[str, tuple[str, bytes]] = {}
    for part in message.get_payload():
        assert isinstance(part, Message)
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if (file_name := part.get_filename()) is not None:
            files[name] = (file_name, content)
        else:
            data[name] = content.decode()
    if "json" in data:
        try:
            data["json"] = json.loads(data["json"])  # of a form; text in a JSON body stays text
        except ValueError:
            raise RefusalError(400, {"json": ["Value must be valid JSON."]}) from None
    return data, files
