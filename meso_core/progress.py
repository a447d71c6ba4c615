"""Progress of long work.

What belongs here: the call that computations make, and listeners for it. What does not: printing; the caller decides
where lines go.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """A listener that long work calls again and again."""

    def __call__(self, done: int, total: int, what: str) -> None:
        """Record that ``done`` of ``total`` units are finished.

        Parameters
        ----------
        done, total
            Units of work (bytes, pages, frames); ``total`` is 0 if it is not known.
        what
            The units and what is done to them, as in ``"pages split"``. A part that changes from call to call goes in
            brackets at the end, as in ``"bytes compressed (to 61.2% of their size)"``.
        """


def silent(done: int, total: int, what: str) -> None:
    """Ignore all calls; the default of every function that takes a progress."""


def about(where: str, progress: Progress) -> Progress:
    """Make a progress that says of what it tells, where the same work is done on several things.

    Parameters
    ----------
    where
        Its name; nothing is said where it is empty.
    progress
        Told the rest.
    """

    def listen(done: int, total: int, what: str) -> None:
        work, bracket, remark = what.partition(" (")
        progress(done, total, f"{work} of {where}{bracket}{remark}" if where else what)

    return listen


def throttled(say: Callable[[str], None], *, every_s: float = 5.0) -> Progress:
    """Make a listener that writes a line to ``say`` at most every ``every_s`` seconds, and at the end.

    The line has the share done, the rate, and the time left. Bytes are shown as megabytes. The part of ``what`` in
    brackets may change from call to call.
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
    """Format one line of progress; ``rate`` in units per second, 0 if it is not known yet."""
    scale, unit = (1e6, " MB") if what.startswith("bytes ") else (1.0, "")
    line = f"{what.removeprefix('bytes ').removeprefix('of ')}: {done / scale:,.0f}"
    if total > 0:
        line += f" of {total / scale:,.0f}{unit} ({done / total:.0%})"
    if rate > 0:
        line += f", {rate / scale:,.1f}{unit}/s" if unit else f", {rate:,.0f}/s"
        if total > 0 and not finished:
            line += f", {(total - done) / rate:.0f} s left"
    return line
