"""One call to a server: repeated while its failure may pass, and explained in plain words when it does not.

What belongs here: patience, and what a failure means for a person. What does not: what a kind of server says; each
tells which of its failures pass.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from ....errors import MesoError, StorageError
from .backend import Backend

T = TypeVar("T")

#: Environment variables whose values are never shown.
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "MESO_SFTP_PASSWORD")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_PASSING = (
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EPIPE,
    errno.ETIMEDOUT,
    errno.EBUSY,
    errno.EREMOTEIO,
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call is repeated that fails for the moment, and how long the pauses are."""

    #: Seconds from the first failure until the call is given up.
    total_s: float = 120.0
    first_s: float = 0.2
    longest_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Calls the server of one root."""

    url: str
    backend: Backend
    patience: Patience

    def __call__(
        self, doing: str, path: str, work: Callable[[Backend], T], *, moved: Callable[[], int] = lambda: 0
    ) -> T:
        """Do ``work``, and repeat it after each failure that may pass.

        Parameters
        ----------
        doing
            What is done, as in ``"list"``; for messages.
        path
            Path below the root.
        moved
            Tells how far the work is, where it goes on after a failure: while it gets further, patience begins anew.

        Raises
        ------
        FileNotFoundError
            As it is: what it means is known to whoever asks.
        StorageError
            After any other failure, or when patience has ended.
        """
        wait, first, so_far = self.patience.first_s, 0.0, -1
        while True:
            try:
                self.backend.own()
                return work(self.backend)
            except (FileNotFoundError, MesoError):
                raise
            except Exception as error:  # noqa: BLE001  each library has its own errors; all are reported
                now = time.monotonic()
                if moved() != so_far:
                    wait, first, so_far = self.patience.first_s, now, moved()
                if not may_pass(self.backend, error) or now - first + wait > self.patience.total_s:
                    self.fail(doing, path, error)
                time.sleep(wait * random.uniform(0.5, 1.0))
                wait = min(wait * 2, self.patience.longest_s)
                self._renew()

    def _renew(self) -> None:
        try:
            self.backend.renew()
        except Exception as error:  # noqa: BLE001  the next call reports it
            if not may_pass(self.backend, error):
                self.fail("connect", "", error)

    def fail(self, doing: str, path: str, error: BaseException) -> NoReturn:
        """Raise what a person can act on; the library's error is not chained, for it may repeat what was sent."""
        expected, remedy = _advice(error, passing=may_pass(self.backend, error))
        raise StorageError.at(
            f"{self.url}/{path}".rstrip("/"),
            expected=f"a server that can {doing} this{expected}",
            found=without_secrets(error),
            remedy=remedy,
        ) from None


def may_pass(backend: Backend, error: BaseException) -> bool:
    """Whether the same call may succeed a moment later."""
    if isinstance(error, FileNotFoundError | PermissionError | FileExistsError):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    return getattr(error, "errno", None) in _PASSING or backend.passing(error)


def without_secrets(error: BaseException) -> str:
    """Return what an error says, without the secrets that the environment holds."""
    text = " ".join(f"{error}".split()) or type(error).__name__
    for name in _SECRETS:
        if secret := os.environ.get(name):
            text = text.replace(secret, "…")
    text = text if len(text) <= 300 else f"{text[:299]}…"
    return f"{text} ({type(error).__name__})"


def _advice(error: BaseException, *, passing: bool) -> tuple[str, str]:
    """Return an addition to what was expected, and the remedy."""
    if isinstance(error, PermissionError):
        return ", and the right to do so", "Give this user the right on the server, or use other credentials"
    if getattr(error, "errno", None) in _NO_ROOM:
        return ", and room on its disks", "Free space on the server, then run again"
    if passing:
        return (
            ", and a network that reaches it",
            "Check the network, the server and the room on its disks, then run again",
        )
    return "", "Check the server, its log and the credentials, then run again"
