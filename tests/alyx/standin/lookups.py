"""The filter ``django=<lookup>,<value>[,...]``: names of columns, also of the records that a column points to."""

from __future__ import annotations

import re
from typing import Any

from .refusals import refuse
from .tables import Record, Tables

#: Column that points to another record → its table.
POINTS_TO = {
    "session": "sessions",
    "subject": "subjects",
    "dataset": "datasets",
    "data_repository": "data-repository",
    "field_of_view": "fields-of-view",
    "stack": "imaging-stack",
    "lab": "labs",
    "projects": "projects",
    "brain_region": "brain-regions",
    "tags": "tags",
}
#: Other side of a pointer: table and name → table and column that points back.
POINTS_BACK = {
    ("datasets", "file_records"): ("files", "dataset"),
    ("sessions", "field_of_view"): ("fields-of-view", "session"),
    ("sessions", "data_dataset_session_related"): ("datasets", "session"),
    ("fields-of-view", "location"): ("fov-location", "field_of_view"),
}
#: Other names of columns.
ALIASES = {"datasets": {"default_dataset": "default"}}
TESTS = {
    "exact": lambda found, value: _text(found) == value,
    "iexact": lambda found, value: _text(found).lower() == value.lower(),
    "in": lambda found, value: _text(found) in _items(value),
    "contains": lambda found, value: value in _text(found),
    "icontains": lambda found, value: value.lower() in _text(found).lower(),
    "startswith": lambda found, value: _text(found).startswith(value),
    "istartswith": lambda found, value: _text(found).lower().startswith(value.lower()),
    "endswith": lambda found, value: _text(found).endswith(value),
    "isnull": lambda found, value: (found is None) == (value.lower() == "true"),
    "gte": lambda found, value: found is not None and _text(found) >= value,
    "lte": lambda found, value: found is not None and _text(found) <= value,
    "gt": lambda found, value: found is not None and _text(found) > value,
    "lt": lambda found, value: found is not None and _text(found) < value,
    "date": lambda found, value: _text(found)[:10] == value,
}


def keep(tables: Tables, table: str, record: Record, lookups: str) -> bool:
    """Whether a record passes all pairs of the filter; ``~`` in front of a pair turns it round."""
    return all(
        _matches(tables, table, record, lookup.lstrip("~"), value) != lookup.startswith("~")
        for lookup, value in pairs(lookups)
    )


def pairs(lookups: str) -> list[tuple[str, str]]:
    """Cut the filter into pairs; a list in brackets is one value."""
    parts = [part.strip() for part in re.findall(r"(?:\[[^\]]*\]|\([^)]*\)|[^,\[(]+)+", lookups)]
    if not parts or len(parts) % 2:
        refuse(500, "not enough values to unpack (expected 2, got 1)")
    return list(zip(parts[::2], parts[1::2], strict=True))


def _matches(tables: Tables, table: str, record: Record, lookup: str, value: str) -> bool:
    names = lookup.split("__")
    test = TESTS[names.pop()] if names[-1] in TESTS else TESTS["exact"]
    return any(test(found, value) for found in _values(tables, table, record, names))


def _values(tables: Tables, table: str, record: Record, names: list[str]) -> list[Any]:
    name, *rest = names
    if name in ("pk", "id"):
        return [record["id"]]
    if back := POINTS_BACK.get((table, name)):
        others = tables[back[0]].where(**{back[1]: record[tables[table].key]})
        return [v for other in others for v in _values(tables, back[0], other, rest or ["pk"])] or [None]
    column = ALIASES.get(table, {}).get(name, name)
    if column not in record:
        refuse(500, f"Cannot resolve keyword '{name}' into field. Choices are: {', '.join(sorted(record))}")
    held = record[column] if isinstance(record[column], list) else [record[column]]
    if name not in POINTS_TO:
        return _inside(held, rest)
    pointed = [tables[POINTS_TO[name]].get(str(key)) for key in held if key is not None]
    return [v for other in pointed if other for v in _values(tables, POINTS_TO[name], other, rest or ["pk"])] or [None]


def _inside(held: list[Any], rest: list[str]) -> list[Any]:
    """What stands deeper in a JSON field."""
    for name in rest:
        held = [item.get(name) if isinstance(item, dict) else None for item in held]
    return held


def _items(value: str) -> list[str]:
    return [item.strip(" '\"") for item in value.strip("[]()").split(",")]


def _text(found: Any) -> str:
    return str(found)
