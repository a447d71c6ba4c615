"""What all endpoints have in common: pages, filters, reading, making, changing and deleting records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from .fields import Field, read_all
from .lookups import keep
from .refusals import RefusalError, bad_set, not_found, refuse
from .tables import Record, Table, Tables

Filter = Callable[[Tables, Record, str], bool]

#: Methods that a whole list and one record understand, where an endpoint says nothing else.
LIST = ("GET", "POST")
ONE = ("GET", "PUT", "PATCH", "DELETE")
PAGE, LARGEST_PAGE = 250, 1000


@dataclass(frozen=True)
class Request:
    """What the server knows of one request beside its method and path."""

    user: str
    #: Address of the server, in front of the paths in answers.
    root: str
    query: dict[str, str]
    data: dict[str, Any]
    #: Name of the field → name and content of a file that was sent.
    files: dict[str, tuple[str, bytes]]


def same(column: str) -> Filter:
    return lambda _tables, record, value: str(record.get(column)) == value


def number(column: str) -> Filter:
    """Numbers are compared as such: ``001`` is 1."""
    return lambda _tables, record, value: record.get(column) == float(value)


def any_case(column: str) -> Filter:
    return lambda _tables, record, value: str(record.get(column)).lower() == value.lower()


def holds(column: str) -> Filter:
    """The record's list holds each of the names that the filter gives."""
    return lambda _tables, record, value: set(value.split(",")) <= {str(item) for item in record.get(column) or ()}


class Resource:
    """One endpoint; subclasses say its fields, its filters and its two forms, a row of a list and a record in full."""

    endpoint = ""
    model = ""
    list_methods: tuple[str, ...] = LIST
    one_methods: tuple[str, ...] = ONE
    fields: ClassVar[dict[str, Field]] = {}
    filters: ClassVar[dict[str, Filter]] = {}
    unique: tuple[tuple[str, ...], ...] = ()

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    @property
    def table(self) -> Table:
        return self.tables[self.endpoint]

    def find(self, key: str) -> Record:
        return self.table.get(key) or not_found(self.model)

    # what subclasses change

    def row(self, record: Record, request: Request) -> Record:
        return self.detail(record, request)

    def detail(self, record: Record, request: Request) -> Record:
        return {name: record.get(name) for name in self.fields}

    def ordered(self, records: Iterable[Record]) -> list[Record]:
        return list(records)

    def candidates(self, query: dict[str, str]) -> Iterable[Record]:
        """Records among which a list is looked for; a filter that names what the server has not is refused here."""
        return self.table

    def check(self, values: Record, old: Record | None) -> None:
        """Refuse what the fields, each for itself, do not show."""

    def settled(self, record: Record) -> None:
        """Do what saving a record does to others."""

    def before_delete(self, record: Record) -> None:
        """Refuse, or take along what belongs to the record."""

    # what a request does

    def list(self, request: Request) -> Record:
        query = request.query
        records = [r for r in self.candidates(query) if self._passes(r, query)]
        if lookups := query.get("django"):
            records = [r for r in records if keep(self.tables, self.endpoint, r, lookups)]
        records = self.ordered(records)
        limit = min(int(query.get("limit") or PAGE), LARGEST_PAGE)
        offset = int(query.get("offset") or 0)
        page = records[offset : offset + limit]

        def other(start: int, there: bool) -> str | None:
            rest = {**query, "limit": str(limit), "offset": str(start)}
            terms = "&".join(f"{name}={value}" for name, value in rest.items())
            return f"{request.root}/{self.endpoint}?{terms}" if there else None

        return {
            "count": len(records),
            "next": other(offset + limit, offset + limit < len(records)),
            "previous": other(max(0, offset - limit), offset > 0),
            "results": [self.row(record, request) for record in page],
        }

    def read(self, key: str, request: Request) -> Record:
        return self.detail(self.find(key), request)

    def create(self, request: Request) -> Record:
        values = read_all(self.tables, self.fields, request.data, partial=False)
        values = {**{name: field.default for name, field in self.fields.items()}, **values}
        record = self.make(values, request)
        return self.detail(record, request)

    def make(self, values: Record, request: Request) -> Record:
        self.check(values, None)
        self._unique(values, None)
        record = self.table.add(**values)
        self.settled(record)
        return record

    def change(self, key: str, request: Request, *, partial: bool) -> Record:
        record = self.find(key)
        values = read_all(self.tables, self.fields, request.data, partial=partial)
        self.check({**record, **values}, record)
        self._unique({**record, **values}, record)
        self.table.change(record, **values)
        self.settled(record)
        return self.detail(record, request)

    def delete(self, key: str) -> None:
        record = self.find(key)
        self.before_delete(record)
        self.table.remove(record)

    def _passes(self, record: Record, query: dict[str, str]) -> bool:
        return all(test(self.tables, record, query[name]) for name, test in self.filters.items() if name in query)

    def _unique(self, values: Record, old: Record | None) -> None:
        for names in self.unique:
            wanted = {name: values[name] for name in names}
            if any(other is not old for other in self.table.where(**wanted)):
                bad_set(*names)


class Named(Resource):
    """Records that are known by their name, which is theirs alone."""

    key = "name"

    def check(self, values: Record, old: Record | None) -> None:
        other = self.table.get(values[self.key])
        if other is not None and other is not old:
            raise RefusalError(400, {self.key: [f"{self.model.lower()} with this {self.key} already exists."]})


def method_not_allowed(method: str) -> None:
    refuse(405, f'Method "{method}" not allowed.')
