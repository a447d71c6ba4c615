"""What goes wrong between a client and the server, by request; a test switches each on for as long as it needs.

``server.faults.next("POST", "/fields-of-view", lose_answer)`` lets the next such request be carried out and its answer
be lost; ``after=3`` spares the first three, ``times=2`` hits two, ``times=None`` all that follow.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class Fault:
    """What happens to one request; the parts are taken in this order."""

    #: Called before the request is looked at: somebody else is quicker.
    meanwhile: Callable[[], None] | None = None
    #: Answer in the place of the server's; the request is not carried out.
    instead: Answer | None = None
    #: Seconds until the request is carried out.
    wait: float = 0.0
    #: True if the connection is closed, without an answer, before the request is carried out.
    drop: bool = False
    #: True if the connection is closed, without an answer, after the request was carried out.
    lose: bool = False
    #: True if somebody else sends the same a moment earlier.
    twin: bool = False
    #: Seconds between carrying out and answering.
    wait_after: float = 0.0
    #: For ``/register-file``: so many files are registered, then the answer is 500.
    after_files: int | None = None


def answered(status: int, content: dict[str, Any]) -> Answer:
    """An answer with a body of JSON, which names its status too."""
    return status, {"Content-Type": "application/json"}, json.dumps({**content, "status_code": status}).encode()


drop = Fault(drop=True)
lose_answer = Fault(lose=True)
somebody_else_first = Fault(twin=True)


def hang(seconds: float) -> Fault:
    """The server thinks for so long, and only then does what it was asked."""
    return Fault(wait=seconds)


def answer_late(seconds: float) -> Fault:
    """The server does at once what it was asked, and says so only after so many seconds."""
    return Fault(wait_after=seconds)


def too_many(retry_after: float) -> Fault:
    status, headers, body = answered(429, {"detail": "Request was throttled."})
    return Fault(instead=(status, {**headers, "Retry-After": str(retry_after)}, body))


def broken(status: int = 500) -> Fault:
    return Fault(instead=answered(status, {"detail": "the database is restarting"}))


def proxy_page(status: int = 200) -> Fault:
    """A proxy in between answers with a page of its own, as login portals do."""
    page = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in to the network.</body></html>"
    return Fault(instead=(status, {"Content-Type": "text/html; charset=utf-8"}, page.encode()))


def meanwhile(action: Callable[[], None]) -> Fault:
    return Fault(meanwhile=action)


def midway(files: int) -> Fault:
    """The batch fails after so many files, which stay registered."""
    return Fault(after_files=files)


@dataclass
class _Rule:
    method: str
    path: re.Pattern[str]
    fault: Fault
    after: int
    times: int | None


class Faults:
    """Rules of what goes wrong, the oldest first."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        #: How often a fault struck: a test that expects one makes sure that it did.
        self.struck = 0

    def next(self, method: str, path: str, fault: Fault, *, after: int = 0, times: int | None = 1) -> None:
        """Let a fault strike requests; ``method`` may be ``*``, ``path`` is a regular expression from the start."""
        with self._lock:
            self._rules.append(_Rule(method, re.compile(path), fault, after, times))

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def of(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if any does."""
        with self._lock:
            for rule in self._rules:
                if rule.method not in ("*", method) or not rule.path.match(path):
                    continue
                if rule.after > 0:
                    rule.after -= 1
                    return None
                if rule.times is not None:
                    rule.times -= 1
                    if rule.times <= 0:
                        self._rules.remove(rule)
                self.struck += 1
                return rule.fault
        return None
