"""What a sweep found, as ``docs/qc.md`` shows it.

What belongs here: words and Markdown.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from .study import Row

#: First lines of the table.
HEAD = "| fault | severity | detected | other verdicts fired | verdicts that fired |\n| --- | --- | ---: | ---: | --- |"


def table(rows: Iterable[Row]) -> str:
    """Markdown of the rows of a sweep."""
    return "\n".join([HEAD, *(_line(row) for row in rows)])


def _line(row: Row) -> str:
    ordered = sorted(row.checks.items(), key=lambda item: (-item[1], item[0]))
    checks = ", ".join(f"`{name}` {n}" for name, n in ordered) or "–"
    told, other = f"{row.n_told} of {row.n}", f"{row.n_other} of {row.n}"
    return f"| {row.fault.name} | {row.severity:g} {row.fault.unit} | {told} | {other} | {checks} |"


def false_alarms_in_words(n: int, alarms: Counter[str]) -> str:
    """Say in a sentence which verdicts fired on how many of the good sessions."""
    told = ", ".join(f"`{name}` on {k}" for name, k in sorted(alarms.items())) or "no verdict fired"
    return f"On {n} good sessions, {told}."


def on_page(page: str, printed: Sequence[str]) -> str:
    """Put what was printed of each study into the text of a page, at its marks in their order."""
    texts = iter(printed)
    return re.sub(
        r"<!-- calibration -->\n.*?\n?<!-- /calibration -->",
        lambda _: f"<!-- calibration -->\n{next(texts)}\n<!-- /calibration -->",
        page,
        flags=re.DOTALL,
    )
