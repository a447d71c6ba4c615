"""Processes that die at a request to a server: before it is sent, or before its answer comes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import count

import pytest

from meso_core.errors import MesoError
from meso_core.storage.remote import RemoteRoot, list_below, remove
from meso_core.storage.remote.servers.calls import Caller


class Killed(BaseException):
    """What the process was when it was killed."""


def killed_at_request(n: int, work: Callable[[], object], *, answered: bool = False) -> bool:
    """Do ``work`` until the n-th request to a server, counted from 1: after it nothing more is asked.

    Parameters
    ----------
    answered
        Whether the server still does what the n-th request asks.

    Returns
    -------
    bool
        Whether it came to the n-th request; False where it ended before.
    """
    requests, real = count(1), Caller.__call__
    dead = False

    def call(self: Caller, doing: str, path: str, ask: Callable[..., object], **more: Callable[[], int]) -> object:
        nonlocal dead
        if dead:
            raise Killed
        if next(requests) == n:
            dead = True
            if answered:
                with suppress(Exception):
                    real(self, doing, path, ask, **more)
            raise Killed
        return real(self, doing, path, ask, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Caller, "__call__", call)
        with suppress(Killed):
            work()
    return dead


def let_claims_end(root: RemoteRoot, session: str) -> None:
    """Let the claims of what was killed have ended with its process: here the process goes on."""
    for folder in ("locks", "claims"):
        there = list_below(root, f"{session}/.meso/{folder}")
        remove(root, [f"{session}/.meso/{folder}/{file.path}" for file in there])


def failing_at_request(n: int, work: Callable[[], object], *, answered: bool = False) -> bool:
    """Do ``work`` while the n-th request to a server fails for good, and all others are answered.

    ``answered`` as for :func:`killed_at_request`: its answer is lost. Errors of meso end the work. Returns whether it
    came to the n-th request.
    """
    requests, real, failed = count(1), Caller.__call__, False

    def call(self: Caller, doing: str, path: str, ask: Callable[..., object], **more: Callable[[], int]) -> object:
        nonlocal failed
        if next(requests) == n:
            failed = True
            if answered:
                with suppress(Exception):
                    real(self, doing, path, ask, **more)
            self.fail(doing, path, ConnectionError("cut"))
        return real(self, doing, path, ask, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Caller, "__call__", call)
        with suppress(MesoError):
            work()
    return failed


def losing_answer_at_request(n: int, work: Callable[[], object]) -> bool:
    """Do ``work`` while the answer to the n-th request is lost, so that it is asked again; tell whether one was."""
    requests, real, lost = count(1), Caller.__call__, False

    def call(self: Caller, doing: str, path: str, ask: Callable[..., object], **more: Callable[[], int]) -> object:
        nonlocal lost
        if next(requests) != n:
            return real(self, doing, path, ask, **more)

        def ask_and_lose(server: object) -> object:
            nonlocal lost
            answer = ask(server)
            if not lost:
                lost = True
                raise ConnectionResetError
            return answer

        return real(self, doing, path, ask_and_lose, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Caller, "__call__", call)
        work()
    return lost
