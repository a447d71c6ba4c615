"""The stand-in behind HTTP on loopback, so that the real ``AlyxClient`` talks to it."""

import email
import io
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from requests import HTTPError

ENDPOINTS = {
    "sessions": ["subject", "date_range", "number"],
    "subjects": [],
    "surgeries": ["subject", "procedure"],
    "imaging-stack": [],
    "fields-of-view": ["session", "name"],
    "fov-location": ["field_of_view"],
    "notes": ["django"],
}
PAGE = 2  # rows; small, so that lists come in several pages


def schema():
    paths = {}
    for endpoint, filters in ENDPOINTS.items():
        listing = {"parameters": [{"name": name} for name in filters]}
        paths[f"/{endpoint}"] = {"get": listing, "post": {}}
        paths[f"/{endpoint}/{{id}}"] = {"get": {}, "patch": {}}
    return {"paths": paths}


@contextmanager
def serving(stand_in):
    """Serve a stand-in; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status, content):
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle_action(self, method):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            endpoint, _, record = url.path.strip("/").partition("/")
            if url.path == "/auth-token":
                return self.answer(200, {"token": "secret"})
            if self.headers.get("Authorization") != "Token secret":
                return self.answer(403, {"detail": "Authentication credentials were not provided."})
            if url.path == "/api/schema":
                return self.answer(200, schema())
            try:
                return self.answer(*self.act(method, endpoint, record, dict(parse_qsl(url.query)), body))
            except HTTPError as error:
                return self.answer(error.response.status_code, {"detail": str(error)})

        def act(self, method, endpoint, record, filters, body):
            if method == "GET" and record:
                return 200, stand_in.rest(endpoint, "read", id=record, no_cache=True)
            if method == "GET":
                return 200, self.page(endpoint, filters)
            data, files = self.parse(body)
            if method == "POST":
                return 201, stand_in.rest(endpoint, "create", data=data, files=files)
            return 200, stand_in.rest(endpoint, "partial_update", id=record, data=data)

        def page(self, endpoint, filters):
            offset, limit = int(filters.pop("offset", 0)), int(filters.pop("limit", PAGE))
            if "date_range" in filters:
                filters["date_range"] = filters["date_range"].split(",")
            rows = stand_in.rest(endpoint, "list", no_cache=True, **filters)
            more = f"{self.headers['Host']}{self.path}" if len(rows) > PAGE else None
            page = rows[offset : offset + limit]
            return {"count": len(rows), "next": more and f"http://{more}", "previous": None, "results": page}

        def parse(self, body):
            kind = self.headers["Content-Type"]
            if not kind.startswith("multipart"):
                return json.loads(body), None
            parts = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body).get_payload()
            content = {p.get_param("name", header="content-disposition"): p.get_payload(decode=True) for p in parts}
            picture = io.BytesIO(content.pop("image"))
            return {name: value.decode() for name, value in content.items()}, {"image": picture}

        def do_GET(self):
            self.handle_action("GET")

        def do_POST(self):
            self.handle_action("POST")

        def do_PATCH(self):
            self.handle_action("PATCH")

        def log_message(self, *args):
            """Keep the test's output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
