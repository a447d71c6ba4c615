"""How the job of an engine ends when it is told to: at once, with all that it has begun.

What belongs here: the signal. Why it came, the process that leads the run asks the engine.
"""

from __future__ import annotations

import os
import signal
import threading

#: How a process ends that SIGTERM ends.
ENDED = 128 + signal.SIGTERM


def end_at_once() -> None:
    """End this process when the engine asks it to, with what it has begun: the kernel ends its workers with it.

    Dagster replaces handlers of signals by its own. That a signal came is told to a pipe whoever handles it.
    """
    signal.signal(signal.SIGTERM, lambda *_: None)  # else it would end the process before the pipe is read
    told, tells = os.pipe()
    os.set_blocking(tells, False)
    signal.set_wakeup_fd(tells, warn_on_full_buffer=False)

    def wait() -> None:
        while signal.SIGTERM not in os.read(told, 64):
            pass
        os._exit(ENDED)

    threading.Thread(target=wait, daemon=True).start()
