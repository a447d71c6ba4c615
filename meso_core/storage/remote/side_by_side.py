"""Several transfers at a time.

What belongs here: threads, and the sum of what they have moved. What does not: what is moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

from ...progress import Progress

T = TypeVar("T")


@dataclass(slots=True)
class Tally:
    """Sum of what several transfers have moved."""

    total: int
    progress: Progress
    done: dict[str, int] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def of(self, path: str) -> Progress:
        """Make the listener of one transfer."""

        def listen(done: int, total: int, what: str) -> None:  # noqa: ARG001  of one file
            with self.lock:
                self.done[path] = done
                self.progress(sum(self.done.values()), self.total, what)

        return listen


def side_by_side(works: Iterable[Callable[[], T]], workers: int) -> tuple[T, ...]:
    """Do works in threads; the first failure ends all that have not begun, and is raised."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work) for work in works]
        try:
            return tuple(future.result() for future in futures)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
