"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..catalogue import CATALOGUE
from ..resources import OpenSession


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[int] = frozenset()) -> str:
    """Lay out rows in columns; those numbered in ``right`` are set to the right."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    laid = [
        "  ".join(
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join([laid[0].rstrip(), "-" * len(laid[0]), *(line.rstrip() for line in laid[1:])])


def made_table(session: OpenSession, seconds: Mapping[str, float]) -> str:
    """Table of what a session holds: asset, files, size, seconds of this run, place."""
    rows = []
    for asset in CATALOGUE:
        manifest = session.manifest(asset)
        if manifest is None:
            continue
        took = f"{seconds[asset]:.1f}" if asset in seconds else "–"
        size = f"{manifest.total_bytes / 1e6:.1f}"
        rows.append((asset, str(len(manifest.files)), size, took, _places([file.path for file in manifest.files])))
    return text_table(("asset", "files", "MB", "seconds", "where"), rows, right=frozenset({1, 2, 3}))


def _places(paths: list[str]) -> str:
    """Sum up folders: ``alf/FOV_00 … FOV_02``."""
    folders = sorted({path.rpartition("/")[0] for path in paths} - {"reports/qc"})
    if len(folders) <= 2:
        return ", ".join(folders)
    return f"{folders[0]} … {folders[-1]}"
