"""Who may use the files that meso makes: those who may use the folder that they are in.

A lab's sessions are often worked on by several users of one group. Where a folder lets them read and write, a file or
folder that meso makes in it must too, whatever the umask of the user whose run made it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

_FILE, _FOLDER = 0o666, 0o777


def as_its_folder(path: Path, descriptor: int | None = None) -> None:
    """Give a new file the rights to read and write that its folder has; none is taken away.

    Parameters
    ----------
    path
        The file. On a share that keeps no rights it stays as it is, and so does one of another user.
    descriptor
        The same, where it is open.
    """
    file = path if descriptor is None else descriptor
    with suppress(OSError):
        found = os.stat(file)  # noqa: PTH116  of very many files
        if more := _more(os.stat(path.parent), found) & _FILE:  # noqa: PTH116  as above
            os.chmod(file, stat.S_IMODE(found.st_mode) | more)  # noqa: PTH101  as above


def folder_as_its_parent(folder: Path) -> None:
    """Give a new folder the rights that its parent has; see :func:`as_its_folder`."""
    with suppress(OSError):
        found = folder.stat()
        if more := _more(folder.parent.stat(), found) & _FOLDER:
            folder.chmod(stat.S_IMODE(found.st_mode) | more)


def _more(above: os.stat_result, found: os.stat_result) -> int:
    """Rights that the folder above has, and what is in it has not."""
    if above.st_mode & stat.S_ISVTX:  # everybody's, as /tmp: there each keeps to their own
        return 0
    same_group = above.st_gid == found.st_gid
    return above.st_mode & ~found.st_mode & (_FOLDER if same_group else _FOLDER & ~stat.S_IRWXG)
