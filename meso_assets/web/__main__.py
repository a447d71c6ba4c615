"""``python -m meso_assets.web SERVICE …``: one of Dagster's services, which ends with the process that started it.

What belongs here: starting Dagster's own programs, ``dagster-webserver`` behind the guard. Who starts them is
``services``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib.metadata import entry_points

from ..defs.dagster_internals.plain_lines import plain_from_now_on
from ..runs.instance.packing import pack_new_files_closely
from .guarded import guard_webserver


def main() -> None:
    """Run a service of Dagster until it ends, or the other end of standard input is closed."""
    program = sys.argv[1]
    sys.argv = [program, *sys.argv[2:]]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    plain_from_now_on()
    pack_new_files_closely()
    if program == "dagster-webserver":
        guard_webserver()
    (script,) = entry_points(group="console_scripts", name=program)
    sys.exit(script.load()())


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # not through a buffer, whose lock would be held at the end
    signal.raise_signal(signal.SIGTERM)


main()
