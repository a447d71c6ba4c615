"""The lineage of a file as a picture that a person can read (SVG).

What belongs here: boxes, their places, and arrows. What is in them comes from ``tracing``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from .tracing import Lineage, RawInput, Step

#: Sizes of a box and of the gaps between boxes; height of the gap that an arrow takes; where boxes begin. Pixels.
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _LANE, _MARGIN, _TOP = 236, 74, 64, 20, 8, 24, 76
#: Key of a box, and the column: a box, or the gap through which the arrows that start at it pass another column.
_Place: TypeAlias = tuple[str, int]
#: Fill, border, of what a box stands for.
_COLOURS = {
    "raw": ("#eef2f5", "#8a9aa8"),
    "current": ("#e8f4ea", "#5a9a66"),
    "stale": ("#fdf0d5", "#c98a1b"),
    "replaced": ("#f3eef7", "#8d76a8"),
}
_LEGEND = {
    "raw": "from the rig",
    "current": "current",
    "stale": "stale, or changed since",
    "replaced": "replaced by a later run",
}
_LONGEST_LINE = 36


@dataclass(frozen=True, slots=True)
class _Box:
    name: str
    lines: tuple[str, ...]
    look: str
    #: Shown when the pointer rests on the box.
    more: str
    parents: tuple[str, ...]


def lineage_svg(lineage: Lineage) -> str:
    """Draw where a file comes from (left), and what was made from it (right).

    Returns
    -------
    str
        An SVG document. What is stale is amber, and says why.
    """
    boxes = _boxes(lineage)
    columns, middles = _columns(boxes), _places(boxes)
    width = _left(max(columns.values())) + _WIDTH + _MARGIN
    height = int(_TOP + max(middles.values()) + _HEIGHT / 2) + _MARGIN + 20
    subject = lineage.steps[-1].manifest.digest
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12">',
        f"<title>Lineage of {escape(lineage.subject)} in {escape(lineage.session)}</title>",
        '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L10 5 L0 10 z" fill="#667"/></marker></defs>',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_MARGIN}" y="{_MARGIN + 6}" font-size="16" font-weight="bold">{escape(lineage.subject)}</text>',
        f'<text x="{_MARGIN}" y="{_MARGIN + 25}" fill="#556">{escape(lineage.session)}</text>',
    ]
    parts += _arrows(boxes, middles)
    parts += [_drawn(box, columns[key], middles[key, columns[key]], key == subject) for key, box in boxes.items()]
    parts += _legend(height, {box.look for box in boxes.values()})
    return "\n".join([*parts, "</svg>\n"])


def _boxes(lineage: Lineage) -> dict[str, _Box]:
    """All boxes by key: raw inputs by name and version, steps by the digest of their manifest."""
    boxes = {f"{raw.name} {raw.version}": _raw_box(raw) for raw in lineage.raw}
    for step in (*lineage.steps, *lineage.onward):
        named = {f"{name} {version}" for name, version in step.manifest.basis.inputs.items()}
        parents = [key for key in boxes if key in named or key in step.inputs.values()]
        boxes[step.manifest.digest] = _step_box(step, tuple(parents))
    return boxes


def _raw_box(raw: RawInput) -> _Box:
    n_bytes = sum(file.size for file in raw.files)
    now = "" if raw.is_same else "changed since: these are not the files that were used"
    size = f"{len(raw.files)} files, {n_bytes / 1e6:,.1f} MB" if raw.files else "no files of the rig"
    lines = (size, f"version {raw.version[:12]}", now)
    files = "\n".join(f"{file.path}  {file.size} bytes" for file in raw.files[:40])
    return _Box(raw.name, lines, "raw" if raw.is_same else "stale", files, ())


def _step_box(step: Step, parents: tuple[str, ...]) -> _Box:
    manifest = step.manifest
    made = manifest.made_by
    when = manifest.published_at.replace("T", " ").split("+")[0]
    version = f"version {manifest.data_version[:12]}"
    look = "replaced" if step.is_replaced else "stale" if step.reasons else "current"
    code = (
        f"commit {made.code.commit[:9]}{' + changes' if made.code.dirty else ''}"
        if made.code.commit
        else made.code.version
    )
    last = f"stale: {'; '.join(step.reasons)}" if step.reasons else code
    more = "\n".join(
        [
            f"run {made.run_id}",
            f"host {made.host or 'not recorded'}",
            str(made.code),
            *(f"setting {name}: {value}" for name, value in list(manifest.basis.settings.items())[:20]),
            *step.reasons,
        ]
    )
    return _Box(manifest.asset, (f"{when} UTC", version, last), look, more, parents)


def _columns(boxes: Mapping[str, _Box]) -> dict[str, int]:
    """Column of each box: behind those of its parents; what the rig left stands just before what was made from it."""
    columns: dict[str, int] = {}
    for key, box in boxes.items():  # parents come first
        columns[key] = 1 + max((columns[parent] for parent in box.parents), default=-1)
    for key, box in boxes.items():
        if not box.parents:
            columns[key] = (
                min((columns[child] for child, other in boxes.items() if key in other.parents), default=1) - 1
            )
    return columns


def _places(boxes: Mapping[str, _Box]) -> dict[_Place, float]:
    """Height of the middle of each box, and of the gap through which an arrow passes each column that it crosses.

    All arrows that start at one box share a gap.
    """
    columns = _columns(boxes)
    above: dict[_Place, list[_Place]] = {(key, column): [] for key, column in columns.items()}
    for key, box in boxes.items():
        for parent in box.parents:
            way = [(parent, column) for column in range(columns[parent], columns[key])] + [(key, columns[key])]
            for before, after in itertools.pairwise(way):
                if before not in above.setdefault(after, []):
                    above[after].append(before)
    middles: dict[_Place, float] = {}
    for column in range(max(columns.values()) + 1):
        here = [place for place in above if place[1] == column]
        wished = {place: sum(middles[one] for one in above[place]) / max(1, len(above[place])) for place in here}
        edge = 0.0
        for place in sorted(here, key=lambda place: (not above[place], wished[place])):
            height = _HEIGHT if columns[place[0]] == column else _LANE
            middles[place] = max(edge + height / 2, wished[place])
            edge = middles[place] + height / 2 + _GAP_Y
    return middles


def _arrows(boxes: Mapping[str, _Box], middles: Mapping[_Place, float]) -> list[str]:
    """Draw an arrow from each box to those that were made from it."""
    columns = _columns(boxes)
    drawn = []
    for key, box in boxes.items():
        for parent in box.parents:
            x, y = _left(columns[parent]) + _WIDTH, _TOP + middles[parent, columns[parent]]
            path = f"M{x} {y:.0f}"
            for column in range(columns[parent] + 1, columns[key] + 1):
                is_end = column == columns[key]
                to = _TOP + middles[(key if is_end else parent), column]
                x1, bend = _left(column), _GAP_X * 0.6
                path += f" C{x + bend:.0f} {y:.0f} {x1 - bend:.0f} {to:.0f} {x1} {to:.0f}"
                x, y = x1 + _WIDTH, to
                path += "" if is_end else f" H{x}"
            drawn.append(f'<path d="{path}" fill="none" stroke="#889" stroke-width="1.3" marker-end="url(#arrow)"/>')
    return drawn


def _left(column: int) -> int:
    return _MARGIN + column * (_WIDTH + _GAP_X)


def _drawn(box: _Box, column: int, middle: float, is_subject: bool) -> str:
    x, y = _left(column), int(_TOP + middle - _HEIGHT / 2)
    fill, border = _COLOURS[box.look]
    lines = "".join(
        f'<text x="{x + 10}" y="{y + 37 + 15 * i}" font-size="11" fill="#445">{escape(_short(line))}</text>'
        for i, line in enumerate(box.lines)
    )
    return (
        f"<g><title>{escape(box.more)}</title>"
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="{fill}" stroke="{border}" '
        f'stroke-width="{3 if is_subject else 1.2}"/>'
        f'<text x="{x + 10}" y="{y + 20}" font-weight="bold">{escape(_short(box.name))}</text>{lines}</g>'
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_LINE else f"{text[: _LONGEST_LINE - 1]}…"


def _legend(height: int, looks: set[str]) -> list[str]:
    parts, x, y = [], _MARGIN, height - 18
    for look, (fill, border) in _COLOURS.items():
        if look in looks:
            parts.append(f'<rect x="{x}" y="{y - 10}" width="14" height="12" rx="2" fill="{fill}" stroke="{border}"/>')
            parts.append(f'<text x="{x + 20}" y="{y}" font-size="11" fill="#445">{_LEGEND[look]}</text>')
            x += 40 + 7 * len(_LEGEND[look])
    return parts
