"""Content hashes of single files, and flushing to the disk.

What belongs here: reading for a hash. What does not: writing (``atomic`` hashes on the way).
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ...opening import open_plain

_CHUNK = 1 << 22
_BLOCK = 1 << 20
#: What shares say that cannot flush a folder.
_NO_FLUSHING = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class FileHash:
    """What identifies the content of a file."""

    size: int
    sha256: str
    #: Alyx keeps md5 sums of datasets.
    md5: str


def hash_file(path: Path, *, sync: bool = False) -> FileHash:
    """Hash a file in one pass.

    Parameters
    ----------
    path
        File to read.
    sync
        Also flush it to the disk, so that a later rename never names a file that a power cut emptied.
    """
    with open_plain(path) as file:
        if sync:
            os.fsync(file.fileno())
        return hash_stream(file)


def hash_stream(file: BinaryIO) -> FileHash:
    """Hash what is left of an open file."""
    sha, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    while chunk := file.read(_CHUNK):
        sha.update(chunk)
        md5.update(chunk)
        size += len(chunk)
    return FileHash(size, sha.hexdigest(), md5.hexdigest())


def sha256_of(path: Path, read: Callable[[int], None] = lambda _: None) -> str:
    """SHA-256 of a plain file: enough to compare it with a record, at a third of the work of both hashes.

    ``read`` is told the bytes of each block.
    """
    digest, block = hashlib.sha256(), bytearray(_BLOCK)
    view = memoryview(block)
    with open_plain(path, buffering=0) as file:
        while n := file.readinto(view):
            digest.update(view[:n])
            read(n)
    return digest.hexdigest()


def sync_file(path: Path) -> None:
    """Flush a file's content to the disk."""
    with open_plain(path) as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that renames in it survive a power cut; some shares leave that to their server."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLUSHING:
            raise
    finally:
        os.close(descriptor)
