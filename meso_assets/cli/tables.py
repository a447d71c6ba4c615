"""Tables for a terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..defs.catalogue import CATALOGUE

if TYPE_CHECKING:
    from meso_core.storage import Manifest, Session

    from ..defs.needs import NeedsRow
    from ..runs.run import RunSummary


def text_table(
    head: Sequence[str | Sequence[str]], rows: Iterable[Sequence[str]], *, right: frozenset[int] = frozenset()
) -> str:
    """Lay out rows in columns; those numbered in ``right`` are set to the right.

    A head of several words, given as a sequence, has them one below the other.
    """
    heads = [(word,) if isinstance(word, str) else tuple(word) for word in head]
    height = max(map(len, heads))
    above = list(zip(*(("",) * (height - len(words)) + words for words in heads), strict=True))
    lines = [*above, *(tuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    row = "  ".join(f"{{:{'>' if i in right else '<'}{width}}}" for i, width in enumerate(widths))
    laid = [row.format(*line) for line in lines]
    laid.insert(height, "-" * len(laid[0]))
    return "\n".join(line.rstrip() for line in laid)


def terminal_width() -> int | None:
    """Columns of the terminal that is written to; None where it is none, as a file or a pipe, which takes all."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def in_width(text: str, width: int | None, *, head: str = "", indent: int = 4) -> str:
    """Break a line that is too long for a terminal: ``head`` alone on the first one, the text below, set in.

    Words are not broken: paths and commands can be copied. With no width, all stays on one line.
    """
    line = f"{head}{text}"
    if width is None or len(line) <= width:
        return line
    first = [head.rstrip()] if head.strip() else []
    space = " " * indent
    broken = textwrap.wrap(
        text, max(width, 20), initial_indent=space if first else "", subsequent_indent=space,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join([*first, *broken])


def needs_table(rows: Iterable[NeedsRow]) -> str:
    """Table of what the steps of a run need: one row for all fields of view, since they need the same."""
    cells = [
        (
            r.step,
            str(r.n),
            str(r.needs.cores),
            f"{r.needs.memory_gb:.1f}",
            "1" if r.needs.gpu else "–",
            str(r.needs.minutes),
        )
        for r in rows
    ]
    head = ("step", "times", "cores", "memory, GB", "GPU", "at most, min")
    return text_table(head, cells, right=frozenset({1, 2, 3, 4, 5}))


def made_table(session: Session, summary: RunSummary) -> str:
    """Table of what a session holds after a run: asset, what the run did with it, its seconds, files, size, place."""
    rows = []
    for asset in CATALOGUE:
        manifest = session.manifest(asset)
        if manifest is None and asset not in summary.asked:
            continue
        paths = [file.path for file in manifest.files] if manifest else []
        took = f"{summary.seconds[asset]:.1f}" if asset in summary.seconds else "–"
        size = f"{manifest.total_bytes / 1e6:.1f}" if manifest else "–"
        rows.append((asset, outcome(asset, manifest, summary), took, str(len(paths)), size, _places(paths)))
    head = ("asset", "this run", "seconds", "files", "MB", "where")
    return text_table(head, rows, right=frozenset({2, 3, 4}))


def outcome(asset: str, manifest: Manifest | None, summary: RunSummary) -> str:
    """Tell what a run did with an asset; files of an earlier run stay where it made none."""
    if manifest is not None and manifest.made_by.run_id in (summary.run_id, summary.then_run_id):
        return "made, partial" if asset in summary.partial else "made"
    if asset in summary.failed:
        did = ["interrupted" if summary.stopped else "failed"]
    elif asset in summary.seconds:
        did = ["unchanged"]
    else:
        did = ["not reached"] if asset in summary.asked else []
    return ", ".join(did if manifest is None else [*did, "there before"])


def _places(paths: Iterable[str]) -> str:
    """Sum up folders, as ``alf/FOV_00 … FOV_02, suite2p/plane0 … plane2``; verdicts and figures only alone."""
    every = {path.rpartition("/")[0] for path in paths}
    names: dict[str, list[str]] = {}
    for folder in sorted(every - {"reports/qc", "reports/figures"} or every):
        above, _, name = folder.rpartition("/")
        names.setdefault(above, []).append(name)
    return ", ".join(f"{above}/{_ends(of)}".removeprefix("/") for above, of in names.items())


def _ends(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]}{', ' if len(names) == 2 else ' … '}{names[-1]}"
