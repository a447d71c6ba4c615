"""Completion markers: the record that a stage of a FOV is whole, and why it is not.

What belongs here: writing a marker last, and comparing it with the folder and with what is asked for now. What does
not: the work itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...json_text import json_text
from ...opening import read_json
from ...storage.files.atomic import write_file
from ...storage.files.hashing import FileHash, hash_file
from ...storage.files.times import same_time
from ...storage.manifests.basis import Basis
from .plane import find_movie

#: Files above this size are compared by size alone when asked whether a stage is whole: hashing a registered movie
#: takes as long as reading it, and it was hashed and flushed before its marker was written.
_HASHED_UP_TO_BYTES = 1 << 28


@dataclass(frozen=True)
class Marker:
    """What a stage was made from, and what it left."""

    stage: str
    #: What must be the same for the results to stand.
    basis: Basis
    #: File name → its content, hashed while it was written.
    outputs: Mapping[str, FileHash]
    #: Facts of the run that a later reader wants; not compared.
    notes: Mapping[str, Any] = field(default_factory=dict)
    #: File name → time of its last change when the marker was written, ns. A file that has it still is not read again.
    modified: Mapping[str, int] = field(default_factory=dict)


def marker_path(folder: Path, stage: str) -> Path:
    """``planeN/.registration-whole``; not ``.x.json``, which ONE would take for a dataset."""
    return folder / f".{stage}-whole"


def write_marker(folder: Path, marker: Marker) -> None:
    """Write the marker in one rename. The outputs must be on the disk by then; ``modified`` is taken from them."""
    record = {
        "stage": marker.stage,
        "basis": marker.basis.as_record(),
        "basis_digest": marker.basis.digest,
        "outputs": {name: asdict(content) for name, content in marker.outputs.items()},
        "notes": dict(marker.notes),
        "modified": {name: find_movie(folder, name).stat().st_mtime_ns for name in marker.outputs},
    }
    write_file(marker_path(folder, marker.stage), (json_text(record, indent=1, sort_keys=True) + "\n").encode())


def read_marker(folder: Path, stage: str) -> Marker | None:
    """Read a marker; None where there is none, or one of an older form, or a damaged one: the stage is not whole."""
    try:
        raw = read_json(marker_path(folder, stage), "Run this FOV again")
        outputs = {str(name): FileHash(**content) for name, content in raw["outputs"].items()}
        marker = Marker(raw["stage"], Basis.from_record(raw["basis"]), outputs, raw["notes"], raw["modified"])
        return marker if raw["basis_digest"] == marker.basis.digest else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remove_marker(folder: Path, stage: str) -> None:
    """Take a marker away before its outputs are touched."""
    marker_path(folder, stage).unlink(missing_ok=True)


def why_not_whole(folder: Path, stage: str, basis: Basis) -> str | None:
    """Tell why a stage has to run, or None where it is whole.

    Returns
    -------
    str or None
        A reason for a person, as in ``setting fov.registration.maxregshift: 0.05 → 0.1``.
    """
    marker = read_marker(folder, stage)
    if marker is None:
        return "its record is damaged, or of another version" if marker_path(folder, stage).exists() else "not made yet"
    if differences := basis_differences(marker, basis):
        return "; ".join(differences)
    if changed := changed_outputs(folder, marker):
        return f"{', '.join(changed)} missing or changed since"
    return None


def basis_differences(marker: Marker, basis: Basis) -> tuple[str, ...]:
    """Tell in which parts the basis of a marker differs; an input that does not count any more is passed over.

    Earlier versions named whole assets of which a FOV reads its own part alone, which is in the basis as well.
    """
    counts = {name: version for name, version in marker.basis.inputs.items() if name in basis.inputs}
    return replace(marker.basis, inputs=counts).differences(basis)


def changed_outputs(folder: Path, marker: Marker) -> list[str]:
    """Names of outputs that are gone or differ from what the marker holds."""
    return [name for name in marker.outputs if not _holds(find_movie(folder, name), marker, folder)]


def damaged_outputs(folder: Path, marker: Marker) -> list[str]:
    """Names of outputs that do not hold what was written, although size and time may say so; all are read."""
    there = {name: find_movie(folder, name) for name in marker.outputs}
    return [name for name, path in there.items() if not path.is_file() or hash_file(path) != marker.outputs[name]]


def _holds(path: Path, marker: Marker, folder: Path) -> bool:
    content = marker.outputs[path.name]
    if not path.is_file() or (now := path.stat()).st_size != content.size:
        return False
    # what lies elsewhere may be the movie of another registration, as long as this one
    if content.size > _HASHED_UP_TO_BYTES and path.parent == folder:
        return True
    if same_time(now.st_mtime_ns, marker.modified.get(path.name, 0)):
        return True
    return hash_file(path).sha256 == content.sha256
