"""Records on disk, read strictly: a field that is unknown, missing or of another type is named.

What belongs here: reading JSON values as a dataclass by its annotations. What the records hold is said where their
dataclasses are.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from ...errors import brief

T = TypeVar("T")

#: Type of a single value → its name in JSON Schema.
_SCALARS: Mapping[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


class FieldError(ValueError):
    """Raised when a value of a record is not what its dataclass says."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(expected, found)
        self.expected, self.found = expected, found
        #: Names of the fields from the outermost to the one that is wrong.
        self.path: tuple[str, ...] = ()

    def below(self, name: str) -> FieldError:
        """Say in which field the value lies."""
        self.path = (name, *self.path)
        return self


def read_record(kind: type[T], value: object) -> T:
    """Read JSON values as a dataclass.

    Parameters
    ----------
    kind
        Frozen dataclass; its fields are single values, ``Mapping[str, …]``, ``tuple[…, ...]`` or dataclasses. All of
        them must be there.
    value
        What JSON gave.

    Raises
    ------
    FieldError
        With the path of the first field that is unknown, missing or of another type.
    """
    record: T = _reader(typing.cast("typing.Hashable", kind))(value)
    return record


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:  # noqa: ANN401  an annotation
    if kind is Any:
        return lambda value: value
    if is_dataclass(kind) and isinstance(kind, type):
        return _dataclass_reader(kind)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return _list_reader(_reader(inner[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping_reader(_reader(inner[1]))
    return _scalar_reader(_scalars(kind))


def _scalar_reader(kinds: tuple[type, ...]) -> Callable[[Any], Any]:
    allowed = _allowed(kinds)

    def read(value: object) -> object:
        if type(value) not in allowed:
            raise _other_kind(kinds, value)
        return value

    return read


def _allowed(kinds: tuple[type, ...]) -> frozenset[type]:
    return frozenset({*kinds, *({int} if float in kinds else set())})


def _other_kind(kinds: tuple[type, ...], value: object) -> FieldError:
    return FieldError(" or ".join(_SCALARS[kind] for kind in kinds), brief(value))


def _scalars(kind: Any) -> tuple[type, ...]:  # noqa: ANN401  an annotation
    """Types of which a single value may be; none for a value that is made of others."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(origin, type) and issubclass(origin, types.UnionType):
        return inner
    return (kind,) if kind in _SCALARS else ()


def _list_reader(item: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read(value: object) -> object:
        if type(value) is not list:
            raise FieldError("a list", brief(value))
        found = []
        for i, one in enumerate(value):
            try:
                found.append(item(one))
            except FieldError as error:
                raise error.below(str(i)) from None
        return tuple(found)

    return read


def _mapping_reader(item: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def read(value: object) -> object:
        if type(value) is not dict:
            raise FieldError("names with values", brief(value))
        found = {}
        for name, one in value.items():
            try:
                found[name] = item(one)
            except FieldError as error:
                raise error.below(name) from None
        return found

    return read


def _dataclass_reader(kind: type) -> Callable[[Any], Any]:
    hints = typing.get_type_hints(kind)
    readers = {f.name: _reader(hints[f.name]) for f in fields(kind)}
    # most fields are single values, of very many records: looking at their type here costs a third of a call
    plan = [(name, _allowed(_scalars(hints[name])), one) for name, one in readers.items()]

    def read(value: object) -> object:
        if type(value) is not dict:
            raise FieldError(f"the fields {', '.join(readers)}", brief(value))
        if value.keys() != readers.keys():
            for name in sorted(readers.keys() ^ value.keys(), key=str):
                if name in readers:
                    raise FieldError("a value", "no such field").below(name)
                raise FieldError(f"one of the fields {', '.join(readers)}", "an unknown field").below(name)
        found = []
        for name, allowed, one in plan:
            entry = value[name]
            if type(entry) not in allowed:
                try:
                    entry = one(entry)
                except FieldError as error:
                    raise error.below(name) from None
            found.append(entry)
        return kind(*found)

    return read
