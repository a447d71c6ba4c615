"""Small records about Alyx that are kept with a session, read strictly.

What belongs here: reading. What they mean is said where their dataclasses are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputFileError, MissingInputError, SettingsError
from ..opening import read_json
from ..storage.manifests.records import FieldError, read_record

T = TypeVar("T")


def kept_record(kind: type[T], file: Path, remedy: str, missing: Mapping[str, Any]) -> T | None:
    """Read a record; None where there is none.

    Parameters
    ----------
    kind
        Its dataclass.
    file
        The file.
    remedy
        What a person does with a damaged one.
    missing
        Field → what it means that the field is missing or null.

    Raises
    ------
    InputFileError
        If it is damaged.
    """
    try:
        record = read_json(file, remedy)
    except MissingInputError:
        return None
    if isinstance(record, dict):
        record = {**missing, **{name: value for name, value in record.items() if value is not None}}
    try:
        return read_record(kind, record)
    except FieldError as error:
        raise InputFileError.at(
            file, field=".".join(error.path) or None, expected=error.expected, found=error.found, remedy=remedy
        ) from error
    except SettingsError as error:
        raise InputFileError.at(file, expected="whole fields", found=str(error), remedy=remedy) from error
