"""The stand-in: an Alyx in this process, over real HTTP on loopback."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import UUID

from . import catalogue, datasets, imaging, notes, sessions
from .faults import Answer, Faults
from .messages import parsed
from .refusals import RefusalError, no_route, refuse
from .registering import Behaviour, check_protected, register_files
from .resource import Request, Resource, method_not_allowed
from .schema import schema
from .seeding import fill
from .tables import Tables
from .throttle import Throttle
from .transport import Listener, Message

RESOURCES = (*catalogue.ALL, *sessions.ALL, *imaging.ALL, *datasets.ALL, *notes.ALL)


@dataclass(frozen=True)
class Account:
    password: str
    #: A public user may only read.
    public: bool = False


class StandIn:
    """An Alyx 3.6 as section 8 of the contract asks for it.

    ``url`` is its address. ``stop`` takes it down, ``start`` brings it back at the same address with all it held.
    """

    def __init__(self, *, throttle: Throttle | None = None) -> None:
        self.tables = Tables()
        fill(self.tables)
        self.faults = Faults()
        self.throttle = throttle or Throttle()
        self.behaviour = Behaviour()
        #: Method and endpoint of each request, as ``("POST", "fields-of-view")``.
        self.requests: list[tuple[str, str]] = []
        self._accounts: dict[str, Account] = {}
        self._tokens: dict[str, str] = {}
        self._resources: dict[str, Resource] = {kind.endpoint: kind(self.tables) for kind in RESOURCES}
        self._listener = Listener(self)
        self.add_user("experimenter", "let-me-in")

    # what a test does

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.port}"

    def start(self) -> None:
        self._listener.start()

    def stop(self) -> None:
        """Take the server down: connections are refused from now on, and those that are open are closed."""
        self._listener.stop()

    def add_user(self, name: str, password: str, *, public: bool = False) -> None:
        self.tables["users"].add(username=name)
        self._accounts[name] = Account(password, public)

    def token(self, name: str) -> str:
        """The user's token; it stays the same until tokens expire."""
        for token, user in self._tokens.items():
            if user == name:
                return token
        token = secrets.token_hex(20)
        self._tokens[token] = name
        return token

    def expire_tokens(self) -> None:
        """Let each token that was given be invalid; a new login gives a new one."""
        self._tokens.clear()

    # what a request does

    def answer(self, method: str, path: str, request: Request) -> tuple[int, Any]:
        """Status and content, for a user who is known."""
        endpoint, _, key = path.strip("/").partition("/")
        if self._accounts[request.user].public and method != "GET":
            refuse(403, "You do not have permission to perform this action.")
        with self.tables.lock:
            if path == "/api/schema" and method == "GET":
                return 200, schema(self._resources.values())
            if endpoint in ("register-file", "check-protected"):
                return self._registering(method, endpoint, request)
            resource = self._resources.get(endpoint) or no_route()
            return self._record(resource, method, key, request) if key else self._list(resource, method, request)

    def carry_out(self, message: Message) -> Answer:
        """Answer a request."""
        url = urlsplit(message.target)
        path, headers = unquote(url.path), {"Content-Type": "application/json"}
        try:
            data, files = parsed(message)
            if path == "/auth-token":
                status, content = self.log_in(message.method, data)
            else:
                user = self._user_of(message.header("Authorization"))
                if (seconds := self.throttle.wait(user)) is not None:
                    headers["Retry-After"] = str(seconds)
                    refuse(429, f"Request was throttled. Expected available in {seconds} seconds.")
                request = Request(user, self.url, dict(parse_qsl(url.query)), data, files)
                status, content = self.answer(message.method, path, request)
        except RefusalError as refusal:
            if isinstance(refusal.body, str):
                return refusal.status, {"Content-Type": "text/html; charset=utf-8"}, refusal.body.encode()
            status, content = refusal.status, {"status_code": refusal.status, **refusal.body}
        except Exception as error:  # noqa: BLE001  as the server does: what it did not foresee is a 500
            status, content = 500, {"status_code": 500, "detail": f"{type(error).__name__}: {error}"}
        return status, headers, b"" if status == 204 else json.dumps(content).encode()

    def log_in(self, method: str, data: dict[str, Any]) -> tuple[int, Any]:
        if method != "POST":
            method_not_allowed(method)
        missing = {name: ["This field is required."] for name in ("username", "password") if not data.get(name)}
        if missing:
            raise RefusalError(400, dict(missing))
        account = self._accounts.get(data["username"])
        if account is None or account.password != data["password"]:
            raise RefusalError(400, {"non_field_errors": ["Unable to log in with provided credentials."]})
        return 200, {"token": self.token(data["username"])}

    def _user_of(self, authorization: str | None) -> str:
        """The user whom a header names; a scheme other than ``Token`` is as good as none."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme != "Token":
            refuse(403, "Authentication credentials were not provided.")
        return self._tokens.get(token.strip()) or refuse(403, "Invalid token.")

    def _registering(self, method: str, endpoint: str, request: Request) -> tuple[int, Any]:
        if method != ("POST" if endpoint == "register-file" else "GET"):
            method_not_allowed(method)
        if endpoint == "check-protected":
            return 200, check_protected(self.tables, request)
        return 201, register_files(self.tables, request, self.behaviour)

    @staticmethod
    def _list(resource: Resource, method: str, request: Request) -> tuple[int, Any]:
        if method not in resource.list_methods:
            method_not_allowed(method)
        return (200, resource.list(request)) if method == "GET" else (201, resource.create(request))

    @staticmethod
    def _record(resource: Resource, method: str, key: str, request: Request) -> tuple[int, Any]:
        if "/" in key or (resource.table.key == "id" and resource.endpoint != "brain-regions" and not _is_uuid(key)):
            no_route()
        if method not in resource.one_methods:
            method_not_allowed(method)
        if method == "GET":
            return 200, resource.read(key, request)
        if method == "DELETE":
            resource.delete(key)
            return 204, None
        return 200, resource.change(key, request, partial=method == "PATCH")


def _is_uuid(key: str) -> bool:
    try:
        UUID(key)
    except ValueError:
        return False
    return True


@contextmanager
def serving(*, throttle: Throttle | None = None) -> Iterator[StandIn]:
    """A stand-in that serves as long as the block runs."""
    server = StandIn(throttle=throttle)
    server.start()
    try:
        yield server
    finally:
        server.stop()
