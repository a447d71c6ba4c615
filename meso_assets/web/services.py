"""The web server and the daemon side by side, for as long as both live.

What belongs here: processes. ``dagster dev`` does the same, but starts a web server without the guard.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from meso_core.errors import ProcessingError

CODE_LOCATION = ("-m", "meso_assets.definitions")
#: As the daemon has it by itself: what a code server says before it has loaded the location is coloured everywhere.
_CODE_SERVER = ("--code-server-log-level", "warning")
_LOOK_EVERY_S, _END_WITHIN_S = 0.5, 60


class _Asked(Exception):  # noqa: N818  nothing is wrong
    """Raised when somebody asks the services to end."""


def serve(host: str, port: int) -> None:
    """Run web server and daemon until Ctrl-C or SIGTERM, or until one of them ends.

    Raises
    ------
    ProcessingError
        If one ended by itself; the other is ended then.
    """

    def ask(*_: object) -> None:
        raise _Asked

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    services: dict[str, subprocess.Popen[bytes]] = {}
    try:
        address = ("-h", host, "-p", str(port))
        services["dagster-webserver"] = _start("dagster-webserver", *address, *_CODE_SERVER, *CODE_LOCATION)
        services["dagster-daemon"] = _start("dagster-daemon", "run", *CODE_LOCATION)
        _watch(services)
    except _Asked:
        pass
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        _end(list(services.values()))


def _start(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "meso_assets.web", program, *arguments], stdin=subprocess.PIPE)


def _watch(services: dict[str, subprocess.Popen[bytes]]) -> None:
    while True:
        for name, process in services.items():
            if (code := process.poll()) is not None:
                raise ProcessingError.at(
                    name,
                    expected="a service that runs until you end it",
                    found=f"its end, with code {code}",
                    remedy="Read what it printed above; is the port taken? Then run `meso dev` again",
                )
        time.sleep(_LOOK_EVERY_S)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
