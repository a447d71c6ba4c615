"""Holes of a file: stretches that read as zeros and that nobody has written.

A copy that gives a file its whole size first, and is interrupted, leaves one. So does a download of zeros.
"""

from __future__ import annotations

import errno
import os


def bytes_in_holes(descriptor: int, start: int) -> int:
    """Count the bytes from ``start`` on that were never written; 0 where the file system does not tell."""
    stop, at, found = os.fstat(descriptor).st_size, start, 0
    try:
        while at < stop:
            written = _next(descriptor, at, os.SEEK_DATA, stop)
            found += written - at
            at = _next(descriptor, written, os.SEEK_HOLE, stop)
    except OSError:
        return found
    return found


def _next(descriptor: int, at: int, what: int, stop: int) -> int:
    """Find where data, or a hole, begins; ``stop`` where none does."""
    try:
        return os.lseek(descriptor, at, what)
    except OSError as error:
        if error.errno == errno.ENXIO:  # there is nothing more
            return stop
        raise
