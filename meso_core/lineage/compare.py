"""Two files that should be equal: whether they are, and by how much they differ.

What belongs here: comparing arrays, tables, JSON and text, each in its own terms. What a file means is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DatasetError, MesoError
from ..json_text import json_text
from ..opening import TABLE_BYTES, read_plain
from ..storage import hash_file, read_dataset

if TYPE_CHECKING:
    import sparse

#: Differences of a file that are told one by one.
_MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class FileComparison:
    """One file of two versions."""

    path: str
    is_equal: bool
    #: What differs, and by how much; empty where nothing does.
    difference: str = ""


def compare_files(path: str, before: Path, after: Path) -> FileComparison:
    """Compare two versions of a file.

    Parameters
    ----------
    path
        Its path below the session.
    before, after
        The two files; one that is not there differs.
    """
    for file, which in ((before, "before"), (after, "now")):
        if not file.is_file():
            return FileComparison(path, False, f"not there {which}")
    if hash_file(before).sha256 == hash_file(after).sha256:
        return FileComparison(path, True)
    compare = _COMPARISONS.get(before.suffix, _sizes)
    try:
        difference = compare(before, after)
    except (MesoError, ValueError, OSError) as error:  # then the bytes alone speak
        difference = f"{_sizes(before, after)}; it could not be read: {error}"
    return FileComparison(path, False, difference or "other bytes, equal values")


def _sizes(before: Path, after: Path) -> str:
    one, other = before.stat().st_size, after.stat().st_size
    return f"{one} → {other} bytes" if one != other else f"other bytes, as many ({one})"


def _arrays(before: Path, after: Path) -> str:
    return array_difference(np.asarray(read_dataset(before)), np.asarray(read_dataset(after)))


def array_difference(before: np.ndarray, after: np.ndarray) -> str:
    """Say by how much two arrays differ; empty where they are equal, NaN counting as equal to NaN."""
    if before.shape != after.shape or before.dtype != after.dtype:
        return f"{_form(before)} → {_form(after)}"
    if before.dtype.kind not in "biufc":
        n_different = int((before != after).sum())
        return f"{n_different} of {before.size} values differ" if n_different else ""
    one, other = before.astype(np.float64), after.astype(np.float64)
    different = ~((one == other) | (np.isnan(one) & np.isnan(other)))
    if not different.any():
        return ""
    step = np.abs(one - other)[different]
    n_nan = int(np.isnan(step).sum())
    largest = f"largest difference {np.nanmax(step):.6g}" if n_nan < step.size else "NaN on one side only"
    at = np.argmax(np.where(different, np.nan_to_num(np.abs(one - other), nan=-1.0), -1.0))
    place = ", ".join(str(int(i)) for i in np.unravel_index(int(at), before.shape))
    return f"{int(different.sum())} of {before.size} values differ, {largest} at [{place}]"


def _form(array: np.ndarray) -> str:
    return f"{' × '.join(map(str, array.shape)) or 'one value'} {array.dtype}"


def _masks(before: Path, after: Path) -> str:
    one, other = read_masks(before), read_masks(after)
    return array_difference(np.asarray(one.todense()), np.asarray(other.todense()))


def read_masks(file: Path) -> sparse.SparseArray:
    """Read a sparse stack of masks, (n_rois, nY, nX)."""
    import sparse

    masks = read_dataset(file)
    if not isinstance(masks, sparse.SparseArray):
        raise DatasetError.at(
            file, expected="sparse masks", found=type(masks).__name__, remedy="Name a .sparse_npz file"
        )
    return masks


def _tables(before: Path, after: Path) -> str:
    """Compare line by line; the first line is the head."""
    one, other = _text(before).splitlines(), _text(after).splitlines()
    if one[:1] != other[:1]:
        return f"columns {one[:1]} → {other[:1]}"
    if len(one) != len(other):
        return f"{len(one) - 1} → {len(other) - 1} rows"
    rows = [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    return f"{len(rows)} of {len(one) - 1} rows differ, the first is row {rows[0]}: {one[rows[0]]} → {other[rows[0]]}"


def _text(file: Path) -> str:
    return read_plain(file, TABLE_BYTES).decode()


def _json(before: Path, after: Path) -> str:
    changes = list(json_changes(json.loads(_text(before)), json.loads(_text(after))))
    told = "; ".join(changes[:_MOST_TOLD])
    return told + (f"; and {len(changes) - _MOST_TOLD} more" if len(changes) > _MOST_TOLD else "")


def json_changes(before: Any, after: Any, place: str = "") -> Iterator[str]:  # noqa: ANN401  JSON
    """Say which values differ, as in ``centerMM.ML: 2.6 → 2.7``."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in [*before, *(name for name in after if name not in before)]:
            inner = f"{place}.{name}" if place else str(name)
            if name not in before or name not in after:
                yield f"{inner}: {'new' if name in after else 'gone'}"
            else:
                yield from json_changes(before[name], after[name], inner)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from json_changes(one, other, f"{place}[{i}]")
    elif before != after or type(before) is not type(after):
        yield f"{place}: {_brief(before)} → {_brief(after)}"


def _brief(value: object) -> str:
    text = json_text(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


_COMPARISONS: Mapping[str, Callable[[Path, Path], str]] = {
    ".npy": _arrays,
    ".sparse_npz": _masks,
    ".tsv": _tables,
    ".csv": _tables,
    ".json": _json,
}
