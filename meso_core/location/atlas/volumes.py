"""Label volumes on disk: made once per machine, memory-mapped by every process.

What belongs here: the cache of region-index volumes as plain ``.npy``, and the readers of annotation files (nrrd,
npz, npy). What does not: what the indices mean for a field of view.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...errors import AtlasError, MesoError, MissingInputError, StorageError, problem
from ...progress import Progress, silent
from ...storage.hashing import write_atomically

Volume = NDArray[Any]
_CHUNK = 1 << 22
#: Slabs of the slowest file axis that are turned at a time (bounds the memory of a conversion).
_SLABS = 16


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """What lies in a cached volume; stored beside it as JSON, written last."""

    source: str
    source_sha256: str
    shape: tuple[int, int, int]
    size: int
    sha256: str
    #: Hash over 64 blocks spread over the file: tells damage without reading gigabytes.
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

    Processes that ask at the same time wait for the one that fills. A volume whose record, size or sampled hash
    do not agree is made anew.

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
            record = _read_record(note)
            if record is None or record.source_sha256 != source_sha256 or not _intact(path, record):
                note.unlink(missing_ok=True)
                record = _make(path, shape, fill, source, source_sha256)
                write_atomically(note, json.dumps(asdict(record), indent=1, sort_keys=True).encode())
        return np.load(path, mmap_mode="r"), record
    except OSError as error:
        if isinstance(error, MesoError):
            raise
        raise StorageError(
            problem(
                path,
                expected=f"room for a volume of {2 * math.prod(shape) / 1e9:.1f} GB and the right to write",
                found=f"{type(error).__name__}: {error}",
                remedy="Make room, or set MESO_CACHE to a folder that has it",
            )
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
    """Take the disk space at once: a disk that fills up under a memory map kills the process without a word."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _read_record(note: Path) -> VolumeRecord | None:
    try:
        values = json.loads(note.read_bytes())
        values["shape"] = tuple(values["shape"])
        return VolumeRecord(**values)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None  # absent, or from another version: the volume is made anew


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


def fill_from_nrrd(
    path: Path, volume: Volume, to_index: Callable[[Volume, int], Volume], progress: Progress = silent
) -> None:
    """Stream an Allen annotation nrrd, axes (AP, DV, ML) with AP fastest, into a volume (AP, ML, DV).

    Parameters
    ----------
    path
        gzip or raw nrrd with Allen structure ids.
    volume
        uint16 (AP, ML, DV), written in place.
    to_index
        Turns ids (n_ml, DV, AP) that begin at a given ML index into region indices.
    """
    n_ap, n_ml, n_dv = volume.shape
    dtype, shape, encoding, start = read_nrrd_header(path)
    if shape != (n_ap, n_dv, n_ml):
        raise AtlasError(
            problem(
                path,
                field="sizes",
                expected=f"{n_ap} {n_dv} {n_ml} voxels (AP, DV, ML, as Allen's files have them)",
                found=" ".join(map(str, shape)),
                remedy="Give the annotation volume of the resolution that is set, in Allen's axis order",
            )
        )
    slab = n_dv * n_ap * dtype.itemsize
    with path.open("rb") as file:
        file.seek(start)
        pieces = _inflate(file, path) if encoding in ("gzip", "gz") else _plain(file)
        for first, block in _blocks(pieces, slab * _SLABS, n_ml * slab, path):
            ids = np.frombuffer(block, dtype=dtype).reshape(-1, n_dv, n_ap)
            ml = first // slab
            volume[:, ml : ml + len(ids), :] = to_index(ids, ml).transpose(2, 0, 1)
            progress(ml + len(ids), n_ml, "sagittal sections of the atlas read")


def read_nrrd_header(path: Path) -> tuple[np.dtype[Any], tuple[int, ...], str, int]:
    """Read dtype, sizes, encoding and where the data begin from a nrrd with attached data.

    Raises
    ------
    MissingInputError, AtlasError
        If there is no such file, or it is no usable nrrd.
    """
    import nrrd

    if not path.is_file():
        raise MissingInputError(
            problem(path, expected="an annotation volume", found="no such file", remedy="Check the atlas path")
        )
    try:
        with path.open("rb") as file:
            header = nrrd.read_header(file)
            start = file.tell()
    except (nrrd.NRRDError, ValueError, UnicodeDecodeError, StopIteration) as error:
        raise _damaged(path, f"no nrrd header ({error})") from error
    kinds = {"uint32": "u4", "unsigned int": "u4", "uint": "u4", "uint16": "u2", "ushort": "u2", "int32": "i4"}
    kinds |= {"unsigned short": "u2", "int": "i4", "int16": "i2", "short": "i2", "uint64": "u8", "int64": "i8"}
    kind, encoding = str(header.get("type")), str(header.get("encoding"))
    if kind not in kinds or encoding not in ("gzip", "gz", "raw") or len(header.get("sizes", ())) != 3:
        raise _damaged(path, f"type {kind}, encoding {encoding}, sizes {header.get('sizes')}")
    order = ">" if header.get("endian") == "big" else "<"
    return np.dtype(order + kinds[kind]), tuple(int(n) for n in header["sizes"]), encoding, start


def verify_nrrd(path: Path) -> None:
    """Read a nrrd to its end: the compressed stream's own checksum and the number of voxels must be right."""
    dtype, shape, encoding, start = read_nrrd_header(path)
    total = int(np.prod(shape)) * dtype.itemsize
    with path.open("rb") as file:
        file.seek(start)
        pieces = _inflate(file, path) if encoding in ("gzip", "gz") else _plain(file)
        for _ in _blocks(pieces, _CHUNK, total, path):
            pass


def _damaged(path: Path, found: str) -> AtlasError:
    return AtlasError(
        problem(
            path,
            expected="a whole three-dimensional volume of whole numbers (nrrd: gzip or raw)",
            found=found,
            remedy="Fetch the annotation volume again; a download may have been cut short",
        )
    )


def _inflate(file: BinaryIO, path: Path) -> Iterator[bytes]:
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        while piece := file.read(_CHUNK):
            yield stream.decompress(piece)
        yield stream.flush()
    except zlib.error as error:
        raise _damaged(path, f"damaged gzip data ({error})") from error
    if not stream.eof:
        raise _damaged(path, "gzip data that end too early")


def _plain(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_CHUNK):
        yield piece


def _blocks(pieces: Iterator[bytes], block: int, total: int, path: Path) -> Iterator[tuple[int, bytes]]:
    """Regroup a stream into blocks of one size (the last may be shorter), with the offset of each."""
    held, offset = bytearray(), 0
    for piece in pieces:
        held += piece
        while len(held) >= block:
            yield offset, bytes(held[:block])
            del held[:block]
            offset += block
    if offset + len(held) != total:
        raise _damaged(path, f"{offset + len(held)} bytes of voxels instead of {total}")
    if held:
        yield offset, bytes(held)
