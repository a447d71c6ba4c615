"""One interface of a home, on a port that is free: said before anything is started.

What belongs here: what must be true for ``services`` to be started.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from meso_core.errors import InputFileError, MissingInputError, ProcessingError
from meso_core.json_text import json_text
from meso_core.opening import read_json
from meso_core.processes import ProcessId, this_process
from meso_core.storage.files.atomic import storage_errors, write_file
from meso_core.storage.files.locks import locked

from ..overview.refresh import INTERFACE

#: Files of the home: held while an interface runs, and where that is.
_LOCK, _WHERE = ".interface.lock", INTERFACE
_LARGEST = 1 << 14


def insist_on_free_port(host: str, port: int) -> None:
    """Insist that a server can listen.

    Raises
    ------
    ProcessingError
        If another program does, this user may not, or this machine has no such address.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that has just ended is in nobody's way
            tried.bind(address)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise ProcessingError.at(
            f"http://{host}:{port}",
            expected="an address of this machine, and a port that is free",
            found="another program that listens there" if taken else error.strerror or str(error),
            remedy="End that program, or choose another port with --port" if taken else "Correct --host or --port",
        ) from error


@contextmanager
def alone(home: Path, url: str) -> Iterator[None]:
    """Be the only interface of these records: two daemons would start each run twice.

    Parameters
    ----------
    home
        Folder of the records.
    url
        Where this interface answers; the next one that is tried says so.

    Raises
    ------
    ProcessingError
        If there is another.
    """
    with ExitStack() as held:
        with storage_errors(home):
            try:
                held.enter_context(locked(home / _LOCK, wait=False))
            except BlockingIOError as error:
                raise ProcessingError.at(
                    home,
                    expected="no other interface of these records",
                    found=_other(home),
                    remedy="Use that one, or end it first; another MESO_HOME has records of its own",
                ) from error
            record = {"url": url, "process": this_process().as_record()}
            write_file(home / _WHERE, json_text(record, indent=1).encode(), flush=False)
        yield


def _other(home: Path) -> str:
    try:
        record = read_json(home / _WHERE, "Remove it", _LARGEST)
    except (MissingInputError, InputFileError):  # it starts just now
        return "one that starts"
    process = ProcessId.from_record(record.get("process")) if isinstance(record, dict) else None
    return f"one at {record.get('url')} ({process})" if process else "one that starts"
