"""Listing a session that is a folder of this machine.

What belongs here: the walk over its files. How a session of a remote root is listed is in ``remote``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ...errors import InputFileError, MissingInputError
from ...session import GONE, MESO_FOLDER, ListedFile

#: What the system says of a link to nothing, in a circle, or to where nobody may look.
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENAMETOOLONG)


def files_below(session_path: Path) -> tuple[ListedFile, ...]:
    """List the files of a session at any depth, but the platform's own, sorted by path.

    Links are followed, not in a circle.

    Raises
    ------
    InputFileError
        If a folder cannot be read.
    """
    return tuple(sorted(_files_below(str(session_path), "", ()), key=lambda file: file.path))


def _files_below(folder: str, place: str, above: tuple[tuple[int, int], ...]) -> Iterator[ListedFile]:
    """Yield files; paths are text: of very many files, path objects cost more than asking the system."""
    try:
        status = os.stat(folder)  # noqa: PTH116  as said
        this = (status.st_dev, status.st_ino)
        if this in above:
            return
        with os.scandir(folder) as scan:
            entries = [entry for entry in scan if (place, entry.name) != ("", MESO_FOLDER)]
    except FileNotFoundError:  # it has just gone
        return
    except OSError as error:
        raise _unreadable(folder, error) from error
    for entry in entries:
        path = f"{place}{entry.name}"
        if _leads_to(entry, entry.is_dir):
            yield from _files_below(entry.path, f"{path}/", (*above, this))
        elif (file := _listed(entry, path)) is not None:
            yield file


def _listed(entry: os.DirEntry[str], path: str) -> ListedFile | None:
    """List a file, or a link that leads to nothing; None for what is neither, or has just gone."""
    try:
        is_link = entry.is_symlink()
        if _leads_to(entry, entry.is_file):
            stat = entry.stat()
            return ListedFile(path, stat.st_size, stat.st_mtime_ns, is_link)
        if is_link:
            return ListedFile(path, GONE, entry.stat(follow_symlinks=False).st_mtime_ns, is_link)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(entry.path, error) from error
    return None


def _leads_to(entry: os.DirEntry[str], asked: Callable[[], bool]) -> bool:
    """Ask whether an entry is a folder, or a file; a link in a circle or to where nobody may look is neither.

    Raises
    ------
    InputFileError
        If the system does not tell: what is there must not be passed over.
    """
    try:
        return asked()
    except OSError as error:
        if error.errno in _NOWHERE and entry.is_symlink():
            return False
        raise _unreadable(entry.path, error) from error


def _unreadable(where: str, error: OSError) -> InputFileError:
    expected, remedy = "a readable folder", "Give the platform's user the right to read it, or mount its disk"
    return InputFileError.at(where, expected=expected, found=error.strerror or str(error), remedy=remedy)


def nothing_there(where: str | Path) -> MissingInputError:
    """Make the error of a session, or a file of it, that a store does not hold."""
    return MissingInputError.at(
        where,
        expected="a file or folder of the session",
        found="nothing there",
        remedy="Materialise the asset that makes it, or check MESO_ROOT",
    )
