"""How news reads: a subject, and a line for each failure, missing field of view and recovery.

What belongs here: words. Layout is in ``pages``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..running.dead_runs import clock, short
from .events import Event
from .pages import Page, Part, lay_out

_WITHOUT = "without some fields of view"
#: Characters of a reason; the run's log has the rest.
_LONGEST = 600


def subject_of(news: Sequence[Event]) -> str:
    """Sum up news in a line."""
    kinds = {
        "failed": [event for event in news if event.failed],
        _WITHOUT: [event for event in news if event.is_partial],
        "recovered": [event for event in news if event.recovered],
    }
    if len(news) == 1:
        (event,) = news
        word = "failed" if event.failed else _WITHOUT
        return f"meso: {event.what} {f'{word}: ' + ', '.join(event.reasons) if event.reasons else 'has recovered'}"
    return f"meso: {' and '.join(f'{len(some)} {word}' for word, some in kinds.items() if some)}"


def told_news(news: Sequence[Event], ui: str = "") -> Page:
    """Tell news; ``ui`` is the address of the interface, where it has one."""
    failed = [line for event in news if event.failed for line in _failure(event, ui)]
    partial = [line for event in news if event.is_partial for line in _failure(event, ui)]
    recovered = [f"{event.what}, with run {_run(event, ui)}" for event in news if event.recovered]
    parts = (
        Part("Failed", failed),
        Part("Published without some fields of view", partial),
        Part("Recovered", recovered),
    )
    return lay_out(parts, _AFTER if failed or partial else "")


_AFTER = (
    "What was published before stays. `meso status SESSION` tells how all assets stand; after the cause is mended, "
    "`meso run SESSION` goes on where it ended."
)


def _failure(event: Event, ui: str) -> Iterable[str]:
    where = f" on {event.host}" if event.host else ""
    for asset, why in event.reasons.items():
        reason = why if len(why) <= _LONGEST else f"{why[:_LONGEST]} …"
        yield f"{event.what}, {asset}: {reason} (run {_run(event, ui)}{where}, {clock(event.at)})"


def _run(event: Event, ui: str) -> str:
    return f"{ui}/runs/{event.run_id}" if ui else short(event.run_id)
