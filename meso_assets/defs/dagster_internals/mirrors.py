"""What a step prints, and the processes of Dagster that hand it on.

What belongs here: keeping them from ending before the step does.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import dagster as dg


@contextmanager
def deaf_to_the_terminal(instance: dg.DagsterInstance) -> Iterator[None]:
    """Let the processes that hand on what steps of this process print not hear Ctrl-C: else they end with a traceback.

    They end when their step does. A signal that comes while they start is kept for this process.
    """
    manager: Any = instance.compute_log_manager
    capture = manager.capture_logs

    @contextmanager
    def captured(log_key: Sequence[str]) -> Iterator[Any]:
        with ExitStack() as until_end:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what starts now inherits it
            try:
                told = until_end.enter_context(capture(log_key))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            yield told

    manager.capture_logs = captured
    try:
        yield
    finally:
        del manager.capture_logs  # the method of its class again
