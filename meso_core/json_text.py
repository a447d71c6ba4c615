"""The one writer of JSON: every reader of JSON (RFC 8259) can read what it writes.

What belongs here: text from values. What does not: what the values mean, and reading, which takes Python's ``NaN`` and
``Infinity`` too, since others write them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from types import NoneType
from typing import Any


def json_text(value: object, *, indent: int | None = None, sort_keys: bool = False, nulls: bool = False) -> str:
    """Write a value as JSON.

    Parameters
    ----------
    value
        Plain values, numpy's arrays and numbers, paths.
    indent, sort_keys
        As for :func:`json.dumps`.
    nulls
        Write NaN and infinities as null, see :func:`null_for_nan`.

    Raises
    ------
    ValueError
        If it holds NaN or an infinity, for which JSON has no word, and ``nulls`` is not set.
    TypeError
        If it holds what JSON cannot.
    """
    plain = null_for_nan(value) if nulls else value
    return json.dumps(plain, indent=indent, sort_keys=sort_keys, default=_plain, allow_nan=False)


def null_for_nan(value: Any) -> Any:  # noqa: ANN401  JSON
    """Return a copy with None for NaN and infinities, as MATLAB's ``jsonencode`` writes them: not known."""
    if type(value) in (str, int, bool, NoneType):  # most are: looked for first, for a header holds thousands
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: null_for_nan(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [null_for_nan(entry) for entry in value]
    return null_for_nan(value.tolist()) if hasattr(value, "tolist") else value


def _plain(value: object) -> object:
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
