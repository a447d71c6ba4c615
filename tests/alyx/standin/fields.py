"""Kinds of fields: what a request may say for them, and the server's words where it may not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from .refusals import InvalidError, RefusalError
from .tables import Tables

Reader = Callable[[Tables, Any], Any]

QC = {"CRITICAL": 50, "FAIL": 40, "WARNING": 30, "NOT_SET": 0, "PASS": 10}


@dataclass(frozen=True)
class Field:
    read: Reader
    required: bool = False
    null: bool = False
    default: Any = None


def text(pattern: str = "", at_most: int = 0) -> Reader:
    def read(_: Tables, value: Any) -> str:
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise InvalidError("Not a valid string.")
        value = str(value)
        if pattern and not re.fullmatch(pattern, value):
            raise InvalidError("Enter a valid value.")
        if at_most and len(value) > at_most:
            raise InvalidError(f"Ensure this field has no more than {at_most} characters.")
        return value

    return read


def url(_: Tables, value: Any) -> str:
    if not isinstance(value, str) or not re.match(r"https?://[^/]+", value):
        raise InvalidError("Enter a valid URL.")
    return value


def boolean(_: Tables, value: Any) -> bool:
    if value in (True, "true", "True", 1):
        return True
    if value in (False, "false", "False", 0):
        return False
    raise InvalidError("Must be a valid boolean.")


def integer(_: Tables, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise InvalidError("A valid integer is required.") from None


def moment(_: Tables, value: Any) -> str:
    if not isinstance(value, str) or not re.match(r"\d{4}-\d{2}-\d{2}", value):
        raise InvalidError("Datetime has wrong format.")
    return value


def anything(_: Tables, value: Any) -> Any:
    return value


def choice(*allowed: str) -> Reader:
    def read(_: Tables, value: Any) -> str:
        if value not in allowed:
            raise InvalidError(f'"{value}" is not a valid choice.')
        return str(value)

    return read


def qc(_: Tables, value: Any) -> str:
    names = {**{name: name for name in QC}, **{str(number): name for name, number in QC.items()}}
    if str(value) not in names:
        raise InvalidError(f"Invalid QC. The choices are {', '.join(QC)}")
    return names[str(value)]


def by_name(table: str, column: str = "name") -> Reader:
    """A record of another table, named by its key."""

    def read(tables: Tables, value: Any) -> str:
        if not isinstance(value, str) or value not in tables[table]:
            raise InvalidError(f"Object with {column}={value} does not exist.")
        return value

    return read


def by_id(table: str) -> Reader:
    """A record of another table, named by its id; an address is not an id."""

    def read(tables: Tables, value: Any) -> str:
        record = tables[table].get(as_uuid(value))
        if record is None:
            raise InvalidError(f'Invalid pk "{value}" - object does not exist.')
        return str(record["id"])

    return read


def as_uuid(value: Any) -> str:
    try:
        return str(UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise InvalidError(f"“{value}” is not a valid UUID.") from None


def many(each: Reader) -> Reader:
    def read(tables: Tables, value: Any) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise InvalidError(f'Expected a list of items but got type "{type(value).__name__}".')
        return [each(tables, item) for item in value]

    return read


def numbers(_: Tables, value: Any) -> list[Any]:
    """A list of numbers of any length, with nulls: the server checks no more than that."""
    if not isinstance(value, list):
        raise InvalidError(f'Expected a list of items but got type "{type(value).__name__}".')
    if not all(item is None or isinstance(item, int | float) for item in value):
        raise RefusalError(500, {"detail": "could not convert string to float"})
    return value


def regions(tables: Tables, value: Any) -> list[int]:
    """Ids of brain regions: whole numbers that the server holds; repeats collapse, and the order is lost."""
    if not isinstance(value, list):
        raise InvalidError(f'Expected a list of items but got type "{type(value).__name__}".')
    found = set()
    for item in value:
        try:
            number = int(item)
        except (TypeError, ValueError):
            raise InvalidError("Incorrect type. Expected an id.") from None
        if str(number) not in tables["brain-regions"]:
            raise InvalidError(f"Object with id={item} does not exist.")
        found.add(number)
    return sorted(found)


def read_all(tables: Tables, fields: dict[str, Field], data: dict[str, Any], *, partial: bool) -> dict[str, Any]:
    """What the request says, field by field; every field that is refused is named."""
    values, errors = {}, {}
    for name, field in fields.items():
        if name not in data:
            if field.required and not partial:
                errors[name] = ["This field is required."]
            continue
        try:
            values[name] = _one(tables, field, data[name])
        except InvalidError as error:
            errors[name] = [str(error)]
    if errors:
        raise RefusalError(400, dict(errors))
    return values


def _one(tables: Tables, field: Field, value: Any) -> Any:
    if value is None:
        if not field.null:
            raise InvalidError("This field may not be null.")
        return None
    return field.read(tables, value)
