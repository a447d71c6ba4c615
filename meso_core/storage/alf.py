"""ALF dataset files: writing and reading single datasets and whole FOV folders."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets import DatasetValue, check_datasets, file_name, spec_of
from ..errors import DatasetError, MissingInputError
from ..opening import RECORD_BYTES, TABLE_BYTES, map_array, open_plain, read_plain
from .files.atomic import HashedFile, replacing
from .files.hashing import FileHash

if TYPE_CHECKING:
    import pandas as pd
    import sparse

#: The masks of some 10 000 ROIs; a small zip may claim any size.
_MOST_UNPACKED_BYTES = 1 << 32


def write_fov(folder: Path, datasets: Mapping[str, DatasetValue], *, where: str) -> dict[str, FileHash]:
    """Check the datasets of one FOV and write them, hashed while they are written.

    Parameters
    ----------
    folder
        Target, ``…/alf/FOV_00`` of a staging folder.
    datasets
        Dataset name (``mpci.times``) → value.
    where
        Session and FOV, for error messages.

    Returns
    -------
    dict
        File name → content, sorted by dataset name.

    Raises
    ------
    DatasetError
        If a value breaks the dataset table; then nothing is written.
    StorageError
        If a file cannot be written.
    """
    check_datasets(where, datasets)
    return write_datasets(folder, datasets)


def write_datasets(folder: Path, datasets: Mapping[str, DatasetValue]) -> dict[str, FileHash]:
    """Write datasets that were checked, as :func:`write_fov`."""
    written = {}
    for name in sorted(datasets):
        with replacing(folder / file_name(name)) as file:
            _WRITERS[spec_of(name).extension](file, name, datasets[name])
        written[file_name(name)] = file.content
    return written


def read_dataset(path: Path) -> DatasetValue:
    """Read one dataset file; arrays come memory-mapped.

    Raises
    ------
    MissingInputError
        If the file is not there.
    DatasetError
        If it cannot be read.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise DatasetError.at(
            path, expected=f"one of {sorted(_READERS)}", found=path.suffix, remedy="Name a dataset of the table"
        )
    try:
        return reader(path)
    except MissingInputError:
        raise
    except Exception as error:  # a damaged zip or table fails in many ways
        raise DatasetError.at(
            path, expected="a readable dataset", found=str(error), remedy="Materialise its asset again"
        ) from error


def _write_npy(file: HashedFile, _: str, value: np.ndarray) -> None:
    np.save(file, np.ascontiguousarray(value), allow_pickle=False)


def _write_sparse(file: HashedFile, _: str, value: sparse.SparseArray) -> None:
    import sparse

    packed = io.BytesIO()  # it wants a file that can also be read
    sparse.save_npz(packed, value)
    file.write(packed.getbuffer())


def _write_table(file: HashedFile, _: str, value: pd.DataFrame) -> None:
    file.write(value.to_csv(sep="\t", index=False, lineterminator="\n").encode())


def _write_column(file: HashedFile, name: str, value: np.ndarray) -> None:
    file.write(("\n".join([name.split(".")[1], *map(str, value)]) + "\n").encode())


def _read_npy(path: Path) -> np.ndarray:
    return map_array(path)


def _read_sparse(path: Path) -> sparse.SparseArray:
    import sparse

    with open_plain(path, limit=RECORD_BYTES) as file:
        with zipfile.ZipFile(file) as packed:
            unpacked = sum(member.file_size for member in packed.infolist())
        if unpacked > _MOST_UNPACKED_BYTES:
            raise ValueError(f"{unpacked} bytes once unpacked, more than masks ever have")
        file.seek(0)
        return sparse.load_npz(file)


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(io.BytesIO(read_plain(path, TABLE_BYTES)), sep="\t")


def _read_column(path: Path) -> np.ndarray:
    return np.array(read_plain(path, TABLE_BYTES).decode().splitlines()[1:], dtype=str)


_WRITERS: Mapping[str, Callable[[HashedFile, str, Any], None]] = {
    ".npy": _write_npy,
    ".sparse_npz": _write_sparse,
    ".tsv": _write_table,
    ".csv": _write_column,
}
_READERS: Mapping[str, Callable[[Path], DatasetValue]] = {
    ".npy": _read_npy,
    ".sparse_npz": _read_sparse,
    ".tsv": _read_table,
    ".csv": _read_column,
}
