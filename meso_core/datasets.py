"""The ALF datasets that meso writes: one table of names, shapes and units, and the checks that follow from it.

What belongs here: names of datasets, and what they must look like. What does not: writing them (``storage.alf``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    bare = name
    for suffix in PROVENANCE_SUFFIXES:
        bare = bare.removesuffix(suffix)
    spec = _BY_NAME.get(bare)
    if spec is None:
        raise DatasetError(
            f"dataset {name!r}: expected one of {', '.join(sorted(_BY_NAME))}, found no such name. "
            "Use one of these, or add a row to meso_core/datasets.py."
        )
    return spec


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
    sizes: dict[str, tuple[int, str]] = {}
    problems: list[str] = []
    for name, value in datasets.items():
        problems += _problems_of_one(name, value)
        problems += _disagreements(name, value, sizes)
    if problems:
        raise DatasetError(
            f"{where}: {'; '.join(problems)}. Nothing was written. This is a fault of the step that made these values: "
            "report it with this message."
        )


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
    elif spec.finite and dtype.kind == "f" and not _is_finite(value):
        problems.append(f"{name}: expected finite numbers, found NaN or infinity")
    return problems


def _dtype_fits(found: np.dtype, wanted: str) -> bool:
    if wanted == "U":
        return found.kind in "UOT"
    return found.kind == wanted if len(wanted) == 1 else found == np.dtype(wanted)


def _is_finite(value: DatasetValue) -> bool:
    array = value if isinstance(value, np.ndarray) else np.asarray(value.data)  # a sparse array keeps its values there
    return bool(np.isfinite(array).all())


def _disagreements(name: str, value: DatasetValue, sizes: dict[str, tuple[int, str]]) -> Iterable[str]:
    """Yield a sentence for each dimension whose length differs from that of an earlier dataset."""
    spec = spec_of(name)
    shape = getattr(value, "shape", ())
    if spec.columns or len(shape) != len(spec.dims):
        return
    for dim, length in zip(spec.dims, shape, strict=True):
        if isinstance(dim, int):
            if dim != length:
                yield f"{name}: expected length {dim}, found {length}"
            continue
        known, first = sizes.setdefault(dim, (length, name))
        if known != length:
            yield f"{name}: expected {dim} = {known} as in {first}, found {length}"
