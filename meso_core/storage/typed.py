"""What an asset is about to publish, compared with what its datasets must be: the last look, whoever made the files.

What belongs here: reading staged datasets back, and their agreement with the FOVs of the session and with what other
assets have published. What a dataset must look like is in ``datasets``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..datasets import DatasetValue, bare_name, dataset_problems, file_name, refuse
from ..errors import DatasetError, MesoError
from .alf import read_dataset
from .basis import Basis
from .keeping import holds
from .manifest import FileRecord, Manifest
from .staging import Sealed


@dataclass(frozen=True, slots=True)
class Promised:
    """What an asset promises to publish."""

    #: Datasets that each FOV has, without provenance suffix.
    datasets: Sequence[str]
    #: FOVs of the session; None where they are not known.
    fovs: Sequence[str] | None = None


def check_sealed(
    sealed: Sealed, promised: Promised, session_path: Path, others: Mapping[str, Manifest], *, where: str
) -> None:
    """Refuse datasets that are not what they must be.

    Parameters
    ----------
    sealed
        What is to be published.
    promised
        What the asset promises.
    session_path
        Session folder.
    others
        What other assets have published that must agree, see :func:`must_agree`.
    where
        Session, for the message.

    Raises
    ------
    DatasetError
        With all problems of all FOVs: a dataset that is missing, unknown, cannot be read, has another dtype, number of
        dimensions or columns, NaN or infinity where none may be, or a length that disagrees.
    """
    staged, published = files_by_fov(sealed.files), {name: files_by_fov(m.files) for name, m in others.items()}
    problems: list[str] = []
    for fov in sorted({*staged, *(promised.fovs or ())}):
        if promised.fovs is not None and fov not in promised.fovs:
            problems.append(f"{fov}: no such field of view in what was read")
        values, told = _read(sealed.folder, staged.get(fov, ()))
        found = {bare_name(name) for name in (*values, *(text.split(": ")[0] for text in told))}
        told += [f"{name}: missing" for name in promised.datasets if name not in found]
        beside = {name: _lengths_of(session_path, fovs.get(fov, ())) for name, fovs in published.items()}
        problems += [f"{fov} {text}" for text in (*told, *dataset_problems(values, beside))]
    refuse(where, problems)


def must_agree(asset: str, basis: Basis, made: Mapping[str, Manifest]) -> dict[str, Manifest]:
    """Choose the results with which a new one must agree: those that it read, and those made from what it read.

    A result that was made from other versions is stale, or will be, and may disagree.

    Parameters
    ----------
    asset, basis
        The new result, and what it was made from.
    made
        What all assets have published.
    """
    chosen = {}
    for name, manifest in made.items():
        theirs = manifest.basis.inputs
        shared = theirs.keys() & basis.inputs.keys()
        is_read = basis.inputs.get(name) == manifest.data_version
        is_beside = bool(shared) and asset not in theirs and name not in basis.inputs
        if name != asset and (is_read or is_beside) and all(theirs[one] == basis.inputs[one] for one in shared):
            chosen[name] = manifest
    return chosen


def files_by_fov(files: Iterable[FileRecord]) -> dict[str, list[FileRecord]]:
    """Sort dataset files by FOV; those whose name begins with ``_`` are no datasets."""
    found: dict[str, list[FileRecord]] = {}
    for file in files:
        parts = file.path.split("/")
        if len(parts) == 3 and parts[0] == "alf" and not parts[2].startswith("_"):
            found.setdefault(parts[1], []).append(file)
    return found


def _read(folder: Path, files: Iterable[FileRecord]) -> tuple[dict[str, DatasetValue], list[str]]:
    """Read datasets; returns them, and a sentence for each that cannot be read."""
    values: dict[str, DatasetValue] = {}
    told = []
    for file in files:
        name = _name(file)
        try:
            if (wanted := file_name(name)) != file.path.rpartition("/")[2]:
                told.append(f"{name}: expected a file {wanted}, found {file.path.rpartition('/')[2]}")
                continue
            values[name] = read_dataset(folder / file.path)
        except MesoError as error:
            told.append(f"{name}: {error}".rstrip("."))
    return values, told


def _lengths_of(session_path: Path, files: Iterable[FileRecord]) -> dict[str, DatasetValue]:
    """Read the arrays of another asset, whose lengths count; one that is not as it was published does not."""
    arrays = {}
    for file in files:
        if file.path.endswith(".npy") and holds(session_path / file.path, file):
            try:
                arrays[_name(file)] = read_dataset(session_path / file.path)
            except DatasetError:  # the audit tells it
                continue
    return arrays


def _name(file: FileRecord) -> str:
    return ".".join(file.path.rpartition("/")[2].split(".")[:2])
