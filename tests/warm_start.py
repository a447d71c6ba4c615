"""The command `meso` started from a process that has loaded it already: a fork, instead of seconds of imports.

What is started is the whole command, in a session of its own; only the loading is spared. Its fork server, its steps
and its workers are started as ever.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

#: What the loaded process does. It is given as text, for a module of a path would be loaded again by each fork server.
_LOADED = """
import json, os, select, signal, sys
import meso_assets.cli.run, meso_assets.definitions, meso_assets.runs.run, meso_assets.defs.removal.removal
from meso_assets.cli import main
print("ready", flush=True)
waiting = b""
while True:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            print("end", pid, os.waitstatus_to_exitcode(status), flush=True)
    except ChildProcessError:
        pass
    if not select.select([0], [], [], 0.02)[0]:
        continue
    read = os.read(0, 1 << 16)
    if not read:
        break
    *lines, waiting = (waiting + read).split(b"\\n")
    for line in lines:
        asked = json.loads(line)
        child = os.fork()
        if child:
            print("start", child, flush=True)
            continue
        os.setsid()
        nothing, log = os.open("/dev/null", os.O_RDONLY), os.open(asked["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        errors = os.open(asked["errors"], os.O_WRONLY | os.O_APPEND | os.O_CREAT) if asked["errors"] else log
        os.dup2(nothing, 0); os.dup2(log, 1); os.dup2(errors, 2)
        sys.argv = ["meso", *asked["arguments"]]
        code = 1
        try:
            exec(asked["code"]) if asked["code"] else main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush(); sys.stderr.flush()
            import atexit, multiprocessing.util
            multiprocessing.util._exit_function()
            atexit._run_exitfuncs()  # the measurement of coverage, where there is one, is kept then
            os._exit(code if isinstance(code, int) else 1)
"""


class Running:
    """A command that was started, as :class:`subprocess.Popen` tells of it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float) -> int:
        until = time.monotonic() + timeout
        while self.returncode is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("meso", timeout)
            time.sleep(0.01)
        return self.returncode


class Warm:
    """A process that has meso loaded, and starts commands.

    Parameters
    ----------
    environment
        Of that process.
    prefix
        Program that starts it, and what that takes, where it is not to be started as it is.
    """

    def __init__(self, environment: Mapping[str, str], prefix: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-c", _LOADED],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._started: queue.Queue[Running] = queue.Queue()
        self._running: dict[int, Running] = {}
        self._listener = threading.Thread(target=self._listen, daemon=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self._listener.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, arguments: Sequence[str], log: Path, code: str = "", *, errors: Path | None = None) -> Running:
        """Start ``meso`` with arguments, or run code; its output goes to the log, errors too or to a file of theirs."""
        assert self._process.stdin is not None
        asked = {"arguments": [*arguments], "log": str(log), "code": code, "errors": str(errors or "")}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._started.get(timeout=60)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            what, *numbers = line.split()
            if what == "start":
                running = self._running[int(numbers[0])] = Running(int(numbers[0]))
                self._started.put(running)  # itself: it may have ended before somebody asks
            else:
                self._running.pop(int(numbers[0])).returncode = int(numbers[1])

    def close(self) -> None:
        """End it; what it started goes on."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._listener.join(20)
        assert self._process.stdout is not None
        self._process.stdout.close()
