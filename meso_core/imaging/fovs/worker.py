"""A worker: a process that runs stages of FOVs, one after the other, with suite2p loaded once.

Started by :mod:`meso_core.imaging.fovs.schedule` as ``python -m meso_core.imaging.fovs.worker``. It reads one order
per line from standard input (JSON), and writes one event per line to standard output: ``progress``, ``done``,
``failed``. What suite2p prints goes to the FOV's log. What belongs here: these messages. What does not: which FOV runs
when.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, TextIO

from ... import errors
from ...errors import MesoError, ProcessingError, WorkStoppedError, problem
from ...json_text import json_text
from ...processes import end_with_parent
from ...storage.files.atomic import make_folder
from ..detection.fov import roi_detection
from ..registration.fov import image_motion_registration
from .job import FovJob
from .plane import DETECTION, REGISTRATION

_RUN = {REGISTRATION: image_motion_registration, DETECTION: roi_detection}
_PROGRESS_EVERY_S = 0.5


def main() -> None:
    """Serve orders until standard input closes, or the process that gives them ends."""
    end_with_parent()
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    orders: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    while order := orders.get():
        _serve(json.loads(order), events)


def _listen(orders: queue.Queue[str]) -> None:
    """Pass orders on. If standard input ends without ``stop``, the parent process has died: end at once.

    The kernel does so on Linux; this is for other systems, and for a parent that died before the kernel was asked. A
    worker that goes on after a killed run would write into folders that the next run is using.
    """
    for line in sys.stdin:
        if line.strip() == "stop":
            orders.put("")
            return
        orders.put(line)
    os._exit(1)


def _serve(order: dict[str, Any], events: TextIO) -> None:
    job = FovJob.from_json(json_text(order["job"]))
    last = 0.0

    def tell(done: int, total: int, what: str) -> None:
        nonlocal last
        now = time.monotonic()
        if done >= total or now - last >= _PROGRESS_EVERY_S:
            last = now
            _say(events, event="progress", done=done, total=total, what=what)

    try:
        with _logged(job):
            _RUN[order["stage"]](job, progress=tell)
    except MesoError as error:
        _say(events, event="failed", kind=type(error).__name__, message=str(error))
    except Exception as error:  # noqa: BLE001  the parent raises it, with the log's tail
        kind = WorkStoppedError if of_the_machine(error) else ProcessingError
        message = problem(
            job.folder,
            expected=f"{order['stage']} to succeed",
            found=f"{type(error).__name__}: {' '.join(str(error).split())}",
            remedy=f"Read {job.log_path}",
        )
        _say(events, event="failed", kind=kind.__name__, message=f"{message}\nIt ends: {job.log_tail()}")
    else:
        _say(events, event="done")


def of_the_machine(error: Exception) -> bool:
    """Whether an error that nobody foresaw is one of memory or of the disk, and says nothing of the FOV."""
    # torch tells a lack of memory as a RuntimeError, on a processor and on a GPU in other words
    told = str(error).lower()
    no_memory = "out of memory" in told or "can't allocate memory" in told or "not enough memory" in told
    return isinstance(error, MemoryError | OSError) or (isinstance(error, RuntimeError) and no_memory)


def _say(events: TextIO, **event: str | int) -> None:
    events.write(json_text(event) + "\n")


@contextlib.contextmanager
def _logged(job: FovJob) -> Iterator[None]:
    """Send suite2p's log and everything printed to the FOV's log file."""
    make_folder(job.log_path.parent)
    with job.log_path.open("a", buffering=1) as log:
        console = os.dup(2)
        handler = logging.StreamHandler(log)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger = logging.getLogger("suite2p")
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except Exception:
            traceback.print_exc(file=log)
            raise
        finally:
            logger.removeHandler(handler)
            os.dup2(console, 1)
            os.dup2(console, 2)
            os.close(console)


def error_class(kind: str) -> type[MesoError]:
    """Class of an error that a worker reported."""
    found = getattr(errors, kind, ProcessingError)
    return found if isinstance(found, type) and issubclass(found, MesoError) else ProcessingError


if __name__ == "__main__":
    main()
