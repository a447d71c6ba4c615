"""Dagster's tables from the SQLite files of a home into an empty database of PostgreSQL, all or nothing.

What belongs here: which file holds which table, and what of a row changes on its way: numbers of events alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from meso_core.json_text import json_text
from meso_core.progress import Progress, silent

from .numbers import INDEX, POINTER_TAG, Numbers

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData

RUNS, SCHEDULES = "history/runs.db", "schedules/schedules.db"
#: Tables by file, in the order in which one may name another; the log of events is in all files.
TABLES: Mapping[str, tuple[str, ...]] = {
    RUNS: (
        "snapshots",
        "runs",
        "run_tags",
        "bulk_actions",
        "backfill_tags",
        "kvs",
        "daemon_heartbeats",
        "instance_info",
    ),
    INDEX: (
        "dynamic_partitions",
        "concurrency_limits",
        "concurrency_slots",
        "pending_steps",
        "asset_keys",
        "asset_event_tags",
        "asset_check_executions",
    ),
    SCHEDULES: ("jobs", "instigators", "job_ticks", "asset_daemon_asset_evaluations"),
}
EVENTS, DONE_TO_LAYOUT = "event_logs", "secondary_indexes"
#: What Dagster itself puts into a database that it makes.
OF_A_NEW_ONE = frozenset({"instance_info", DONE_TO_LAYOUT, "alembic_version"})
#: Events that tell of an asset by their columns, which Dagster asks ``index.db`` for alone.
EVENTS_OF_ASSETS = frozenset({"ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "ASSET_MATERIALIZATION_PLANNED"})
_ROWS_AT_A_TIME = 500
Row: TypeAlias = dict[str, Any]


class Source:
    """The SQLite files of a home, to be read alone.

    Parameters
    ----------
    home
        Folder of the records, which nobody uses.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._layouts: dict[str, MetaData] = {}

    @contextmanager
    def opened(self, file: str, log: Path | None = None) -> Iterator[tuple[Connection, MetaData]]:
        """Open a file, or the log of a run with the layout of that file; asking for a layout takes a while."""
        from sqlalchemy import MetaData, create_engine
        from sqlalchemy.pool import NullPool

        path = log or self.home / file
        engine = create_engine(f"sqlite:///{path.as_uri()}?mode=ro&uri=true", poolclass=NullPool, hide_parameters=True)
        try:
            with engine.connect() as connection:
                if file not in self._layouts:
                    layout = MetaData()
                    layout.reflect(connection)
                    self._layouts[file] = layout
                yield connection, self._layouts[file]
        finally:
            engine.dispose()


def rows_of(connection: Connection, layout: MetaData, table: str) -> Iterator[Row]:
    """Yield the rows of a table in the order of their numbers."""
    from sqlalchemy import select

    chosen = layout.tables[table]
    found = connection.execution_options(yield_per=_ROWS_AT_A_TIME).execute(select(chosen).order_by(chosen.c.id))
    for row in found.mappings():
        yield dict(row)


def count(connection: Connection, layout: MetaData, table: str) -> int:
    """Count the rows of a table."""
    from sqlalchemy import func, select

    return int(connection.execute(select(func.count()).select_from(layout.tables[table])).scalar_one())


def copy_all(
    source: Source, target: Connection, layout: MetaData, numbers: Numbers, progress: Progress = silent
) -> int:
    """Copy all records of a home within the transaction of a connection.

    Parameters
    ----------
    source
        Files of the home.
    target
        Connection to the database, in a transaction; its tables are there, and empty.
    layout
        Those tables.
    numbers
        Numbers of the events.
    progress
        Told the rows.

    Returns
    -------
    int
        Number of rows.
    """
    total, copied = _total(source) + numbers.n_events, 0
    for table in (DONE_TO_LAYOUT, "instance_info"):
        target.execute(layout.tables[table].delete())
    for table, rows in _all_rows(source, numbers):
        chosen = layout.tables[table]
        names = {column.name for column in chosen.columns}
        rows = iter(rows)
        while batch := [{name: row[name] for name in row.keys() & names} for row in islice(rows, _ROWS_AT_A_TIME)]:
            target.execute(chosen.insert(), batch)
            copied += len(batch)
            progress(min(copied, total - 1), total, "rows copied")
    _count_on(target, layout)
    progress(total, total, "rows copied")
    return copied


def _total(source: Source) -> int:
    n = 0
    for file, tables in TABLES.items():
        with source.opened(file) as (connection, layout):
            n += sum(count(connection, layout, table) for table in tables)
    return n


