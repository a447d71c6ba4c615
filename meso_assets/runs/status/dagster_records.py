"""What Dagster's records tell of all sessions at once, asked here or in a process beside this one.

What belongs here: the answer, and who asks for it. Loading Dagster takes as long as looking at ten thousand sessions on
the disk, so commands that show them all do both at the same time. Nothing here loads Dagster by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from meso_core.errors import ProcessingError
from meso_core.machine import in_haste
from meso_core.processes import end_with_parent, uninterrupted

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from ...io.session_names import Registered
    from .cells import Failure


@dataclass(frozen=True, slots=True)
class Told:
    """What Dagster's records tell."""

    registered: Registered
    #: Name of a session → asset → how the last attempt at it ended, where it did not end well.
    failures: Mapping[str, Mapping[str, Failure]]


#: Gives the answer when it is there.
Ask: TypeAlias = Callable[[], Told]


def ask() -> Told:
    """Ask the records of the home that the environment's settings name.

    Raises
    ------
    StorageError
        As :func:`~meso_assets.runs.instance.open_instance`.
    """
    from ...io.session_names import Registered
    from ..instance import open_instance
    from ..settings.settings import load_settings
    from .attempts import all_failures

    with open_instance(load_settings()) as instance:
        return Told(Registered.of(instance), all_failures(instance))


@contextmanager
def asked_beside() -> Iterator[Ask]:
    """Ask in another process while this one looks at the disk; the block gets what waits for the answer.

    The settings are those of the environment. Where this process has loaded Dagster already, it asks itself.

    Raises
    ------
    StorageError
        As :func:`ask`, when the answer is taken.
    ProcessingError
        If the process was killed.
    """
    if "dagster" in sys.modules:  # loading it is what takes long
        yield cache(ask)
        return
    # started anew: this process has threads (numpy's), and a fork would take over half of what they do
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    with uninterrupted():
        process = context.Process(target=_answer, args=(there, os.getpid()), daemon=True)
        process.start()
    there.close()
    try:
        yield cache(lambda: _received(here))
    finally:
        process.kill()  # it has closed the records before it answers; nothing is gained by its tidying up
        process.join()
        here.close()


def _answer(there: Connection, parent: int) -> None:
    """Work of the other process."""
    end_with_parent(parent)
    try:
        with in_haste(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the process that looks warns of the same settings
            told: Told | Exception = ask()
    except Exception as error:  # noqa: BLE001  whoever waits raises it
        told = error
    there.send(told)


def _received(here: Connection) -> Told:
    try:
        told: Told | Exception = here.recv()
    except EOFError as error:
        raise ProcessingError.at(
            "Dagster's records",
            expected="an answer of the process that asks them",
            found="it was killed (out of memory, most often)",
            remedy="Free memory, then do it again",
        ) from error
    if isinstance(told, Exception):
        raise told
    return told
