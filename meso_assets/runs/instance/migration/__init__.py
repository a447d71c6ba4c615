"""Records of a home go from its SQLite files to PostgreSQL, with the whole history.

What belongs here: when that may be done, in which order, and when the home counts as moved. All rows are copied in one
transaction: interrupted at any moment, the database is as empty as before, and the files are only read. The home names
the server when both have answered the same.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from meso_core.counting import counted
from meso_core.errors import SettingsError, StorageError
from meso_core.opening import RECORD_BYTES, read_plain
from meso_core.progress import Progress, silent
from meso_core.storage.files.atomic import write_file

from ...settings.settings import MesoSettings
from .. import on_server, prepare_home, records_are_current, sole_use
from ..records import keeps_sqlite
from .comparing import count_partitions, differences, is_empty
from .copying import Source, copy_all, count
from .numbers import Numbers

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData

#: Whoever copies into a database holds this lock of PostgreSQL meanwhile; the number is ours alone.
_LOCK = 0x6D65736F
_TABLES_OF_DAGSTER = {"event_logs", "runs", "alembic_version"}


@dataclass(frozen=True, slots=True)
class Migrated:
    """Records that are in PostgreSQL now."""

    n_runs: int
    n_events: int
    #: Pairs of asset and partition that have events.
    n_partitions: int
    #: Host, port and database.
    where: str
    #: Where the SQLite files still are.
    kept: Path

    def __str__(self) -> str:
        return (
            f"records are in PostgreSQL at {self.where}: {counted(self.n_runs, 'run')}, "
            f"{counted(self.n_events, 'event')}, and of "
            f"{self.n_partitions} pairs of asset and session the same last versions; the SQLite files stay in "
            f"{self.kept / 'history'} and {self.kept / 'schedules'}, unchanged and unused"
        )


def migrate(settings: MesoSettings, progress: Progress = silent) -> Migrated | None:
    """Bring the records of a home from its SQLite files to the server that the environment names.

    Parameters
    ----------
    settings
        Settings of the platform.
    progress
        Told the rows that are copied.

    Returns
    -------
    Migrated or None
        What was done; None where the records were on a server already.

    Raises
    ------
    SettingsError
        If no server is named, or its address or packages do not hold.
    StorageError
        If somebody uses the records, the server does not answer, or it holds other records.
    """
    home = prepare_home(settings)
    if not keeps_sqlite(home):
        on_server.insist_on_answer(home)
        return None
    if not (address := on_server.chosen_address()):
        raise SettingsError.at(
            on_server.ADDRESS_VARIABLE,
            expected="the address of a PostgreSQL database",
            found="nothing",
            remedy="Set it as in postgresql://user:password@host:5432/database, then run this again",
        )
    on_server.insist_on_packages()
    records_are_current(home)
    with sole_use(home):
        done = _copied(home, address, progress)
        text = read_plain(home / "dagster.yaml", RECORD_BYTES).decode()
        write_file(home / "dagster.yaml", f"{text.rstrip()}\n{on_server.STORAGE}".encode())
    return done


def _copied(home: Path, address: str, progress: Progress) -> Migrated:
    from sqlalchemy import text

    _make_tables(address)
    numbers, source = Numbers(home, progress), Source(home)
    with on_server.connected(address) as target, target.begin():
        target.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        layout = _layout(target)
        if was_empty := is_empty(target, layout):
            copy_all(source, target, layout, numbers, progress)
        if found := differences(source, target, layout, numbers):  # what was copied is taken back with the transaction
            raise _differs(address, found, copied=was_empty)
        n_runs, n_events = count(target, layout, "runs"), count(target, layout, "event_logs")
        return Migrated(n_runs, n_events, count_partitions(target, layout), on_server.shown(address), home)


def _make_tables(address: str) -> None:
    """Let Dagster make its tables, in a database that is empty or has them."""
    with on_server.connected(address) as target:
        there = set(_layout(target).tables)
    if there and not there >= _TABLES_OF_DAGSTER:
        raise StorageError.at(
            f"PostgreSQL at {on_server.shown(address)}",
            expected="a database of its own for Dagster's records",
            found=f"tables of another program: {', '.join(sorted(there)[:5])}",
            remedy="Make one (`CREATE DATABASE meso`), and name it in the address",
        )
    with tempfile.TemporaryDirectory(prefix="meso-") as folder, contextlib.ExitStack() as until_end:
        write_file(Path(folder) / "dagster.yaml", f"telemetry:\n  enabled: false\n{on_server.STORAGE}".encode())
        until_end.enter_context(dg.DagsterInstance.from_config(folder))


def _layout(target: Connection) -> MetaData:
    from sqlalchemy import MetaData

    layout = MetaData()
    layout.reflect(target)
    return layout


def _differs(address: str, found: list[str], *, copied: bool) -> StorageError:
    if copied:
        return StorageError.at(
            f"PostgreSQL at {on_server.shown(address)}",
            expected="the same answers as the SQLite files give",
            found="; ".join(found[:5]),
            remedy="The database is empty again and the home as it was: run `meso instance check`, and report this",
        )
    return StorageError.at(
        f"PostgreSQL at {on_server.shown(address)}",
        expected="an empty database, or a whole copy of this home's records",
        found=f"other records ({'; '.join(found[:3])})",
        remedy="Name an empty database in the address (`CREATE DATABASE meso`). To go on with the records that are "
        "there, give meso a new, empty MESO_HOME",
    )
