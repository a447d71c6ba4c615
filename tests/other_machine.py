"""Processes that pass for those of another machine: another name, and a clock that is ahead or behind.

The name is that of a name space of the kernel, the clock that of libfaketime. It changes what a process is told of the
time of the day; clocks that cannot be set, and the times that the file system gives to files, stay as they are. So
each such machine and the disk have clocks of their own, as machines and their file server.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.conftest import unavailable

_NAMED = 'hostname "$0" && exec "$@"'


@dataclass(frozen=True)
class OtherMachine:
    """A machine by its name.

    Parameters
    ----------
    name
        What its processes find as their host.
    ahead_s
        How far its clock is ahead of this one's; negative where it is behind.
    """

    name: str
    ahead_s: float

    @property
    def prefix(self) -> list[str]:
        """Begin a command line with this: what follows is run there."""
        return [*_own_name(), "sh", "-c", _NAMED, self.name]

    @property
    def clock(self) -> dict[str, str]:
        """Variables by which a process has the clock of that machine."""
        return {
            "LD_PRELOAD": str(_library()),
            "FAKETIME": f"{self.ahead_s:+g}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def run(self, code: str, *arguments: object) -> subprocess.Popen[str]:
        """Start Python there."""
        command = [*self.prefix, sys.executable, "-c", code, *map(str, arguments)]
        environment = {**os.environ, **self.clock}
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _library() -> Path:
    """Find libfaketime as its package has it; that of Debian 12 knows no sleep of Python 3.11 (``clock_nanosleep``)."""
    spec = find_spec("libfaketime")
    if spec is None or spec.origin is None:
        unavailable("libfaketime", "pip install libfaketime")
    return Path(spec.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"


def _own_name() -> Sequence[str]:
    """Begin a command line with this: what follows may have a name of its own for this machine."""
    for who in ([], ["--user", "--map-current-user", "--keep-caps"]):
        command = ["unshare", *who, "--uts"]
        try:
            done = subprocess.run([*command, "sh", "-c", _NAMED, "x", "true"], capture_output=True, check=False)
        except FileNotFoundError:
            break
        if done.returncode == 0:
            return command
    unavailable("the right to a name space of one's own", "run the tests as root, or allow user name spaces")


def two_machines() -> tuple[OtherMachine, OtherMachine]:
    """Two machines whose clocks are four minutes ahead of this one's, and four minutes behind."""
    return OtherMachine("fast", 240), OtherMachine("slow", -240)
