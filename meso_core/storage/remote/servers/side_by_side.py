"""Several transfers, or parts of one, at a time.

What belongs here: threads, and the sum of what they have moved. What does not: what is moved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

from ....progress import Progress

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818  no error: another one has failed
    """Raised in a transfer that stops because another one has failed."""


@dataclass(slots=True)
class Tally:
    """Sum of what several transfers have moved."""

    total: int
    progress: Progress
    stopped: bool = False
    _done: dict[str, int] = field(default_factory=dict)
    _sum: int = 0
    _lock: Lock = field(default_factory=Lock)

    def of(self, path: str) -> Progress:
        """Make the listener of one transfer."""

        def listen(done: int, total: int, what: str) -> None:  # noqa: ARG001  of one file
            if self.stopped:
                raise Stopped
            with self._lock:
                self._sum += done - self._done.get(path, 0)
                self._done[path] = done
                self.progress(self._sum, self.total, what)

        return listen


def side_by_side(works: Iterable[Callable[[], T]], workers: int, tally: Tally) -> tuple[T, ...]:
    """Run calls in threads; the first failure stops all, and is raised."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work) for work in works]
        try:
            finished = wait(futures, return_when=FIRST_EXCEPTION).done
            for future in finished:
                future.result()
            return tuple(future.result() for future in futures)
        except BaseException:
            tally.stopped = True
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def in_order(works: Iterable[Callable[[], T]], n: int) -> Iterator[T]:
    """Yield what calls return, in their order, while up to ``n`` of them run in threads; the first failure ends all."""
    going: deque[Future[T]] = deque()
    with ThreadPoolExecutor(n) as pool:
        try:
            for work in works:
                going.append(pool.submit(work))
                if len(going) == n:
                    yield going.popleft().result()
            while going:
                yield going.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
