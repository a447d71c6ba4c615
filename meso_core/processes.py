"""Which process is which, whether it is gone, and processes that end with the one that started them.

What belongs here: what the kernel knows of processes. What does not: what they work on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

_LINUX = sys.platform.startswith("linux")
_PROC = Path("/proc")
_STARTED_BY = "_MESO_STARTED_BY"
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
#: Fields of ``/proc/PID/stat`` behind the name of the program, which may hold anything (``man 5 proc``).
_STATE, _START = 0, 19


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process, told from every other one: those before a restart and those that get its number later too."""

    host: str
    pid: int
    #: When it was recorded, ISO 8601 of the local clock.
    since: str
    #: The machine, its start, its numbering of processes (a container has its own) and the start of the process in
    #: ticks since then; empty or 0 where the system does not tell.
    machine: str = ""
    boot: str = ""
    namespace: str = ""
    start: int = 0

    @property
    def is_gone(self) -> bool:
        """Whether it is proved to be gone: only the machine on which it ran can tell."""
        here = _machine()
        if (self.host, self.machine) != (here.host, here.machine):
            return False
        if here.boot and self.boot and here.boot != self.boot:
            return True
        if self.namespace != here.namespace:
            return False
        start = _start_of(self.pid)
        return start is None or (start != self.start and 0 not in (start, self.start))

    def as_record(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: object) -> ProcessId | None:
        """Read what :meth:`as_record` wrote; None for anything else."""
        if not isinstance(record, dict):
            return None
        plain = {name: record.get(name) for name in cls.__slots__}
        texts = all(isinstance(plain[name], str) for name in cls.__slots__ if name not in ("pid", "start"))
        numbers = all(type(plain[name]) is int for name in ("pid", "start"))
        return cls(**plain) if texts and numbers else None  # type: ignore[arg-type]  # just looked

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_process() -> ProcessId:
    """Tell which process this is."""
    here = _machine()
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    return ProcessId(
        here.host, os.getpid(), since, here.machine, here.boot, here.namespace, _start_of(os.getpid()) or 0
    )


def end_with_parent(parent: int | None = None) -> None:
    """Let the kernel kill this process when the thread that started it ends, however it ends; on Linux.

    It asks nobody and runs no code: a process in the middle of a long computation is killed too.

    Parameters
    ----------
    parent
        Number of the process that started this one, where it is known: if it has ended already, this one ends now.
    """
    if not _LINUX:
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def tell_children() -> None:
    """Let processes that this one starts know which one it is, by the environment; see :func:`told_parent`."""
    os.environ[_STARTED_BY] = str(os.getpid())


def told_parent() -> int | None:
    """Tell the number of the process that started this one, for :func:`end_with_parent`; None where it did not say."""
    told = os.environ.get(_STARTED_BY, "")
    return int(told) if told.isdecimal() else None


@dataclass(frozen=True, slots=True)
class _Machine:
    host: str
    machine: str
    boot: str
    namespace: str


@lru_cache(maxsize=1)
def _machine() -> _Machine:
    namespace = ""
    with suppress(OSError):
        namespace = str((_PROC / "self/ns/pid").readlink())
    host = socket.gethostname()
    return _Machine(host, _line(Path("/etc/machine-id")), _line(_PROC / "sys/kernel/random/boot_id"), namespace)


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _start_of(pid: int) -> int | None:
    """Start of a process, in ticks since the machine's; 0 where the system does not tell, None if it does not run."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        fields = []
    if fields:  # a zombie has ended; only its parent has not asked yet
        return None if fields[_STATE] in "ZX" else int(fields[_START])
    if _LINUX:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return 0


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let processes that start in the block not hear Ctrl-C: this one hears it, and ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
