"""The ALF datasets that meso writes: one table of names, shapes and units, and the checks that follow from it.

What belongs here: names of datasets, and what they must look like. What does not: writing them (``storage.alf``).
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from .errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd
    import sparse

#: What a dataset may be in memory: an array, a table (``.tsv``), or a sparse stack of masks.
DatasetValue: TypeAlias = "np.ndarray | pd.DataFrame | sparse.SparseArray"

#: Suffixes of an ALF attribute for how a brain location was found; no suffix means HISTOLOGY.
PROVENANCE_SUFFIXES = ("_estimate", "_functional", "_landmark")

#: Values that are looked at at a time.
_AT_A_TIME = 1 << 22


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """One row of the table."""

    #: ALF ``object.attribute``.
    name: str
    #: With the dot.
    extension: str
    #: numpy dtype (``f8``), or a kind of any width (``i``); empty for tables.
    dtype: str
    #: Names of the dimensions, or fixed lengths. Dimensions with the same name have the same length within a FOV.
    dims: tuple[str | int, ...]
    unit: str
    #: True if NaN and infinity are refused.
    finite: bool = True
    #: Columns of a table.
    columns: tuple[str, ...] = ()


_F = ("n_frames",)
_FR = ("n_frames", "n_rois")
_R = ("n_rois",)
_YX = ("nY", "nX")

SPECS: tuple[DatasetSpec, ...] = (
    DatasetSpec("mpci.times", ".npy", "f8", _F, "s on the DAQ's clock"),
    DatasetSpec("mpciStack.timeshift", ".npy", "f8", ("n_lines",), "s after the FOV's first line"),
    DatasetSpec("mpci.ROIActivityF", ".npy", "f4", _FR, "a.u."),
    DatasetSpec("mpci.ROINeuropilActivityF", ".npy", "f4", _FR, "a.u."),
    DatasetSpec("mpci.ROIActivityDeconvolved", ".npy", "f4", _FR, "a.u."),
    DatasetSpec("mpci.badFrames", ".npy", "b1", _F, ""),
    DatasetSpec("mpci.excludedFrames", ".npy", "b1", _F, "by the experimenter"),
    DatasetSpec("mpci.mpciFrameQC", ".npy", "u4", _F, "value of mpciFrameQC.names"),
    DatasetSpec("mpciFrameQC.names", ".tsv", "", (), "", columns=("qc_values", "qc_labels")),
    DatasetSpec("mpciMeanImage.images", ".npy", "f8", _YX, "a.u."),
    DatasetSpec("mpciMeanImage.mlapdv", ".npy", "f8", (*_YX, 3), "µm from bregma", finite=False),
    DatasetSpec("mpciMeanImage.brainLocationIds_ccf_2017", ".npy", "i", _YX, "Allen id"),
    DatasetSpec("mpciROIs.stackPos", ".npy", "i", (*_R, 3), "px: y, x, z"),
    DatasetSpec("mpciROIs.mpciROITypes", ".npy", "i2", _R, "value of mpciROITypes.names"),
    DatasetSpec("mpciROITypes.names", ".tsv", "", (), "", columns=("roi_values", "roi_labels")),
    DatasetSpec("mpciROIs.cellClassifier", ".npy", "f8", _R, "probability"),
    DatasetSpec("mpciROIs.uuids", ".csv", "U", _R, "UUID"),
    DatasetSpec("mpciROIs.masks", ".sparse_npz", "f4", (*_R, *_YX), "weight"),
    DatasetSpec("mpciROIs.neuropilMasks", ".sparse_npz", "b1", (*_R, *_YX), ""),
    DatasetSpec("mpciROIs.mlapdv", ".npy", "f8", (*_R, 3), "µm from bregma", finite=False),
    DatasetSpec("mpciROIs.brainLocationIds_ccf_2017", ".npy", "i", _R, "Allen id"),
)
_BY_NAME = {spec.name: spec for spec in SPECS}


def spec_of(name: str) -> DatasetSpec:
    """Find the row of a dataset; a provenance suffix is ignored.

    Parameters
    ----------
    name
        ``object.attribute``, as in ``mpciROIs.mlapdv_estimate``.

    Raises
    ------
    DatasetError
        If the table has no such dataset.
    """
    spec = _row(name)
    if spec is None:
        raise DatasetError(
            f"dataset {name!r}: {_no_such(name)}. Use one of these, or add a row to meso_core/datasets.py."
        )
    return spec


def bare_name(name: str) -> str:
    """Name of a dataset without its provenance suffix: ``mpciROIs.mlapdv_estimate`` → ``mpciROIs.mlapdv``."""
    for suffix in PROVENANCE_SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _row(name: str) -> DatasetSpec | None:
    return _BY_NAME.get(bare_name(name))


def _no_such(name: str) -> str:
    near = difflib.get_close_matches(name, sorted(_BY_NAME), n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    return f"expected one of {', '.join(sorted(_BY_NAME))}, found no such name{meant}"


def file_name(name: str) -> str:
    """Make the name of a dataset's file: ``mpciROIs.masks`` → ``mpciROIs.masks.sparse_npz``."""
    return name + spec_of(name).extension


