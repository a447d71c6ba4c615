"""What Dagster's records hold of old runs and is worth no room: lines of logs, what steps printed, ticks.

What belongs here: deciding what goes, and removing it. What stays for ever: the list of runs, when their steps began,
ended and why they failed, warnings, and every event of an asset: materialisations, observations, checks. Results are
not touched: they are in the sessions.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

from meso_core.errors import StorageError
from meso_core.progress import Progress, silent
from meso_core.storage.files.atomic import storage_errors

from ...defs.dagster_internals.ticks import count_old_ticks, purge_old_ticks
from . import on_server
from .records import keeps_sqlite

if TYPE_CHECKING:
    from sqlalchemy import Connection

_DAY_S = 86_400.0
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
#: Another process may be reading a file, s; then it is left for the next time.
_WAIT_S = 5.0
#: Lines of a run's log that go: what the code told below a warning, and how Dagster went about it.
_GOES = """
    (dagster_event_type IS NULL AND coalesce({level}, 0) < 30)
    OR dagster_event_type IN (
        'ENGINE_EVENT', 'STEP_WORKER_STARTING', 'STEP_WORKER_STARTED', 'RESOURCE_INIT_STARTED', 'RESOURCE_INIT_SUCCESS',
        'STEP_INPUT', 'STEP_OUTPUT', 'LOADED_INPUT', 'HANDLED_OUTPUT', 'OBJECT_STORE_OPERATION', 'LOGS_CAPTURED'
    )
"""
_GOES_FROM_SQLITE = _GOES.format(level="json_extract(event, '$.level')")
_GOES_FROM_SERVER = _GOES.format(level="(event::json ->> 'level')::int")
#: Removes, or counts, the lines of a run that go: how many, and bytes; None for what is left as it is.
_Lines: TypeAlias = Callable[[str], tuple[int, int] | None]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be, of one kind."""

    what: str
    n: int
    #: Bytes that are free on the disk afterwards; in a dry run those of what would go.
    n_bytes: int


def prune(
    instance: dg.DagsterInstance, home: Path, days: float, *, dry_run: bool = False, progress: Progress = silent
) -> tuple[Pruned, ...]:
    """Remove what old runs have left in the records, while they may be in use.

    Parameters
    ----------
    instance, home
        The records, and their folder.
    days
        Runs that ended earlier than this many days ago are old. Ticks are kept as ``dagster.yaml`` says (`retention`).
    dry_run
        Only count.
    progress
        Told the runs that were looked at.

    Returns
    -------
    tuple of Pruned
        One for each kind.

    Raises
    ------
    StorageError
        If a file may not be removed, or there is no room to write a smaller one. What was removed stays so.
    """
    old = _ended_before(instance, time.time() - days * _DAY_S)
    with storage_errors(home):
        ticks = _ticks(instance, home, dry_run=dry_run)
        with _lines_of(home, dry_run=dry_run) as lines:
            return (ticks, *_of_runs(home, old, lines, dry_run=dry_run, progress=progress))


def _ended_before(instance: dg.DagsterInstance, before: float) -> list[str]:
    records = instance.get_run_records(dg.RunsFilter(statuses=_ENDED))
    return [r.dagster_run.run_id for r in records if (r.end_time or r.update_timestamp.timestamp()) < before]


def _ticks(instance: dg.DagsterInstance, home: Path, *, dry_run: bool) -> Pruned:
    file, what = home / "schedules" / "schedules.db", "ticks of sensors and schedules"
    n = count_old_ticks(instance)
    if dry_run or not n:
        return Pruned(what, n, 0)
    before = _size(file)
    purge_old_ticks(instance)
    if keeps_sqlite(home):
        _shrink(file)
    return Pruned(what, n, max(0, before - _size(file)))


