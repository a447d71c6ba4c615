"""Who uses records that are in PostgreSQL, told by a lock of the server: it sees other machines, and other homes too.

What belongs here: that lock. It is the server's, so it goes with the process that holds it. What does not: the locks of
files, which one machine sees.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from meso_core.errors import StorageError

from . import on_server

#: Number of the lock among those of the database: "meso", and its own.
_LOCK = (0x6D65736F, 1)
#: Between two looks whether the lock is still held, s: a server that was restarted has forgotten it.
_LOOK_EVERY_S = 15.0
_HOLDERS = (
    "SELECT DISTINCT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND "
    "classid = %s AND objid = %s AND objsubid = 2 AND granted AND datname = current_database() AND pid <> "
    "pg_backend_pid() ORDER BY 1"
)


class _Place:
    """A lock, shared with others or alone."""

    def __init__(self, address: str, *, alone: bool) -> None:
        self._address = address
        self._ask = f"SELECT pg_try_advisory_lock{'' if alone else '_shared'}(%s, %s)"
        #: Of psycopg2, which tells no types; None while the server is away.
        self._connection: Any = None
        self._is_over = threading.Event()
        self.n_users = 1

    def take(self) -> None:
        """Take it, and keep it until it is given back."""
        self._connection = self._connected()
        threading.Thread(target=self._keep, daemon=True).start()

    def _connected(self) -> Any:  # noqa: ANN401  psycopg2's
        import psycopg2

        try:
            connection = psycopg2.connect(
                on_server.parsed(self._address).set(drivername="postgresql").render_as_string(hide_password=False),
                connect_timeout=on_server.ANSWERS_WITHIN_S,
                application_name=f"meso on {socket.gethostname()}, process {os.getpid()}",
                keepalives_idle=30,
            )
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(self._ask, _LOCK)
                (is_ours,) = cursor.fetchone() or (False,)
                if is_ours:
                    return connection
                cursor.execute(_HOLDERS, _LOCK)
                holders = [str(name) for (name,) in cursor.fetchall()]
            connection.close()
        except psycopg2.Error as error:
            raise on_server.server_error(self._address, str(error)) from None
        raise StorageError.at(
            f"PostgreSQL at {on_server.shown(self._address)}",
            expected="records that nobody else uses",
            found="; ".join(holders) or "somebody who does",
            remedy="Stop `meso dev`, `meso serve` and all runs on that machine, then do it again",
        )

    def _keep(self) -> None:
        """Take it again where the server was away."""
        import psycopg2

        while not self._is_over.wait(_LOOK_EVERY_S):
            try:
                if self._connection is None:
                    self._connection = self._connected()
                else:
                    with self._connection.cursor() as cursor:
                        cursor.execute("SELECT 1")
            except (psycopg2.Error, StorageError):  # away still, or somebody is alone for a moment: asked again
                self._connection = None

    def give_back(self) -> None:
        """Give it back; a connection that is gone has done so."""
        import psycopg2

        self._is_over.set()
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()


#: Process and address → the lock that it shares with others; a process needs one.
_SHARED: dict[tuple[int, str], _Place] = {}
_CHANGING = threading.Lock()


@contextmanager
def uses_server(home: Path) -> Iterator[None]:
    """Count this process as a user of the server that a home names, if it names one.

    Raises
    ------
    StorageError
        If somebody has the records alone, or the server does not answer.
    """
    address = on_server.address_of(home)
    if address is None:
        yield
        return
    ours = (os.getpid(), address)
    with _CHANGING:
        if (place := _SHARED.get(ours)) is not None:
            place.n_users += 1
        else:
            place = _Place(address, alone=False)
            place.take()
            _SHARED[ours] = place
    try:
        yield
    finally:
        with _CHANGING:
            place.n_users -= 1
            if not place.n_users:
                del _SHARED[ours]
                place.give_back()


@contextmanager
def server_alone(home: Path) -> Iterator[None]:
    """Keep everybody else from the server that a home names, if it names one.

    Raises
    ------
    StorageError
        If somebody uses it, with the machine; or it does not answer.
    """
    address = on_server.address_of(home)
    if address is None:
        yield
        return
    place = _Place(address, alone=True)
    place.take()
    try:
        yield
    finally:
        place.give_back()
