"""Processes that are killed at a step that changes the disk."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable

from power_loss import changes_the_disk


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Run ``work`` in a child that is killed before its n-th change of the disk, counted from 1.

    Returns
    -------
    bool
        Whether it was killed; False where it came to its end before.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: threads of this process do no work now
        child = os.fork()
    if child == 0:
        status = 1
        try:
            count_to(step)
            warnings.simplefilter("ignore")
            work()
            status = 0
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "it failed by itself"
    return False


def count_to(step: int) -> None:
    """Kill this process before its n-th change of the disk, counted from 1."""
    counted, fsync = 0, os.fsync

    def count() -> None:
        nonlocal counted
        counted += 1
        if counted == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def flush(descriptor: int) -> None:
        count()
        fsync(descriptor)

    os.fsync = flush  # type: ignore[assignment]
    sys.addaudithook(lambda event, arguments: count() if changes_the_disk(event, arguments) else None)
