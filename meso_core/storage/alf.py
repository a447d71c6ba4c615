"""ALF dataset files: writing and reading single datasets and whole FOV folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets import DatasetValue, check_datasets, file_name, spec_of
from ..errors import DatasetError, MissingInputError, problem


def write_fov(folder: Path, datasets: Mapping[str, DatasetValue], *, where: str) -> tuple[Path, ...]:
    """Check the datasets of one FOV and write them.

    Parameters
    ----------
    folder
        Target, ``…/alf/FOV_00`` of a staging folder.
    datasets
        Dataset name (``mpci.times``) → value.
    where
        Session and FOV, for error messages.

    Raises
    ------
    DatasetError
        If a value breaks the dataset table; then nothing is written.
    """
    check_datasets(where, datasets)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in sorted(datasets):
        path = folder / file_name(name)
        _WRITERS[spec_of(name).extension](path, datasets[name])
        written.append(path)
    return tuple(written)


def read_fov(folder: Path, names: tuple[str, ...]) -> dict[str, DatasetValue]:
    """Read datasets of one FOV folder by name."""
    return {name: read_dataset(folder / file_name(name)) for name in names}


def read_dataset(path: Path) -> DatasetValue:
    """Read one dataset file; arrays come memory-mapped.

    Raises
    ------
    MissingInputError
        If the file is not there.
    DatasetError
        If it cannot be read.
    """
    if not path.is_file():
        raise MissingInputError(
            problem(path, expected="a dataset file", found="no such file", remedy="Materialise the asset that makes it")
        )
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise DatasetError(
            problem(
                path, expected=f"one of {sorted(_READERS)}", found=path.suffix, remedy="Name a dataset of the table"
            )
        )
    try:
        return reader(path)
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise DatasetError(
            problem(path, expected="a readable dataset", found=str(error), remedy="Materialise its asset again")
        ) from error


def _write_npy(path: Path, value: Any) -> None:
    with path.open("wb") as file:
        np.save(file, np.ascontiguousarray(value), allow_pickle=False)


def _write_sparse(path: Path, value: Any) -> None:
    import sparse

    with path.open("wb") as file:  # a name would get `.npz` appended
        sparse.save_npz(file, value)


def _write_table(path: Path, value: Any) -> None:
    value.to_csv(path, sep="\t", index=False, lineterminator="\n")


def _write_column(path: Path, value: Any) -> None:
    column = path.name.split(".")[1]
    path.write_text("\n".join([column, *map(str, value)]) + "\n")


def _read_npy(path: Path) -> np.ndarray:
    array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _read_sparse(path: Path) -> Any:
    import sparse

    with path.open("rb") as file:
        return sparse.load_npz(file)


def _read_table(path: Path) -> Any:
    import pandas as pd

    return pd.read_csv(path, sep="\t")


def _read_column(path: Path) -> np.ndarray:
    return np.array(path.read_text().splitlines()[1:], dtype=str)


_WRITERS = {".npy": _write_npy, ".sparse_npz": _write_sparse, ".tsv": _write_table, ".csv": _write_column}
_READERS = {".npy": _read_npy, ".sparse_npz": _read_sparse, ".tsv": _read_table, ".csv": _read_column}
