"""What ScanImage writes about a recording, as values.

What belongs here: the MATLAB literals of the ``SI.`` lines and the JSON of the RoiGroups. What does not: what they
are used for.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from ...errors import MetadataError
from ...session import IMAGING_META_FILE

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|Inf|NaN)$")
_TOKEN = re.compile(r"\s*('(?:[^']|'')*'|[\[\]{};,]|[^\s\[\]{};,']+)")
#: A function handle, or a constant of a class.
_NAME = re.compile(r"@?[A-Za-z_][\w.]*$")
_ZEROS = re.compile(r"zeros\((\d+),\s*(\d+)\)$")
_WORDS: dict[str, Any] = {"true": True, "false": False, "Inf": math.inf, "-Inf": -math.inf, "NaN": math.nan}


#: What to do about a recording that cannot be read, a bout or a reference stack.
LEAVE_OUT = "leave this recording out: move its folder (raw_imaging_data_NN, or reference in it) out of the session"
#: About a header from which no metadata can be made. A copy may be the cause only where it is damaged.
OTHER_HEADER = f"Put the rig's {IMAGING_META_FILE} beside the tifs; if there is none, {LEAVE_OUT}"
RECOPY_HEADER = (
    f"Copy the tif from the rig again. If the rig's is the same, put its {IMAGING_META_FILE} beside the tifs, or, if "
    f"there is none, {LEAVE_OUT}"
)


class _NotLiteralError(ValueError):
    """Raised within this module when a text is no MATLAB literal."""


def parse_si_header(text: str) -> dict[str, Any]:
    r"""Parse the header of a ScanImage tif (the Software tag).

    Parameters
    ----------
    text
        Lines ``SI.name = value``, values in MATLAB's syntax.

    Returns
    -------
    dict
        ``{"SI.hRoiManager.linePeriod": 4.16e-05, …}``. Numbers are int or float (``Inf``, ``NaN`` too), logicals
        bool, strings str, row vectors and cells lists, matrices and column vectors lists of rows, empty arrays
        (``[]``, ``{}``, ``zeros(0,2)``) empty lists. Anything else (a function handle, a description of an object)
        stays text.

    Examples
    --------
    >>> parse_si_header("SI.hStackManager.zs = [0 30]\nSI.hPmts.gains = zeros(1,0)")
    {'SI.hStackManager.zs': [0, 30], 'SI.hPmts.gains': []}
    """
    values = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.strip():
            values[name.strip()] = parse_matlab(value.strip())
    return values


def frames_averaged(software: str) -> int:
    """Raw frames that ScanImage averaged into each frame that it saved, by the header of a tif; 1: none."""
    match = re.search(r"SI\.hScan2D\.logAverageFactor = (\d+)", software)
    return max(int(match[1]), 1) if match else 1


def parse_matlab(text: str) -> object:
    """Value of a MATLAB literal; other text is returned as it is."""
    if _NUMBER.match(text):
        return _number(text)
    if text in _WORDS:
        return _WORDS[text]
    zeros = _ZEROS.match(text)
    if zeros:
        rows, columns = int(zeros[1]), int(zeros[2])
        return _squeeze([[0] * columns for _ in range(rows)])
    if text[:1] not in "'[{" or not text:
        return text
    try:
        tokens = _tokens(text)
        value, rest = _value(tokens, 0)
    except (_NotLiteralError, IndexError):
        return text
    return value if rest == len(tokens) else text


def _number(text: str) -> float:
    return float(text) if re.search(r"[.eEIN]", text) else int(text)


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _NotLiteralError(text)
        tokens.append(match[1])
        at = match.end()
    return tokens


def _value(tokens: list[str], at: int) -> tuple[Any, int]:
    """Value that begins at a token, and the number of the token after it."""
    token = tokens[at]
    if token in ("[", "{"):
        return _rows(tokens, at + 1, "]" if token == "[" else "}")
    if token[0] == "'":
        return token[1:-1].replace("''", "'"), at + 1
    if token in _WORDS:
        return _WORDS[token], at + 1
    if _NUMBER.match(token):
        return _number(token), at + 1
    if _NAME.match(token):
        return token, at + 1
    raise _NotLiteralError(token)


def _rows(tokens: list[str], at: int, close: str) -> tuple[list[Any], int]:
    """Rows of an array or a cell, up to its closing bracket."""
    rows: list[list[Any]] = [[]]
    while tokens[at] != close:
        if tokens[at] == ";":
            rows.append([])
            at += 1
        elif tokens[at] == ",":
            at += 1
        else:
            value, at = _value(tokens, at)
            rows[-1].append(value)
    return _squeeze([row for row in rows if row]), at + 1


def _squeeze(rows: list[list[Any]]) -> list[Any]:
    rows = [row for row in rows if row]
    return rows[0] if len(rows) == 1 else rows


def parse_roi_groups(text: str, where: str = "Artist") -> dict[str, Any]:
    """Parse the RoiGroups of a ScanImage tif (the Artist tag).

    The words ``Infinity`` and ``NaN``, which ScanImage writes although JSON has none, are read as floats. ``null``
    becomes an empty list and names with a leading underscore get an ``x``, as MATLAB's ``jsondecode`` does, so that
    the result equals what the rig's own extraction puts into ``rawScanImageMeta``.

    Parameters
    ----------
    text
        The JSON text.
    where
        File that it is from, for messages.

    Raises
    ------
    MetadataError
        If the text is no JSON object with RoiGroups.
    """
    try:
        groups = json.loads(text)
    except (ValueError, RecursionError) as e:
        found = str(e) if text else "none"
        raise MetadataError.at(where, field="RoiGroups", expected="JSON", found=found, remedy=RECOPY_HEADER) from e
    if not isinstance(groups, dict) or "RoiGroups" not in groups:
        expected = "the ROI groups of a ScanImage recording"
        raise MetadataError.at(where, field="RoiGroups", expected=expected, found=f"{text[:40]!r}", remedy=OTHER_HEADER)
    return _table_like_matlab(groups)


def _table_like_matlab(table: dict[str, Any]) -> dict[str, Any]:
    return {"x" + name if name.startswith("_") else name: _like_matlab(value) for name, value in table.items()}


def _like_matlab(value: object) -> object:
    if value is None:
        return []
    if isinstance(value, list):
        return [_like_matlab(v) for v in value]
    return _table_like_matlab(value) if isinstance(value, dict) else value
