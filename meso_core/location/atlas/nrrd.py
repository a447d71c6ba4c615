"""Annotation files in nrrd format, read as a stream: a volume at 10 µm is larger than most memories.

What belongs here: reading and checking nrrd files. What does not: what the ids in them mean (``annotation``).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...errors import AtlasError
from ...progress import Progress, silent
from .volumes import Volume

_CHUNK = 1 << 22
#: Sagittal sections that are converted at a time; this bounds the memory.
_SLABS = 16


def fill_from_nrrd(
    path: Path, volume: Volume, to_index: Callable[[Volume, int], Volume], progress: Progress = silent
) -> None:
    """Stream an Allen annotation nrrd, axes (AP, DV, ML) with AP fastest, into a volume (AP, ML, DV).

    Parameters
    ----------
    path
        Nrrd, gzip or raw, with Allen structure ids.
    volume
        uint16 (AP, ML, DV), written in place.
    to_index
        Turns ids (n_ml, DV, AP) that begin at a given ML index into region indices.
    """
    n_ap, n_ml, n_dv = volume.shape
    dtype, shape, encoding, start = read_nrrd_header(path)
    if shape != (n_ap, n_dv, n_ml):
        raise AtlasError.at(
            path,
            field="sizes",
            expected=f"{n_ap} {n_dv} {n_ml} voxels (AP, DV, ML, as Allen's files have them)",
            found=" ".join(map(str, shape)),
            remedy="Let MESO_ATLAS_PATH name the annotation volume of MESO_ATLAS_RESOLUTION_UM, in Allen's axis order",
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
    AtlasError
        If it is no usable nrrd.
    """
    import nrrd

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
    """Read a nrrd to its end: the checksum of the compressed data and the number of voxels must be right."""
    dtype, shape, encoding, start = read_nrrd_header(path)
    total = int(np.prod(shape)) * dtype.itemsize
    with path.open("rb") as file:
        file.seek(start)
        pieces = _inflate(file, path) if encoding in ("gzip", "gz") else _plain(file)
        for _ in _blocks(pieces, _CHUNK, total, path):
            pass


def _damaged(path: Path, found: str) -> AtlasError:
    return AtlasError.at(
        path,
        expected="a complete three-dimensional volume of whole numbers (nrrd: gzip or raw)",
        found=found,
        remedy="Download the annotation volume again; the file may have been cut short",
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
    """Regroup a stream into blocks of one size (the last may be shorter); yield each with its offset."""
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
