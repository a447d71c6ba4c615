"""Draws plots in processes beside this one, while it measures.

What belongs here: who draws, and what becomes of the answers. What does not: plots themselves, and what a process does
with one (``worker``). Drawing is Python's own work, of which a process does one thing at a time, whatever its threads.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import warnings
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ...errors import ProcessingError
from ...machine import cores_at_hand
from ...processes import uninterrupted
from .plots import Drawn, Plot

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

#: Processes that draw beside this one; more would wait for what is measured.
_MOST = 2
#: A process takes a second to start: the plots of so many fields take longer.
_FEWEST_FIELDS = 4


def processes_for(n_fields: int) -> int:
    """Count the processes that are worth starting for the plots of a session; 0 to draw in this one alone."""
    return min(_MOST, cores_at_hand() - 1) if n_fields >= _FEWEST_FIELDS else 0


@dataclass(frozen=True, slots=True)
class _Process:
    process: subprocess.Popen[bytes]
    pipe: Connection


class Drawers:
    """Draws plots; a context, at whose end its processes have ended.

    Parameters
    ----------
    n_processes
        Processes that draw beside this one.
    """

    def __init__(self, n_processes: int) -> None:
        self._processes: list[_Process] = []
        self._free: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(max(n_processes, 1), thread_name_prefix="draw")
        self._asked: dict[Plot, Future[Drawn]] = {}
        self._n_processes = n_processes

    def __enter__(self) -> Self:
        with ExitStack() as begun:
            begun.callback(self._end)  # where one cannot be started, none is left
            for _ in range(self._n_processes):
                self._processes.append(_started())
                self._free.put(self._processes[-1])
            begun.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for one in self._processes:
            one.process.kill()  # what was asked for is there, or nobody waits for it any more
        self._threads.shutdown(cancel_futures=True)
        for one in self._processes:
            one.process.wait()
            one.pipe.close()

    def begin(self, plots: Iterable[Plot]) -> None:
        """Have plots drawn; they are there when :meth:`svg` asks for them."""
        for plot in plots:
            self._asked[plot] = self._threads.submit(self._drawn, plot) if self._processes else _done(plot)

    def svg(self, plot: Plot) -> str:
        """Return a plot that was begun; what no process has taken up yet is drawn here meanwhile.

        Raises
        ------
        ProcessingError
            If it could not be drawn, or the process that drew it was killed.
        """
        for other, asked in reversed(self._asked.items()):  # from the end, for the others draw from the beginning
            if asked.cancel():
                self._asked[other] = _done(other)
        drawn = self._asked[plot].result()
        for one in drawn.warned:
            warnings.warn(one, stacklevel=2)
        if drawn.problem:
            raise ProcessingError.at(
                "the report",
                expected="a plot to be drawn",
                found=drawn.problem,
                remedy="Report this: it is a mistake of meso's",
                field=plot.draw.__name__,
            )
        return drawn.svg

    def _drawn(self, plot: Plot) -> Drawn:
        one = self._free.get()
        try:
            one.pipe.send(plot)
            drawn: Drawn = one.pipe.recv()
        except (OSError, EOFError) as error:
            raise ProcessingError.at(
                "the report",
                expected="processes that draw to go on",
                found=f"one ended with code {one.process.wait()} (out of memory, most often)",
                remedy="Free memory, and make the report again",
            ) from error
        finally:
            self._free.put(one)  # one that has ended too: what is asked of it fails, and nobody waits for it
        return drawn


def _started() -> _Process:
    from multiprocessing import Pipe

    mine, theirs = Pipe()
    with theirs:
        program = [sys.executable, "-m", f"{__package__}.worker", str(os.getpid()), str(theirs.fileno())]
        with uninterrupted():  # this process hears Ctrl-C, and ends them
            process = subprocess.Popen(program, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
    return _Process(process, mine)


def _done(plot: Plot) -> Future[Drawn]:
    """Draw here."""
    done: Future[Drawn] = Future()
    done.set_result(Drawn(plot.svg()))
    return done
