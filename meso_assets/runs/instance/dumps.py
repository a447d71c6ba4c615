"""Back-ups of records in PostgreSQL, by PostgreSQL's own program.

What belongs here: calling ``pg_dump`` so that no list of processes shows a password, and no half a file has a name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

from meso_core.errors import StorageError
from meso_core.storage.files.atomic import make_folder, making

from . import on_server
from .records import BACKUPS


def back_up_server(home: Path) -> Path:
    """Copy the records of a home's server into a file of the home, while they are in use; ``pg_restore`` reads it.

    Raises
    ------
    StorageError
        If ``pg_dump`` is not there, or does not do it: it must not be older than the server.
    """
    address = on_server.address_of(home)
    if address is None:
        raise StorageError.at(
            home / "dagster.yaml",
            expected="records in SQLite or PostgreSQL",
            found="another database",
            remedy="Copy it with its own programs",
        )
    program = shutil.which("pg_dump")
    if program is None:
        raise StorageError.at(
            f"PostgreSQL at {on_server.shown(address)}",
            expected="the program pg_dump, which copies its records",
            found="none on the PATH",
            remedy="Install PostgreSQL's client programs (Debian: postgresql-client), not older than the server",
        )
    target = home / BACKUPS / f"{datetime.now():%Y-%m-%dT%H%M%S.%f}.dump"
    make_folder(target.parent)
    where, secret = _connection(address)
    with making(target) as beside:
        command = [program, "--format=custom", "--no-owner", "--no-password", f"--dbname={where}", f"--file={beside}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **secret})
        if done.returncode:
            raise on_server.server_error(address, done.stderr)
    return target


def _connection(address: str) -> tuple[str, dict[str, str]]:
    """Turn an address into what PostgreSQL's programs take: all but the password, and that as a variable."""
    url = on_server.parsed(address)
    where = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    return where, {"PGPASSWORD": str(url.password)} if url.password else {}
