"""Completion markers: the record that a stage of a FOV is whole, and why it is not.

What belongs here: writing a marker last, and comparing it with the folder and with what is asked for now. What does
not: the work itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import brief
from ...storage.hashing import hash_file, sync_folder, write_atomically

#: Files above this size are compared by size alone when asked whether a stage is whole: hashing a registered movie
#: takes as long as reading it, and it was hashed and flushed before its marker was written.
_HASHED_ALWAYS_BYTES = 1 << 28


@dataclass(frozen=True)
class Marker:
    """What a stage was made from, how, and what it left."""

    stage: str
    #: What must be the same for the results to stand: input versions, settings, code.
    basis: Mapping[str, Any]
    #: File name → (bytes, sha-256).
    outputs: Mapping[str, tuple[int, str]]
    #: Numbers of the run that a later reader wants; not compared.
    notes: Mapping[str, Any]


def marker_path(folder: Path, stage: str) -> Path:
    """``planeN/.registration-whole``; not ``.x.json``, which ONE would take for a dataset."""
    return folder / f".{stage}-whole"


def write_marker(
    folder: Path,
    stage: str,
    basis: Mapping[str, Any],
    names: Iterable[str],
    notes: Mapping[str, Any],
    known: Mapping[str, tuple[int, str]] | None = None,
) -> Marker:
    """Hash and flush the outputs, then write the marker in one rename.

    Parameters
    ----------
    folder
        ``planeN``.
    stage
        ``registration`` or ``detection``.
    basis
        What the results depend on, as plain JSON values.
    names
        Names of the files that the stage left.
    notes
        Numbers worth keeping.
    known
        Outputs that were hashed and flushed as they were written.
    """
    outputs = dict(known or {})
    for name in sorted(set(names) - set(outputs)):
        content = hash_file(folder / name, sync=True)
        outputs[name] = (content.size, content.sha256)
    sync_folder(folder)
    marker = Marker(stage, dict(basis), outputs, dict(notes))
    text = json.dumps(
        {"stage": stage, "basis": marker.basis, "outputs": outputs, "notes": marker.notes}, indent=1, sort_keys=True
    )
    write_atomically(marker_path(folder, stage), (text + "\n").encode())
    return marker


def read_marker(folder: Path, stage: str) -> Marker | None:
    """Read a marker; None where there is none or it is unreadable (then the stage is simply not whole)."""
    try:
        raw = json.loads(marker_path(folder, stage).read_bytes())
        outputs = {str(k): (int(v[0]), str(v[1])) for k, v in raw["outputs"].items()}
        return Marker(raw["stage"], raw["basis"], outputs, raw["notes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_marker(folder: Path, stage: str) -> None:
    """Take a marker away before its outputs are touched."""
    marker_path(folder, stage).unlink(missing_ok=True)


def why_not_whole(folder: Path, stage: str, basis: Mapping[str, Any]) -> str | None:
    """Tell why a stage has to run, or None where it is whole.

    Returns
    -------
    str or None
        A reason for a person, as in ``settings.registration.maxregshift: 0.05 → 0.1``.
    """
    marker = read_marker(folder, stage)
    if marker is None:
        return "no completion marker"
    if difference := _difference(marker.basis, json.loads(json.dumps(basis))):
        return difference
    if changed := changed_outputs(folder, marker):
        return f"{', '.join(changed)} missing or changed since"
    return None


def changed_outputs(folder: Path, marker: Marker, *, every_byte: bool = False) -> list[str]:
    """Names of outputs that are gone or differ from what the marker holds."""
    changed = []
    for name, (size, sha256) in marker.outputs.items():
        path = folder / name
        if (
            not path.is_file()
            or path.stat().st_size != size
            or ((every_byte or size <= _HASHED_ALWAYS_BYTES) and hash_file(path).sha256 != sha256)
        ):
            changed.append(name)
    return changed


def _difference(old: Any, new: Any, at: str = "") -> str | None:
    """First difference of two JSON values, as ``place: old → new``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            place = f"{at}.{key}" if at else str(key)
            if found := _difference(old.get(key), new.get(key), place):
                return found
        return None
    return None if old == new else f"{at}: {brief(old)} → {brief(new)}"