@contextmanager
def _lines_of(home: Path, *, dry_run: bool) -> Iterator[_Lines]:
    """Make what removes the lines of a run, from its file or from the server that the home names."""
    if keeps_sqlite(home):
        yield lambda run_id: _lines(home / "history" / "runs" / f"{run_id}.db", dry_run=dry_run)
    elif (address := on_server.address_of(home)) is not None:
        with on_server.connected(address) as server:
            yield lambda run_id: _lines_on_server(server, run_id, dry_run=dry_run)
    else:  # another database: look after it there
        yield lambda _: (0, 0)


def _of_runs(home: Path, old: list[str], lines: _Lines, *, dry_run: bool, progress: Progress) -> Iterator[Pruned]:
    n_lines = bytes_of_lines = n_folders = bytes_of_folders = n_left = 0
    for n_seen, run_id in enumerate(old, 1):
        folder = home / "storage" / run_id
        found = lines(run_id)
        n_left += found is None
        n, n_bytes = found or (0, 0)
        n_lines, bytes_of_lines = n_lines + n, bytes_of_lines + n_bytes
        if folder.is_dir() and not folder.is_symlink():
            bytes_of_folders += sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
            n_folders += 1
            if not dry_run:
                shutil.rmtree(folder)
        progress(n_seen, len(old), "old runs looked at")
    yield Pruned("lines of logs of old runs", n_lines, bytes_of_lines)
    yield Pruned("old runs with what their steps printed and handed on", n_folders, bytes_of_folders)
    if n_left:
        yield Pruned("logs that are in use or damaged, left as they are", n_left, 0)


def _lines_on_server(server: Connection, run_id: str, *, dry_run: bool) -> tuple[int, int]:
    """Remove the lines that go of a run; PostgreSQL uses their room again and gives none back to the disk."""
    from sqlalchemy import text

    those, run = f"FROM event_logs WHERE run_id = :run AND ({_GOES_FROM_SERVER})", {"run": run_id}
    n, n_bytes = server.execute(text(f"SELECT count(*), coalesce(sum(octet_length(event)), 0) {those}"), run).one()
    if n and not dry_run:
        server.execute(text(f"DELETE {those}"), run)
    server.commit()
    return int(n), int(n_bytes)


def _lines(log: Path, *, dry_run: bool) -> tuple[int, int] | None:
    """Remove the lines that go from the log of a run; None for one that is in use or damaged, which stays as it is."""
    if not log.is_file():
        return 0, 0
    try:
        with closing(_opened(log)) as database:
            asked = f"SELECT count(*), coalesce(sum(length(event)), 0) FROM event_logs WHERE {_GOES_FROM_SQLITE}"
            n, n_bytes = database.execute(asked).fetchone()
            if dry_run or not n:
                return n, n_bytes
            before = _size(log)
            with database:
                database.execute(f"DELETE FROM event_logs WHERE {_GOES_FROM_SQLITE}")
    except sqlite3.DatabaseError as error:
        _insist_on_room(log, error)
        return None
    _shrink(log)
    return n, max(0, before - _size(log))


def _shrink(file: Path) -> None:
    """Give the room of what was removed back to the disk; SQLite does that whole or not at all."""
    try:
        with closing(_opened(file)) as opened:
            opened.isolation_level = None  # not within a transaction
            opened.execute("VACUUM")
            opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError as error:
        _insist_on_room(file, error)  # in use: it has its room until the next time


def _opened(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=_WAIT_S)


def _insist_on_room(file: Path, error: sqlite3.DatabaseError) -> None:
    if "full" in str(error):
        raise StorageError.at(
            file, expected="room to write a smaller one", found=str(error), remedy="Free space on this disk, then again"
        ) from error


def _size(file: Path) -> int:
    sides = (file, file.with_name(f"{file.name}-wal"))
    return sum(one.stat().st_size for one in sides if one.is_file())


def shown(kinds: tuple[Pruned, ...]) -> Mapping[str, str]:
    """Say how many of each kind, and how much room."""
    return {one.what: f"{one.n:,}, {one.n_bytes / 1e6:,.1f} MB" for one in kinds}
