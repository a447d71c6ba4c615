"""Archives appear whole or not at all: written beside their place, and renamed.

What belongs here: the part file (or folder), the room it needs, and what a full disk says.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import MesoError, StorageError, problem
from ..storage.hashing import sync_folder

#: Room asked for beyond the estimate, as a share of it.
_MARGIN = 0.05
#: Bytes of a file name, on the usual file systems.
_LONGEST_NAME = 255


def part_path(out: Path) -> Path:
    """Name under which ``out`` is being made; hidden, so that nobody takes it for data."""
    name = f".{out.name}.part"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(out.name)).hexdigest()[:32]}.part"
    return out.with_name(name)


def check_room(out: Path, n_bytes: int) -> None:
    """Insist on room for ``n_bytes`` where ``out`` shall be.

    Raises
    ------
    StorageError
        If there is less room, or no such folder.
    """
    needed = int(n_bytes * (1 + _MARGIN))
    with _storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise StorageError(
            problem(
                out.parent,
                expected=f"room for about {needed / 1e9:.3f} GB",
                found=f"{free / 1e9:.3f} GB free",
                remedy="Make room, or use another disk",
            )
        )


@contextmanager
def file_beside(out: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Give a file beside ``out`` that takes its name in the end, or goes; it is locked against a second run."""
    part = part_path(out)
    with _storage_errors(out):
        with part.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StorageError(
                    problem(part, expected="no other run", found="one that writes it", remedy="Wait for it")
                ) from error
            file.truncate(0)  # what a killed run left
            try:
                yield part, file
                file.flush()
                os.fsync(file.fileno())
                part.replace(out)
            except BaseException:
                with suppress(FileNotFoundError):
                    part.unlink()
                raise
        sync_folder(out.parent)


@contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """Give an empty folder beside ``out`` that takes its name in the end, or goes."""
    part = part_path(out)
    with _storage_errors(out):
        if part.exists():  # what a killed run left
            shutil.rmtree(part)
        part.mkdir()
        try:
            yield part
            for folder, _, _ in os.walk(part):
                sync_folder(Path(folder))
            part.replace(out)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        sync_folder(out.parent)


@contextmanager
def _storage_errors(out: Path) -> Iterator[None]:
    """Turn what the disk says into a StorageError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, MesoError):
            raise
        raise StorageError(
            problem(
                out,
                expected="a disk with room and the right to write",
                found=error.strerror or str(error),
                remedy="Make room or give the platform's user the right to write, then try again",
            )
        ) from error
