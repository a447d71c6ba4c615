"""A real SMTP server and a real web hook on loopback, which keep what they are told."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from types import SimpleNamespace
from typing import Any

from aiosmtpd.controller import Controller

PASSWORD = "hunter2-of-the-lab"


def free_port() -> int:
    """Find a port that nobody has."""
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        return asking.getsockname()[1]


@contextmanager
def mail_server(port: int | None = None) -> Iterator[SimpleNamespace]:
    """Serve SMTP on loopback; what was taken is in ``mails``."""
    mails = []

    class Keep:
        async def handle_DATA(self, server, session, envelope):
            mails.append(message_from_bytes(envelope.content, policy=policy.default))
            return "250 OK"

    controller = Controller(Keep(), hostname="127.0.0.1", port=port or free_port())
    controller.start()
    try:
        url = f"mailto://127.0.0.1:{controller.port}?from=meso@example.org&to=lab@example.org"
        yield SimpleNamespace(mails=mails, url=url, port=controller.port)
    finally:
        controller.stop()


@contextmanager
def web_hook() -> Iterator[SimpleNamespace]:
    """Serve HTTP on loopback; the JSON that came is in ``posts``, and the answer is ``status``."""
    told = SimpleNamespace(posts=[], status=200, url="")

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if told.status == 200:
                told.posts.append(json.loads(content))
            self.send_response(told.status)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    told.url = f"json://meso:{PASSWORD}@127.0.0.1:{server.server_port}/notices"
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def parts_of(mail: Any) -> dict[str, Any]:
    """Return the parts of a mail by kind, each as text."""
    return {part.get_content_type(): part.get_content() for part in mail.walk() if not part.is_multipart()}