def check_datasets(where: str, datasets: Mapping[str, DatasetValue]) -> None:
    """Check the datasets of one FOV against the table and against each other.

    Parameters
    ----------
    where
        Session and FOV, for the message.
    datasets
        Dataset name → value.

    Raises
    ------
    DatasetError
        With all problems, not only the first.
    """
    refuse(where, dataset_problems(datasets))


def check_fovs(where: str, fovs: Mapping[str, Mapping[str, DatasetValue]]) -> None:
    """Check the datasets of all FOVs of a session, as :func:`check_datasets`, with one error of all."""
    refuse(where, [f"{fov} {text}" for fov, datasets in fovs.items() for text in dataset_problems(datasets)])


def refuse(where: str, problems: Sequence[str]) -> None:
    """Raise a DatasetError of all problems, if there are any."""
    if problems:
        raise DatasetError(
            f"{where}: {'; '.join(problems)}. Nothing was written. This is a fault of the step that made these values: "
            "report it with this message."
        )


def dataset_problems(
    datasets: Mapping[str, DatasetValue], others: Mapping[str, Mapping[str, DatasetValue]] | None = None
) -> list[str]:
    """Say what is wrong with the datasets of one FOV.

    Parameters
    ----------
    datasets
        Dataset name → value.
    others
        Asset → its datasets of the same FOV, whose lengths these must have.

    Returns
    -------
    list of str
        A sentence for each problem, which begins with the name of the dataset.
    """
    problems: list[str] = []
    known = {name: value for name, value in datasets.items() if _row(name) is not None}
    problems += [f"{name}: {_no_such(name)}" for name in datasets if name not in known]
    for name, value in known.items():
        problems += _problems_of_one(name, value)
    return [*problems, *_disagreements(known, others or {})]


def _problems_of_one(name: str, value: DatasetValue) -> Iterable[str]:
    spec = spec_of(name)
    if spec.columns:
        found = tuple(getattr(value, "columns", ()))
        return [] if found == spec.columns else [f"{name}: expected columns {spec.columns}, found {found}"]
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        return [f"{name}: expected an array, found {type(value).__name__}"]
    problems = []
    dtype: np.dtype = np.dtype(value.dtype)
    if not _dtype_fits(dtype, spec.dtype):
        problems.append(f"{name}: expected dtype {spec.dtype}, found {dtype}")
    if len(value.shape) != len(spec.dims):
        problems.append(f"{name}: expected dimensions {spec.dims}, found shape {value.shape}")
    elif dtype.kind == "f" and (odd := _not_finite(value, nan_too=spec.finite)):
        problems.append(f"{name}: expected {'finite numbers' if spec.finite else 'finite numbers or NaN'}, found {odd}")
    return problems


def _dtype_fits(found: np.dtype, wanted: str) -> bool:
    if wanted == "U":
        return found.kind in "UOT"
    return found.kind == wanted if len(wanted) == 1 else found == np.dtype(wanted)


def _not_finite(value: DatasetValue, *, nan_too: bool) -> str:
    """Say what is found that is not finite; piece by piece, since arrays may be mapped and larger than memory."""
    array = value if isinstance(value, np.ndarray) else np.asarray(value.data)  # a sparse array keeps its values there
    if array.ndim == 0:
        array = array[np.newaxis]
    rows = max(1, _AT_A_TIME // max(1, array[:1].size))
    for start in range(0, len(array), rows):
        piece = array[start : start + rows]
        if not (np.isfinite(piece) if nan_too else ~np.isinf(piece)).all():
            return "NaN or infinity" if nan_too else "infinity"
    return ""


def _disagreements(
    datasets: Mapping[str, DatasetValue], others: Mapping[str, Mapping[str, DatasetValue]]
) -> Iterable[str]:
    """Yield a sentence for each dimension whose length differs: from that of other assets, or else of most datasets."""
    lengths = list(_lengths(datasets))
    known = [
        (dim, length, f"{name} of {asset}")
        for asset, of_asset in others.items()
        for dim, length, name in _lengths(of_asset)
        if name not in datasets
    ]
    for dim, length, name in lengths:
        if isinstance(dim, int):
            if dim != length:
                yield f"{name}: expected length {dim}, found {length}"
            continue
        of_dim = [(n, who) for d, n, who in known if d == dim] or [(n, who) for d, n, who in lengths if d == dim]
        wanted = Counter(n for n, _ in of_dim).most_common(1)[0][0]
        if wanted != length:
            first = next(who for n, who in of_dim if n == wanted)
            yield f"{name}: expected {dim} = {wanted} as in {first}, found {length}"


def _lengths(datasets: Mapping[str, DatasetValue]) -> Iterable[tuple[str | int, int, str]]:
    """Yield each dimension of each dataset, its length, and the name of the dataset; tables have none."""
    for name, value in datasets.items():
        spec, shape = _row(name), getattr(value, "shape", ())
        if spec is not None and not spec.columns and len(shape) == len(spec.dims):
            yield from ((dim, length, name) for dim, length in zip(spec.dims, shape, strict=True))