def _all_rows(source: Source, numbers: Numbers) -> Iterator[tuple[str, Iterable[Row]]]:
    """Yield each table with its rows as they are to be."""
    done: dict[str, Row] = {}
    for file, tables in TABLES.items():
        with source.opened(file) as (connection, layout):
            done |= {row["name"]: row for row in rows_of(connection, layout, DONE_TO_LAYOUT)}
            for table in tables:
                yield table, _changed(table, rows_of(connection, layout, table), connection, layout, numbers)
    yield DONE_TO_LAYOUT, ({**row, "id": n} for n, row in enumerate(done.values(), 1))
    yield EVENTS, _events(source, numbers)


def _changed(
    table: str, rows: Iterator[Row], connection: Connection, layout: MetaData, numbers: Numbers
) -> Iterator[Row]:
    """Change what does not stay of rows; SQLite keeps those whose run is gone, which PostgreSQL refuses."""
    if table in ("run_tags", "runs"):
        from sqlalchemy import select

        there, name = ("runs", "run_id") if table == "run_tags" else ("snapshots", "snapshot_id")
        known = set(connection.execute(select(layout.tables[there].c[name])).scalars())
        if table == "run_tags":
            return (row for row in rows if row[name] in known)
        return ({**row, name: row[name] if row[name] in known else None} for row in rows)
    change = _CHANGES.get(table)
    return rows if change is None else (new for row in rows if (new := change(row, numbers)) is not None)


def _asset_key(row: Row, numbers: Numbers) -> Row:
    # what Dagster remembers of all partitions names numbers: it finds it out again
    return {**row, "last_materialization": numbers.moved(row["last_materialization"]), "cached_status_data": None}


def _event_tag(row: Row, numbers: Numbers) -> Row | None:
    if not numbers.knows(row["event_id"]):  # of an event that was wiped
        return None
    value = row["value"]
    if row["key"].startswith(POINTER_TAG) and value and value.isdecimal():
        value = str(numbers.of(int(value)))
    return {**row, "event_id": numbers.of(row["event_id"]), "value": value}


def _check(row: Row, numbers: Numbers) -> Row:
    ids = {name: row[name] for name in ("evaluation_event_storage_id", "materialization_event_storage_id")}
    moved = {name: number if number is None else numbers.of(number) for name, number in ids.items()}
    return {**row, **moved, "evaluation_event": numbers.moved(row["evaluation_event"])}


def _state(body: str) -> Callable[[Row, Numbers], Row]:
    return lambda row, numbers: {**row, body: _moved_cursor(row[body], numbers)}


def _moved_cursor(text: str | None, numbers: Numbers) -> str | None:
    """Let a sensor that follows events go on where it was; cursors of others are their own business."""
    told: Any = json.loads(text) if text else None
    data = (told or {}).get("job_specific_data") or {}
    cursor, kind = data.get("cursor"), str((data.get("sensor_type") or {}).get("__enum__", ""))
    if not isinstance(cursor, str):
        return text
    if kind.endswith(".ASSET") and cursor.isdecimal():
        data["cursor"] = str(numbers.of(int(cursor)))
    elif kind.endswith(".RUN_STATUS") and '"record_id"' in cursor:
        place = json.loads(cursor)
        data["cursor"] = json_text({**place, "record_id": numbers.of(place["record_id"])})
    else:
        return text
    return json_text(told)


_CHANGES: Mapping[str, Callable[[Row, Numbers], Row | None]] = {
    "asset_keys": _asset_key,
    "asset_event_tags": _event_tag,
    "asset_check_executions": _check,
    "jobs": _state("job_body"),
    "instigators": _state("instigator_body"),
}


def _events(source: Source, numbers: Numbers) -> Iterator[Row]:
    """Yield the events of all files, each once."""
    with source.opened(INDEX) as (connection, layout):
        for row in rows_of(connection, layout, EVENTS):
            yield {**row, "id": numbers.of(row["id"]), "event": numbers.moved(row["event"])}
    for log in numbers.logs:
        new = {line.old: line.new for line in numbers.lines(log)}
        with source.opened(INDEX, log) as (connection, layout):
            for row in rows_of(connection, layout, EVENTS):
                if row["id"] not in new:
                    continue
                if row["dagster_event_type"] in EVENTS_OF_ASSETS:  # of an asset that was wiped: a line, and no more
                    row |= {"asset_key": None, "partition": None}
                yield {**row, "id": new[row["id"]], "event": numbers.moved(row["event"])}


def _count_on(target: Connection, layout: MetaData) -> None:
    """Let the server number what comes after what was copied."""
    from sqlalchemy import text

    for name, table in layout.tables.items():
        if "id" in table.columns:
            asked = (
                f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), max(id)) FROM {name} HAVING max(id) IS NOT NULL"
            )
            target.execute(text(asked))
