"""HTTP: bytes on a socket, and the faults that strike between them and whatever answers."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from .faults import Answer, Fault, Faults, broken


@dataclass(frozen=True)
class Message:
    """A request as it came."""

    method: str
    #: Path and query.
    target: str
    headers: dict[str, str]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), None)


class Behind(Protocol):
    """What answers the requests: the stand-in itself, or a door to a real server."""

    faults: Faults
    requests: list[tuple[str, str]]

    def carry_out(self, message: Message) -> Answer:
        """Do what is asked."""


def shortened(message: Message, files: int) -> Message:
    """The same request for the first files only: what a batch that fails midway has done."""
    data = json.loads(message.body)
    for name in ("filenames", "hashes", "filesizes", "versions", "qc"):
        if isinstance(data.get(name), list):
            data[name] = data[name][:files]
    body = json.dumps(data).encode()
    headers = {key: value for key, value in message.headers.items() if key.lower() != "content-length"}
    return replace(message, headers={**headers, "Content-Length": str(len(body))}, body=body)


class Listener:
    """A port on loopback that is listened to or not, and the connections to it."""

    def __init__(self, behind: Behind) -> None:
        self.port = 0
        self._handler = type("Handler", (_Handler,), {"behind": behind, "connections": set()})
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
    behind: Behind
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
        self.behind.requests.append((self.command, path.strip("/").partition("/")[0]))
        fault = self.behind.faults.of(self.command, path) or Fault()
        if fault.meanwhile:
            fault.meanwhile()
        if fault.instead:
            return self._send(*fault.instead)
        time.sleep(fault.wait)
        if fault.drop:
            return self._hang_up()
        message = Message(self.command, self.path, dict(self.headers.items()), body)
        if fault.after_files is not None:
            message = shortened(message, fault.after_files)
        if fault.twin:
            self.behind.carry_out(message)
        answer = self.behind.carry_out(message)
        if fault.after_files is not None:
            answer = broken().instead or answer
        time.sleep(fault.wait_after)
        return self._hang_up() if fault.lose else self._send(*answer)

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
