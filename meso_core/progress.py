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
            What the units are and what happens to them, as in ``"pages split"``. What changes from call to call
            stands in brackets at the end, as in ``"bytes compressed (to 61.2% of their size)"``.
        """


def silent(done: int, total: int, what: str) -> None:
    """Listen to nothing; the default of every function that takes a progress."""


def throttled(say: Callable[[str], None], *, every_s: float = 5.0) -> Progress:
    """Make a listener that writes a line to ``say`` at most every ``every_s`` seconds, and at the end.

    The line holds the share done, the rate, and the time left. Bytes are shown as megabytes. A remark in parentheses at
    the end of ``what`` may change from call to call.
    """
    first: dict[str, tuple[float, int]] = {}
    last: dict[str, float] = {}

    def listen(done: int, total: int, what: str) -> None:
        now = time.monotonic()
        work = what.split(" (")[0]
        begin, already = first.setdefault(work, (now, done))
        finished = total > 0 and done >= total
        if not finished and now - last.get(work, begin) < every_s:
            return
        last[work] = now
        rate = (done - already) / (now - begin) if now > begin else 0.0
        say(_line(done, total, what, rate, finished))
        if finished:
            first.pop(work)
            last.pop(work)

    return listen


def _line(done: int, total: int, what: str, rate: float, finished: bool) -> str:
    """Lay out one line of progress; ``rate`` in units per second, 0 where it is not known yet."""
    scale, unit = (1e6, " MB") if what.startswith("bytes ") else (1.0, "")
    line = f"{what.removeprefix('bytes ')}: {done / scale:,.0f}"
    if total > 0:
        line += f" of {total / scale:,.0f}{unit} ({done / total:.0%})"
    if rate > 0:
        line += f", {rate / scale:,.1f}{unit}/s" if unit else f", {rate:,.0f}/s"
        if total > 0 and not finished:
            line += f", {(total - done) / rate:.0f} s left"
    return line
