"""The table of all checks as a page shows it, made from the checks themselves.

What belongs here: how they are shown. What they mean is said in ``table``.
"""

from __future__ import annotations

from .check import Limit
from .table import CHECKS


def checks_table() -> str:
    """Markdown table of all checks, with their usual limits, as ``docs/qc.md`` shows it."""
    rows = ["| check | speaks of | unit | look | bad | how to read it |", "| --- | --- | --- | --- | --- | --- |"]
    for row in CHECKS.values():
        look, bad = _ends(row.limit)
        rows.append(f"| `{row.name}` | `{row.asset}` | {row.unit or '–'} | {look} | {bad} | {row.how_to_read} |")
    return "\n".join(rows)


def _ends(limit: Limit | None) -> tuple[str, str]:
    if limit is None:
        return "–", "–"
    sign = "&lt;" if limit.is_low_bad else "&gt;"
    look, bad = (f"{sign} {end:g}" if end is not None else "–" for end in (limit.warning, limit.fail))
    return look, bad
