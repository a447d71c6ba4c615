"""A message as text and as simple HTML that says the same.

What belongs here: layout. What comes from folders and files is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Lines of a part of a message; the command has the rest.
_MOST_LINES = 25


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a message: a heading, and a line for each thing."""

    heading: str
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Page:
    """A message, as text and as HTML."""

    text: str
    html: str


def lay_out(parts: Iterable[Part], after: str = "") -> Page:
    """Lay out parts, without those that have no lines."""
    blocks, texts = [], []
    for part in parts:
        if not part.lines:
            continue
        lines = list(part.lines[:_MOST_LINES])
        if len(part.lines) > _MOST_LINES:
            lines.append(f"… and {len(part.lines) - _MOST_LINES} more: meso status lists all")
        items = "\n".join(f"<li>{html.escape(line)}</li>" for line in lines)
        blocks.append(f"<h3>{html.escape(part.heading)}</h3>\n<ul>\n{items}\n</ul>")
        texts.append("\n".join([part.heading, *(f"- {line}" for line in lines)]))
    if after:
        blocks.append(f"<p>{html.escape(after)}</p>")
        texts.append(after)
    return Page("\n\n".join(texts), "\n".join(blocks))
