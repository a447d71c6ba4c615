"""What Dagster's records tell of all sessions at once, asked here or in a process beside this one.

What belongs here: the answer, and who asks for it. Loading Dagster takes as long as looking at ten thousand sessions on
the disk, so commands that show them all do both at the same time. Nothing here loads Dagster by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from meso_core.errors import ProcessingError
from meso_core.processes import end_with_parent, uninterrupted

from ..io.session_names import Registered
from .cells import Failure
from .settings import MesoSettings


@dataclass(frozen=True, slots=True)
class Told:
    """What Dagster's records tell."""

    registered: Registered
    #: Name of a session → asset → how the last attempt at it ended, where it did not end well.
    failures: Mapping[str, Mapping[str, Failure]]


#: Gives the answer when it is there.
Ask: TypeAlias = Callable[[], Told]


def ask(settings: MesoSettings) -> Told:
    """Ask the records of the settings' home.

    Raises
    ------
    StorageError
        As :func:`~meso_assets.runs.instance.open_instance`.
    """
    from .attempts import all_failures
    from .instance import open_instance

    with open_instance(settings) as instance:
        return Told(Registered.of(instance), all_failures(instance))


@contextmanager
def asked_beside(settings: MesoSettings) -> Iterator[Ask]:
    """Ask in another process while this one looks at the disk; the block gets what waits for the answer.

    Raises
    ------
    StorageError
        As :func:`ask`, when the answer is taken.
    ProcessingError
        If the process was killed.
    """
    if "dagster" in sys.modules:  # loading it is what takes long
        yield cache(lambda: ask(settings))
        return
    # started anew: this process has threads (numpy's), and a fork would take over half of what they do
    pool = ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), initializer=end_with_parent, initargs=(os.getpid(),)
    )
    try:
        with uninterrupted():
            asked = pool.submit(ask, settings)

        def answer() -> Told:
            try:
                return asked.result()
            except BrokenProcessPool as error:
                raise ProcessingError.at(
                    settings.home,
                    expected="a process that asks Dagster's records",
                    found="it was killed (out of memory, most often)",
                    remedy="Free memory, then do it again",
                ) from error

        yield answer
    finally:
        pool.shutdown(cancel_futures=True)
