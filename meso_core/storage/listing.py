"""Listing a session that is a folder of this machine.

What belongs here: the walk over its files. How a session of a remote root is listed is in ``remote``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..errors import InputFileError
from ..session import GONE, MESO_FOLDER, ListedFile


def files_below(session_path: Path) -> tuple[ListedFile, ...]:
    """List the files of a session at any depth, but the platform's own, sorted by path.

    Links are followed, not in a circle.

    Raises
    ------
    InputFileError
        If a folder cannot be read.
    """
    return tuple(sorted(_files_below(session_path, "", ()), key=lambda file: file.path))


def _files_below(folder: Path, place: str, above: tuple[str, ...]) -> Iterator[ListedFile]:
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        with os.scandir(folder) as scan:
            entries = [entry for entry in scan if (place, entry.name) != ("", MESO_FOLDER)]
    except FileNotFoundError:  # it has just gone
        return
    except OSError as error:
        expected, remedy = "a readable folder", "Give the platform's user the right to read it, or mount its disk"
        found = error.strerror or str(error)
        raise InputFileError.at(folder, expected=expected, found=found, remedy=remedy) from error
    for entry in entries:
        path = f"{place}{entry.name}"
        if entry.is_dir():
            yield from _files_below(folder / entry.name, f"{path}/", (*above, real))
            continue
        with suppress(FileNotFoundError):  # it has just gone
            is_link = entry.is_symlink()
            if entry.is_file():
                stat = entry.stat()
                yield ListedFile(path, stat.st_size, stat.st_mtime_ns, is_link)
            elif is_link:
                yield ListedFile(path, GONE, entry.stat(follow_symlinks=False).st_mtime_ns, is_link)
