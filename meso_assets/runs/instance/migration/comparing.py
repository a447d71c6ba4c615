"""Whether two places of records answer the same: SQLite files of a home, and a database of PostgreSQL.

What belongs here: what is asked of both. Numbers of events differ, so that an event is known by its run and its time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from .copying import EVENTS, EVENTS_OF_ASSETS, OF_A_NEW_ONE, RUNS, SCHEDULES, TABLES, Source, count
from .numbers import INDEX, POINTER_TAG, Numbers

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData

#: An event, as both places know it: its run, and its time.
_Event: TypeAlias = tuple[str, str]


def differences(source: Source, target: Connection, layout: MetaData, numbers: Numbers) -> list[str]:
    """Find what the two places answer differently.

    Compared are the rows of each table, the events of each run, the runs with state, times and tags, partitions, what
    is switched on, and of each asset and partition the last event of each kind, with its versions and with the events
    that it names: what Dagster tells of staleness follows from those.

    Parameters
    ----------
    source
        The SQLite files.
    target, layout
        The database and its tables.
    numbers
        Numbers of the events.

    Returns
    -------
    list of str
        A line for each; empty where all is the same.
    """
    found = list(_counts(source, target, layout, numbers))
    for file, what, asked in _QUESTIONS:
        with source.opened(file) as (files, its_layout):
            here, there = _answers(files, its_layout, asked), _answers(target, layout, asked)
        if here != there:
            found.append(f"{what}: {len(here - there)} are missing, {len(there - here)} are not known here")
    with source.opened(INDEX) as (files, its_layout):
        for asset in _assets(files, its_layout):
            last, copied = _last_events(files, its_layout, asset), _last_events(target, layout, asset)
            if last != copied:
                n = sum(last.get(which) != copied.get(which) for which in last.keys() | copied.keys())
                found.append(f"{asset}: the last events of {n} partitions differ")
    return found


def count_partitions(connection: Connection, layout: MetaData) -> int:
    """Count the pairs of asset and partition of which an event is kept."""
    from sqlalchemy import func, select

    events = layout.tables[EVENTS]
    pairs = select(events.c.asset_key, events.c.partition).where(events.c.asset_key.is_not(None)).distinct()
    return int(connection.execute(select(func.count()).select_from(pairs.subquery())).scalar_one())


def is_empty(target: Connection, layout: MetaData) -> bool:
    """Whether a database holds no records yet, beyond what Dagster puts into a new one."""
    return all(not count(target, layout, name) for name in layout.tables if name not in OF_A_NEW_ONE)


def _counts(source: Source, target: Connection, layout: MetaData, numbers: Numbers) -> Iterator[str]:
    for file, tables in TABLES.items():
        with source.opened(file) as (files, its_layout):
            for table in tables:
                if table in _SOME_ARE_LEFT:
                    continue
                here, there = count(files, its_layout, table), count(target, layout, table)
                if here != there:
                    yield f"{table}: {here} rows here, {there} there"
    from sqlalchemy import func, select

    events = layout.tables[EVENTS]
    asked = select(events.c.run_id, func.count()).group_by(events.c.run_id)
    there_by_run = {run or "": n for run, n in target.execute(asked)}
    here_by_run = {run: n for run, n in numbers.by_run.items() if n}
    if n := sum(here_by_run.get(r) != there_by_run.get(r) for r in here_by_run.keys() | there_by_run.keys()):
        yield f"{n} runs have not the same number of events"


#: Rows of runs and events that are gone stay behind; what is left of these tables is compared below.
_SOME_ARE_LEFT = ("run_tags", "asset_event_tags")
_QUESTIONS: tuple[tuple[str, str, tuple[str, tuple[str, ...]]], ...] = (
    (RUNS, "runs", ("runs", ("run_id", "status", "start_time", "end_time", "create_timestamp", "run_body"))),
    (RUNS, "tags of runs", ("run_tags", ("run_id", "key", "value"))),
    (INDEX, "partitions", ("dynamic_partitions", ("partitions_def_name", "partition"))),
    (INDEX, "pools", ("concurrency_limits", ("concurrency_key", "limit"))),
    (INDEX, "answers of checks", ("asset_check_executions", ("asset_key", "check_name", "run_id", "execution_status"))),
    (SCHEDULES, "sensors and schedules", ("instigators", ("selector_id", "status"))),
)


def _answers(connection: Connection, layout: MetaData, asked: tuple[str, tuple[str, ...]]) -> set[tuple[str, ...]]:
    from sqlalchemy import select

    table, columns = layout.tables[asked[0]], asked[1]
    chosen = select(*(table.c[name] for name in columns))
    if asked[0] == "run_tags":  # SQLite keeps those of runs that are gone
        chosen = chosen.where(table.c.run_id.in_(select(layout.tables["runs"].c.run_id)))
    found = connection.execute(chosen)
    return {tuple(map(str, row)) for row in found}


def _assets(connection: Connection, layout: MetaData) -> list[str]:
    from sqlalchemy import select

    return sorted(connection.execute(select(layout.tables["asset_keys"].c.asset_key)).scalars())


def _last_events(connection: Connection, layout: MetaData, asset: str) -> Mapping[tuple[str, str], Any]:
    """Partition and kind of event → the last one of an asset, and its tags, with the events that they name."""
    from sqlalchemy import func, select

    events, tags = layout.tables[EVENTS], layout.tables["asset_event_tags"]
    last = (
        select(func.max(events.c.id).label("id"))
        .where(events.c.asset_key == asset, events.c.dagster_event_type.in_(sorted(EVENTS_OF_ASSETS)))
        .group_by(events.c.partition, events.c.dagster_event_type)
        .subquery()
    )
    columns = (events.c.id, events.c.partition, events.c.dagster_event_type, events.c.run_id, events.c.timestamp)
    found = connection.execute(select(*columns).join(last, last.c.id == events.c.id)).all()
    asked = select(tags.c.event_id, tags.c.key, tags.c.value).join(last, last.c.id == tags.c.event_id)
    by_event: dict[int, dict[str, object]] = {}
    for event, key, value in connection.execute(asked):
        by_event.setdefault(event, {})[key] = value
    _name_events(connection, layout, by_event)
    return {
        (str(row.partition), row.dagster_event_type): (row.run_id, str(row.timestamp), by_event.get(row.id, {}))
        for row in found
    }


def _name_events(connection: Connection, layout: MetaData, by_event: Mapping[int, dict[str, object]]) -> None:
    """Put the events themselves where tags have their numbers."""
    from sqlalchemy import select

    events = layout.tables[EVENTS]
    pointers = {
        (event, key): int(value)
        for event, tags in by_event.items()
        for key, value in tags.items()
        if key.startswith(POINTER_TAG) and isinstance(value, str) and value.isdecimal()
    }
    wanted, known = sorted(set(pointers.values())), dict[int, _Event]()
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        asked = select(events.c.id, events.c.run_id, events.c.timestamp).where(events.c.id.in_(some))
        known |= {row.id: (row.run_id, str(row.timestamp)) for row in connection.execute(asked)}
    for (event, key), number in pointers.items():
        by_event[event][key] = known.get(number, "an event that is gone")
