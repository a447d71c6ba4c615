"""Changes of names that wait for others: some shares neither replace nor remove a file that a program has open.

Most often that is another process of the platform, or a virus scanner, which reads it for a moment.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

#: What shares say of a file that somebody has open.
IN_USE = (errno.EBUSY, errno.ETXTBSY)
_PATIENCE_S, _FIRST_WAIT_S = 10.0, 0.01


def replace_name(source: Path, target: Path) -> None:
    """Rename a file, and replace what has the name; waits a little where somebody has one of the two open."""
    _patiently(lambda: os.replace(source, target))  # noqa: PTH105  of very many files


def remove_name(file: Path) -> None:
    """Remove a file, if it is there; waits a little where somebody has it open."""
    _patiently(lambda: file.unlink(missing_ok=True))


def _patiently(change: Callable[[], None]) -> None:
    until, wait = time.monotonic() + _PATIENCE_S, _FIRST_WAIT_S
    while True:
        try:
            change()
        except OSError as error:
            if error.errno not in IN_USE or time.monotonic() > until:
                raise
        else:
            return
        time.sleep(wait)
        wait = min(2 * wait, 1.0)
