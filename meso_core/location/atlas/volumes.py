"""Label volumes on disk: made once per machine, memory-mapped by every process.

What belongs here: the cache of region-index volumes as plain ``.npy``. What does not: what a volume is made from
(``annotation``, ``nrrd``, ``phantom``).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MesoError, StorageError
from ...json_text import json_text
from ...storage.files.atomic import write_file

Volume = NDArray[Any]


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """What a cached volume holds; stored beside it as JSON, written last."""

    source: str
    source_sha256: str
    shape: tuple[int, int, int]
    size: int
    sha256: str
    #: Hash over 64 blocks spread over the file: shows damage without reading gigabytes.
    sample_sha256: str


def cached_volume(
    folder: Path,
    name: str,
    shape: tuple[int, int, int],
    fill: Callable[[Volume], None],
    *,
    source: str,
    source_sha256: str,
) -> tuple[Volume, VolumeRecord]:
    """Return a memory-mapped uint16 volume (AP, ML, DV), filling it first if this machine has none yet.

    While one process or thread fills a volume, others that ask for it wait. A volume is made again if its record, its
    size or its sampled hash do not agree.

    Parameters
    ----------
    folder, name
        The volume is ``name.npy``, its record ``name.json``.
    shape
        Voxels along AP, ML and DV.
    fill
        Writes region indices into an empty volume.
    source, source_sha256
        What the volume is made from; another hash means that it is made again.

    Raises
    ------
    StorageError
        If the folder cannot be written, or there is no room.
    """
    from filelock import FileLock

    path, note = folder / f"{name}.npy", folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock"):
            record = read_record(note)
            if record is None or record.source_sha256 != source_sha256 or not _intact(path, record):
                note.unlink(missing_ok=True)
                record = _make(path, shape, fill, source, source_sha256)
                write_file(note, json_text(asdict(record), indent=1, sort_keys=True).encode())
        return np.load(path, mmap_mode="r"), record
    except OSError as error:
        if isinstance(error, MesoError):
            raise
        raise StorageError.at(
            path,
            expected=f"room for a volume of {2 * math.prod(shape) / 1e9:.1f} GB, and write permission",
            found=f"{type(error).__name__}: {error}",
            remedy="Free space, or choose another cache folder (MESO_CACHE)",
        ) from error


def _make(
    path: Path, shape: tuple[int, int, int], fill: Callable[[Volume], None], source: str, source_sha256: str
) -> VolumeRecord:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        volume = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint16, shape=shape)
        _reserve(temporary)
        fill(volume)
        volume.flush()
        del volume
        record = VolumeRecord(
            source, source_sha256, shape, temporary.stat().st_size, file_sha256(temporary), _sample_sha256(temporary)
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return record


def _reserve(path: Path) -> None:
    """Claim the disk space first: a disk that fills up under a memory map kills the process without a message."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def read_record(note: Path) -> VolumeRecord | None:
    """Read what a cached volume holds; None where that is not recorded."""
    try:
        values = json.loads(note.read_bytes())
        values["shape"] = tuple(values["shape"])
        return VolumeRecord(**values)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None  # absent, or from another version: the volume is made again


def _intact(path: Path, record: VolumeRecord) -> bool:
    return path.is_file() and path.stat().st_size == record.size and _sample_sha256(path) == record.sample_sha256


def _sample_sha256(path: Path, blocks: int = 64, block: int = 1 << 16) -> str:
    digest = hashlib.sha256()
    size = path.stat().st_size
    with path.open("rb") as file:
        for k in range(blocks):
            file.seek(max(0, (size - block) * k // (blocks - 1)))
            digest.update(file.read(block))
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
