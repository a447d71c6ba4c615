"""What the stand-in keeps in memory: tables of records, with indices where a session's records are looked up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

Record = dict[str, Any]


class Table:
    """Records in the order in which they were made, found by their key and by the columns that are indexed."""

    def __init__(self, key: str = "id", indexed: tuple[str, ...] = ()) -> None:
        self.key = key
        self._records: dict[str, Record] = {}
        self._indices: dict[str, dict[Any, dict[str, Record]]] = {column: {} for column in indexed}

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records.values()))

    def __contains__(self, key: object) -> bool:
        return key in self._records

    def add(self, **values: Any) -> Record:
        record = {"id": str(uuid4()), **values}
        self._records[record[self.key]] = record
        for column, index in self._indices.items():
            index.setdefault(record[column], {})[record["id"]] = record
        return record

    def get(self, key: object) -> Record | None:
        return self._records.get(key) if isinstance(key, str) else None

    def change(self, record: Record, **values: Any) -> Record:
        for column, index in self._indices.items():
            if column in values and values[column] != record[column]:
                del index[record[column]][record["id"]]
                index.setdefault(values[column], {})[record["id"]] = record
        if self.key in values and values[self.key] != record[self.key]:
            self._records[values[self.key]] = self._records.pop(record[self.key])
        record.update(values)
        return record

    def remove(self, record: Record) -> None:
        del self._records[record[self.key]]
        for column, index in self._indices.items():
            del index[record[column]][record["id"]]

    def where(self, **equal: Any) -> list[Record]:
        """All records whose columns have these values."""
        for column, index in self._indices.items():
            if column in equal:
                candidates = list(index.get(equal[column], {}).values())
                break
        else:
            candidates = list(self)
        return [r for r in candidates if all(r.get(name) == value for name, value in equal.items())]

    def first(self, wanted: Callable[[Record], bool]) -> Record | None:
        return next((record for record in self if wanted(record)), None)


class Tables:
    """All tables of the server, by the name of their endpoint; some have no endpoint, as on a real server."""

    def __init__(self) -> None:
        #: Held while a request is answered; a real server has several workers, see ``Behaviour.in_parallel``.
        self.lock = threading.RLock()
        named = ("labs", "data-repository", "projects", "dataset-types", "data-formats", "tags", "revisions")
        self._tables = {name: Table("name") for name in named}
        self._tables |= {
            "users": Table("username"),
            "subjects": Table("nickname"),
            "procedures": Table("name"),
            "repository-types": Table("name"),
            "coordinate-systems": Table("name"),
            "imaging-types": Table("name"),
            "lines": Table("name"),
            "brain-regions": Table(),
            "surgeries": Table(indexed=("subject",)),
            "sessions": Table(indexed=("subject",)),
            "imaging-stack": Table(),
            "fields-of-view": Table(indexed=("session", "stack")),
            "fov-location": Table(indexed=("field_of_view",)),
            "datasets": Table(indexed=("session",)),
            "files": Table(indexed=("dataset",)),
            "notes": Table(indexed=("object_id",)),
        }

    def __getitem__(self, name: str) -> Table:
        return self._tables[name]
