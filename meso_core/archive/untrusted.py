"""Open untrusted files: refuse links, devices and pipes.

What belongs here: opening and listing the files of an archive that somebody else may have put there. A link leads out
of the session, a device has no end, and opening a pipe never returns.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from ..errors import ArchiveError

_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
}


def open_plain(path: Path) -> BufferedReader:
    """Open a file for reading; links are not followed, and opening a pipe does not wait.

    Raises
    ------
    ArchiveError
        If it is not a plain file.
    OSError
        If it cannot be opened.
    """
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    _check_plain(path, mode, plain=stat.S_ISREG(mode))
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    mode = os.fstat(file.fileno()).st_mode  # of what was opened: it may have been replaced since
    if not stat.S_ISREG(mode):
        file.close()
        _check_plain(path, mode, plain=False)
    return file


def plain_files(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder (or the file itself), in no particular order.

    Raises
    ------
    ArchiveError
        If the folder, or anything below it, is neither a plain file nor a folder.
    OSError
        If a folder cannot be listed.
    """
    mode = folder.lstat().st_mode
    if not stat.S_ISDIR(mode):
        _check_plain(folder, mode, plain=stat.S_ISREG(mode))
        yield folder
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            yield from plain_files(Path(entry.path))


def plain_bytes(path: Path) -> int:
    """Bytes of a file, or of all files of a folder; see :func:`plain_files` for what is refused."""
    return sum(file.lstat().st_size for file in plain_files(path))


def _check_plain(path: Path, mode: int, *, plain: bool) -> None:
    if not plain:
        raise ArchiveError.at(
            path,
            expected="a plain file or folder of an archive",
            found=_KINDS.get(stat.S_IFMT(mode), "something else"),
            remedy="Replace it by the file itself; or move this archive away and, while the tifs exist, archive "
            "them again",
        )
