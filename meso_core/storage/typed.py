"""What an asset is about to publish, compared with what its datasets must be: the last look, whoever made the files.

What belongs here: reading staged datasets back, and their agreement with the FOVs of the session and with what other
assets have published. What a dataset must look like is in ``datasets``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ..datasets import DatasetValue, bare_name, dataset_problems, file_name, refuse
from ..errors import MesoError
from ..opening import read_header
from .alf import read_dataset
from .manifests.basis import Basis
from .manifests.manifest import FileRecord, Manifest
from .publication.staging import Sealed
from .session import Session

#: Gives the shape of a published array; None for what is none, or is not as it was published.
ShapeOf: TypeAlias = Callable[[FileRecord], "tuple[int, ...] | None"]
#: The longest header of an array that any version of meso has written fits many times.
_HEADER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Promised:
    """What an asset promises to publish."""

    #: Datasets that each FOV has, without provenance suffix.
    datasets: Sequence[str]
    #: FOVs of the session; None where they are not known.
    fovs: Sequence[str] | None = None


def check_sealed(
    sealed: Sealed, promised: Promised, others: Mapping[str, Manifest], shape_of: ShapeOf, *, where: str
) -> None:
    """Refuse datasets that are not what they must be.

    Parameters
    ----------
    sealed
        What is to be published.
    promised
        What the asset promises.
    others
        What other assets have published that must agree, see :func:`must_agree`.
    shape_of
        From :func:`published_shapes`.
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
        beside = {name: _lengths_of(fovs.get(fov, ()), shape_of) for name, fovs in published.items()}
        problems += [f"{fov} {text}" for text in (*told, *dataset_problems(values, beside))]
    refuse(where, problems)


def published_shapes(session: Session) -> ShapeOf:
    """Look at a session, to tell the shapes of published arrays by their headers; on a server, no more is fetched."""
    present = session.present()

    def shape_of(record: FileRecord) -> tuple[int, ...] | None:
        if not record.path.endswith(".npy") or not present.is_unchanged(record):
            return None
        start = session.store.start_of(session.key, present.files[record.path], _HEADER_BYTES)
        try:
            return read_header(BytesIO(start))[0]
        except ValueError:  # the audit tells it
            return None

    return shape_of


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
        name = dataset_of(file)
        try:
            if (wanted := file_name(name)) != file.path.rpartition("/")[2]:
                told.append(f"{name}: expected a file {wanted}, found {file.path.rpartition('/')[2]}")
                continue
            values[name] = read_dataset(folder / file.path)
        except MesoError as error:
            told.append(f"{name}: {error}".rstrip("."))
    return values, told


def _lengths_of(files: Iterable[FileRecord], shape_of: ShapeOf) -> dict[str, DatasetValue]:
    """Stand in for the arrays of another asset, of which only the lengths count: no values, and no room."""
    shapes = {dataset_of(file): shape_of(file) for file in files}
    return {name: np.broadcast_to(np.False_, shape) for name, shape in shapes.items() if shape is not None}


def dataset_of(file: FileRecord) -> str:
    """Name of the dataset that a file holds: ``alf/FOV_00/mpci.times.npy`` → ``mpci.times``."""
    return ".".join(file.path.rpartition("/")[2].split(".")[:2])
