"""What the file system of a folder can do, found by trying it.

What belongs here: the trial, and what it means to a person. What does not: what is done where something cannot be done;
each step has its own way for that, and asks the file system itself.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .atomic import same_file, storage_errors, write_file
from .locks import keeps_locks
from .mounts import is_network, kind_of
from .times import STEPS_NS

#: A time that no coarse clock can hold, ns since 1970.
_ODD_NS = 1_600_000_001_234_567_891
#: A clock that is further off than this, s, is worth a word: whether a session is whole is judged by times.
_CLOCK_S = 30.0
_TRIAL = ".meso-trial-"


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What a file system can do."""

    #: As the kernel names it, as in ``ext4`` or ``cifs``; empty where it does not tell.
    kind: str
    #: Whether other machines may have it mounted, too.
    is_network: bool
    hard_links: bool
    #: Whether the kernel keeps locks for all who use it.
    locks: bool
    #: Whether names that differ in case only are two names.
    cases: bool
    #: Step of its times of change, ns.
    time_ns: int
    #: How far its clock is ahead of this machine's, s.
    clock_ahead_s: float
    free_bytes: int

    @property
    def limits(self) -> tuple[str, ...]:
        """What it cannot do, and what follows from that."""
        found = []
        if not self.hard_links:
            found.append("no hard links (movies are moved, archives stay in place)")
        if not self.locks:
            found.append("no locks (runs take turns by files of their own)")
        if not self.cases:
            found.append("one name for all cases of its letters")
        if self.time_ns >= min(STEPS_NS[:2]):
            found.append(f"times in steps of {self.time_ns / 1e9:g} s")
        if abs(self.clock_ahead_s) > _CLOCK_S:
            way = "ahead of" if self.clock_ahead_s > 0 else "behind"
            found.append(f"a clock {abs(self.clock_ahead_s):.0f} s {way} this machine's: set one of the two")
        return tuple(found)

    def __str__(self) -> str:
        kind = f"{self.kind or 'unknown kind'}{', a network share' if self.is_network else ''}"
        return f"{'; '.join((kind, *self.limits))}; {self.free_bytes / 1e9:,.0f} GB free"


def try_file_system(folder: Path) -> FileSystem:
    """Try what the file system of a folder can do, in a folder of its own that is gone afterwards.

    Raises
    ------
    StorageError
        If the folder is not there, or nothing can be written to it.
    """
    with storage_errors(folder), _trial(folder) as trial:
        ahead = trial.stat().st_mtime - time.time()
        file, other = trial / "a", trial / "b"
        write_file(file, b"1")
        os.utime(file, ns=(_ODD_NS, _ODD_NS))
        steps = [step for step in (*STEPS_NS, 1) if file.stat().st_mtime_ns % step == 0]
        with suppress(OSError):
            os.link(file, other)
        kind = kind_of(folder)
        return FileSystem(
            kind,
            is_network(kind),
            hard_links=same_file(file, other),
            locks=keeps_locks(trial),
            cases=not (trial / "A").exists(),
            time_ns=steps[0],
            clock_ahead_s=ahead,
            free_bytes=shutil.disk_usage(folder).free,
        )


def file_system_of(folder: Path) -> FileSystem:
    """Try a file system once for all of its folders; errors as :func:`try_file_system`."""
    with storage_errors(folder):
        mounted = folder.stat().st_dev, kind_of(folder)
    if mounted not in _TRIED:
        _TRIED[mounted] = try_file_system(folder)
    return _TRIED[mounted]


#: Device and kind → what was found on it by this process; the number of a device is used again.
_TRIED: dict[tuple[int, str], FileSystem] = {}


@contextmanager
def _trial(folder: Path) -> Iterator[Path]:
    trial = Path(tempfile.mkdtemp(prefix=_TRIAL, dir=folder))
    try:
        yield trial
    finally:
        shutil.rmtree(trial, ignore_errors=True)
