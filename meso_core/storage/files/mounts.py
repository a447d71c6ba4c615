"""On which kind of file system a folder lies, as the kernel says.

What belongs here: the table of mounts. What does not: what such a file system can do (``file_system`` tries it).
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from ...errors import MesoError
from ...opening import read_plain

_MOUNTS = Path("/proc/self/mountinfo")
#: File systems that several machines can have mounted at once; a FUSE file system of a name of its own may be one.
_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|lustre|glusterfs|gpfs|beegfs|orangefs|gfs2|ocfs2|ncpfs|davfs|virtiofs|vboxsf"
    r"|prl_fs|fuse(\..*)?"
)


def kind_of(folder: Path) -> str:
    """Name the kind of the file system of a folder, as in ``ext4`` or ``nfs4``; empty where the system does not tell.

    Raises
    ------
    OSError
        If there is no such folder.
    """
    device = os.stat(folder).st_dev  # noqa: PTH116  of very many folders
    return _kind_in(_table(), f"{os.major(device)}:{os.minor(device)}")


def is_network(kind: str) -> bool:
    """Whether other machines may have a file system of this kind mounted, too."""
    return _NETWORK.fullmatch(kind) is not None


def _table() -> str:
    """Read the table of mounts; each time anew, for the number of a device that is unmounted is used again."""
    try:
        return read_plain(_MOUNTS).decode(errors="replace")
    except MesoError:  # no Linux
        return ""


@lru_cache(maxsize=64)
def _kind_in(table: str, device: str) -> str:
    """Look up a device in a table of mounts."""
    for line in reversed(table.splitlines()):  # the last one mounted hides those before
        before, separator, behind = line.partition(" - ")
        fields = before.split()
        if separator and len(fields) > 2 and fields[2] == device:
            return behind.split()[0]
    return ""
