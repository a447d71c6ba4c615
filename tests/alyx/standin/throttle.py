"""So many requests a minute and user, and no more."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict, deque


class Throttle:
    """``number`` requests of one user in ``seconds``; None for no limit."""

    def __init__(self, number: int | None = 550, seconds: float = 60.0) -> None:
        self.number = number
        self.seconds = seconds
        #: Requests that were refused, and those of them that came before the time that the last refusal named.
        self.refused = 0
        self.impatient = 0
        self._lock = threading.Lock()
        self._held: dict[str, deque[float]] = defaultdict(deque)
        self._not_before: dict[str, float] = {}

    def wait(self, user: str) -> int | None:
        """Count a request; seconds to wait, as ``Retry-After`` says them, where it is one too many."""
        if self.number is None:
            return None
        now = time.monotonic()
        with self._lock:
            held = self._held[user]
            while held and held[0] <= now - self.seconds:
                held.popleft()
            if now < self._not_before.pop(user, 0.0):
                self.impatient += 1
            if len(held) < self.number:
                held.append(now)
                return None
            self.refused += 1
            seconds = math.ceil(held[0] + self.seconds - now)
            self._not_before[user] = now + seconds
            return seconds
