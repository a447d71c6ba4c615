"""A door in front of a server that is not ours to disturb: requests go through it, and faults strike at it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from .faults import Answer, Faults, answered
from .transport import Listener, Message

#: Headers that hold for one connection only.
OWN = {"host", "connection", "content-length", "transfer-encoding", "content-encoding", "keep-alive"}


class Door:
    """The way to a server at ``beyond``, with what a test asks of a stand-in: faults, being down, new tokens."""

    def __init__(self, beyond: str) -> None:
        self.beyond = beyond.rstrip("/")
        self.faults = Faults()
        self.requests: list[tuple[str, str]] = []
        #: Token as it was given → token of the server.
        self._tokens: dict[str, str] = {}
        self._listener = Listener(self)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.port}"

    def start(self) -> None:
        self._listener.start()

    def stop(self) -> None:
        self._listener.stop()

    def expire_tokens(self) -> None:
        """Let each token that was given be invalid; a new login gives a new one."""
        self._tokens.clear()

    def carry_out(self, message: Message) -> Answer:
        headers = {name: value for name, value in message.headers.items() if name.lower() not in OWN}
        given = (message.header("Authorization") or "").removeprefix("Token ")
        if given:
            if given not in self._tokens:
                return answered(403, {"detail": "Invalid token."})
            headers["Authorization"] = f"Token {self._tokens[given]}"
        answer = requests.request(
            message.method, self.beyond + message.target, headers=headers, data=message.body, timeout=60
        )
        content = answer.content.replace(self.beyond.encode(), self.url.encode())
        if message.target.startswith("/auth-token") and answer.ok:
            token = secrets.token_hex(20)
            self._tokens[token] = answer.json()["token"]
            content = json.dumps({"token": token}).encode()
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in OWN}
        return answer.status_code, kept, content


@contextmanager
def door_to(url: str) -> Iterator[Door]:
    """A door that is open as long as the block runs."""
    door = Door(url)
    door.start()
    try:
        yield door
    finally:
        door.stop()
