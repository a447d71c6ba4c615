"""How long work tells how far it is.

What belongs here: the one call that computations make and the ready-made listeners. A computation never prints.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Called by long work with what is done so far."""

    def __call__(self, done: int, total: int, what: str) -> None:
        """Take note that ``done`` of ``total`` units are finished.

        Parameters
        ----------
        done, total
            Units of work (bytes, pages, frames); ``total`` is 0 where it is not known.
        what
            What the units are and what happens to them, as in ``"pages split"``.
        """


def silent(done: int, total: int, what: str) -> None:
    """Listen to nothing; the default of every function that takes a progress."""


def throttled(say: Callable[[str], None], *, every_s: float = 5.0) -> Progress:
    """Make a listener that writes a line to ``say`` at most every ``every_s`` seconds, and at the end.

    The line holds the share done, the rate, and the time left.
    """
    started: dict[str, float] = {}
    last: dict[str, float] = {}

    def listen(done: int, total: int, what: str) -> None:
        now = time.monotonic()
        begin = started.setdefault(what, now)
        finished = total > 0 and done >= total
        if not finished and now - last.get(what, begin) < every_s:
            return
        last[what] = now
        rate = done / (now - begin) if now > begin else 0.0
        line = f"{what}: {done}" if total <= 0 else f"{what}: {done} of {total} ({done / total:.0%})"
        if rate > 0:
            line += f", {rate:,.0f}/s"
            if total > 0 and not finished:
                line += f", {(total - done) / rate:.0f} s left"
        say(line)
        if finished:
            started.pop(what, None)
            last.pop(what, None)

    return listen
