"""Archives appear whole or not at all: written beside their place, and renamed.

What belongs here: the part file (or folder), the room it needs, and what a full disk says.
"""

from __future__ import annotations

import errno
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
    with storage_errors(out):
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
    """Give a file beside ``out`` that takes its name in the end, or goes; it is locked against a second run.

    Raises
    ------
    StorageError
        If another run makes ``out``, or something of this name is there in the end: it is never overwritten. Also if
        there is no room or no right to write.
    """
    part = part_path(out)
    with storage_errors(out), _locked(part) as file:
        yield part, file
        file.flush()
        os.fsync(file.fileno())
        _give_name(part, out)
    with storage_errors(out):
        sync_folder(out.parent)


@contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """Give an empty folder beside ``out`` that takes its name in the end, or goes; locked as :func:`file_beside`."""
    part = part_path(out)
    with storage_errors(out), _locked(part.with_suffix(".lock")):
        if part.exists():  # what a killed run left
            shutil.rmtree(part)
        if out.is_dir() and not any(entry.is_file() for entry in out.rglob("*")):
            shutil.rmtree(out)  # a tree of empty folders is nothing
        part.mkdir()
        try:
            yield part
            for folder, _, _ in os.walk(part):
                sync_folder(Path(folder))
            part.rename(out)  # refused where a folder that holds something is there
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        sync_folder(out.parent)


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Give a new, empty file that no other run has; it goes in the end, under this name."""
    file = _locked_file(path)
    while os.fstat(file.fileno()).st_size or os.fstat(file.fileno()).st_nlink > 1:
        # a killed run left it, and perhaps gave it its final name already: so it is not emptied, but made anew
        path.unlink()
        file.close()
        file = _locked_file(path)
    with file:
        try:
            yield file
        finally:
            with suppress(FileNotFoundError):  # renamed
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    path.unlink()


def _locked_file(path: Path) -> BinaryIO:
    """Open and lock a file; what was opened must still bear the name when the lock is there."""
    while True:
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:  # the run that had it has just finished: the file that we opened is its archive now
            pass
        except BlockingIOError as error:
            file.close()
            raise StorageError(
                problem(path, expected="no other run", found="one that writes it", remedy="Wait for it")
            ) from error
        file.close()


def _give_name(part: Path, out: Path) -> None:
    """Give a finished file its name, unless something bears it: a mere rename would overwrite that."""
    try:
        try:
            os.link(part, out)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            if os.path.lexists(out):  # a file system without links: this is the best that it can do
                raise FileExistsError from error
            part.rename(out)
    except FileExistsError as error:
        raise StorageError(
            problem(
                out,
                expected="nothing of this name yet",
                found="a file that appeared meanwhile; it was left as it is",
                remedy="Find out which program made it, then try again: it is compared with what should be there",
            )
        ) from error


@contextmanager
def storage_errors(where: Path) -> Iterator[None]:
    """Turn what the disk says into a StorageError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, MesoError):
            raise
        raise StorageError(
            problem(
                error.filename or where,
                expected="a disk with room and the right to write and read",
                found=error.strerror or str(error),
                remedy="Make room or give the platform's user the right to write and read there, then try again",
            )
        ) from error
