"""A stamp of a session's folder: equal stamps, equal files, without a look into any.

What belongs here: asking the system for what it knows of each file. What follows from the files is not known here.
"""

from __future__ import annotations

import errno
import hashlib
import marshal
import os
import stat
from dataclasses import dataclass

#: The last one without references, which depend on where else a value is used.
_MARSHAL_VERSION = 2


@dataclass(frozen=True, slots=True)
class FolderStamp:
    """What the system knows of all files below a folder."""

    #: Of paths, sizes, times and numbers of all files and folders, the platform's records among them.
    digest: str
    #: When the last of them changed in any way, by the clock of the disk, ns since 1970. A file that is written again
    #: within the same tick of that clock looks the same: a stamp that is this fresh says nothing of what comes.
    changed_ns: int


def folder_stamp(folder: str) -> FolderStamp | None:
    """Stamp a folder; links are followed.

    The time of change (``ctime``) of a file is set by the system alone: a copy that keeps the file's own time, or a
    change of rights, shows in it.

    Parameters
    ----------
    folder
        Path of the folder.

    Returns
    -------
    FolderStamp or None
        None where something in it cannot be asked for: then nothing is known of it.
    """
    entries: list[tuple[object, ...]] = []
    try:
        newest = _stamp(folder, len(folder), (), entries)
    except OSError:
        return None
    entries.sort()
    # a third of the time of text; of this version, equal values have equal bytes
    content = marshal.dumps(entries, _MARSHAL_VERSION)
    return FolderStamp(hashlib.blake2b(content, digest_size=16).hexdigest(), newest)


def _stamp(folder: str, prefix: int, above: tuple[tuple[int, int], ...], entries: list[tuple[object, ...]]) -> int:
    """Collect what is below a folder; returns the newest time of change, ns."""
    newest, below = 0, list[tuple[str, tuple[int, int]]]()
    with os.scandir(folder) as scan:
        for entry in scan:  # the loop over all files of all sessions: what is not needed is not called
            is_link = entry.is_symlink()
            try:
                status = entry.stat()
            except FileNotFoundError:
                if not is_link:
                    raise  # it has just gone
                status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                this = (status.st_dev, status.st_ino)
                if this in above:
                    raise OSError(errno.ELOOP, "a link in a circle", entry.path)
                below.append((entry.path, this))
                # a folder's times tell of its files, which are asked themselves; of the folder, who may look into it
                entries.append((entry.path[prefix:], -1, status.st_mode, status.st_uid, status.st_gid, is_link))
                continue
            changed = status.st_ctime_ns
            if changed > newest:
                newest = changed
            entries.append((entry.path[prefix:], status.st_size, status.st_mtime_ns, changed, status.st_ino, is_link))
    for path, this in below:
        newest = max(newest, _stamp(path, prefix, (*above, this), entries))
    return newest
