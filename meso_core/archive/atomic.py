"""What an archive needs beyond ``storage.files.atomic``: one run at a time, and nothing that is there is overwritten.

What belongs here: the locked part file or folder, and the room that it needs. Other files are written by
:mod:`meso_core.storage.files.atomic`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import StorageError
from ..storage.files.atomic import HashedFile, link_or_rename, make_folder, part_path, storage_errors
from ..storage.files.hashing import sync_folder
from ..storage.files.locks import keeps_locks, locked
from ..storage.files.permissions import as_its_folder
from .selection import is_archive

#: Room asked for beyond the estimate, as a share of it.
_MARGIN = 0.05


def check_room(out: Path, n_bytes: int) -> None:
    """Check that there is room for ``n_bytes`` in the folder of ``out``.

    Raises
    ------
    StorageError
        If there is less room, or no such folder.
    """
    needed = int(n_bytes * (1 + _MARGIN))
    with storage_errors(out):
        make_folder(out.parent)
        free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise StorageError.at(
            out.parent,
            expected=f"room for about {needed / 1e9:.3f} GB",
            found=f"{free / 1e9:.3f} GB free",
            remedy="Make room, or use another disk",
        )


@contextmanager
def new_file(out: Path, part: Path | None = None) -> Iterator[tuple[Path, HashedFile]]:
    """Give a file beside ``out``, locked against a second run; in the end it takes the name ``out``, or is removed.

    Parameters
    ----------
    out
        The file.
    part
        Where it is made: on the same file system; beside ``out`` by default.

    Raises
    ------
    StorageError
        If another run makes ``out``, or there is something of this name in the end: it is never overwritten. Also if
        the disk has no room, or does not allow writing.
    """
    part = part or part_path(out, shared=True)
    with storage_errors(out), _locked(part) as file:
        yield part, HashedFile(file)
        file.flush()
        os.fsync(file.fileno())
        if not keeps_locks(part.parent):  # then the lock is another file, and a share may not rename an open one
            file.close()
        _give_name(part, out)
    with storage_errors(out):
        sync_folder(out.parent)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give an empty folder beside ``out`` that takes its name in the end, or is removed; see :func:`new_file`."""
    part = part_path(out, shared=True)
    with storage_errors(out), _locked(part.with_suffix(".lock")):
        if part.exists():  # left by a killed run
            shutil.rmtree(part)
        if out.is_dir() and not is_archive(out):
            shutil.rmtree(out)
        part.mkdir()
        try:
            yield part
            for folder, _, _ in os.walk(part):
                sync_folder(Path(folder))
            part.rename(out)  # fails if ``out`` is a folder that holds something
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        sync_folder(out.parent)


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Give a new, empty file that no other run has; in the end this name of it is removed."""
    if not keeps_locks(path.parent):
        with _locked_beside(path) as file:
            yield file
        return
    file = _locked_file(path)
    while os.fstat(file.fileno()).st_size or os.fstat(file.fileno()).st_nlink > 1:
        # left by a killed run, which may have given it its final name too: so make a new file, do not empty this one
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


@contextmanager
def _locked_beside(path: Path) -> Iterator[BinaryIO]:
    """Give a new file as :func:`_locked` does, on a share that locks no files."""
    with ExitStack() as until_end:
        try:
            until_end.enter_context(locked(path.with_name(f"{path.name}.lock"), wait=False, keep=False))
        except BlockingIOError as error:
            raise _other_run(path) from error
        path.unlink(missing_ok=True)  # left by a killed run
        file = path.open("x+b")
        try:
            as_its_folder(path, file.fileno())
            yield file
        finally:
            file.close()
            path.unlink(missing_ok=True)


def _other_run(path: Path) -> StorageError:
    expected, found = "no other run", "one that writes this file"
    return StorageError.at(path, expected=expected, found=found, remedy="Wait until it ends")


def _locked_file(path: Path) -> BinaryIO:
    """Open and lock a file; check the name again after locking."""
    while True:
        file = path.open("a+b")
        as_its_folder(path, file.fileno())
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:  # the other run has just finished: the file that we opened is its archive
            pass
        except BlockingIOError as error:
            file.close()
            raise _other_run(path) from error
        file.close()


def _give_name(part: Path, out: Path) -> None:
    """Give a finished file its name, unless there is something of this name: a rename would overwrite it."""
    try:
        link_or_rename(part, out)
    except FileExistsError as error:
        raise StorageError.at(
            out,
            expected="nothing of this name yet",
            found="a file that appeared meanwhile; it was not changed",
            remedy="Find out which program made it, then try again: it is compared with the tifs",
        ) from error
