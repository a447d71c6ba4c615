"""A mounted folder that has the limits of network shares: a FUSE file system over a folder of the local disk.

Started as a program: ``python share_server.py BACKING MOUNT LIMITS``, where the last is the JSON of the fields of
:class:`Limits`. It stays in the foreground; who kills it leaves a mount that answers nothing, as a share does whose
server is gone.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from typing import Any

_NS = 1_000_000_000
#: Nanoseconds that mean this moment (``UTIME_NOW`` of ``utimensat``).
_NOW = (1 << 30) - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What a share cannot do; what is false, 0 or None is as on a local disk."""

    #: Hard links are refused, with this error.
    no_links: int | None = None
    #: ``flock`` and POSIX locks are refused, with this error.
    no_locks: int | None = None
    #: Symbolic links are refused.
    no_symlinks: bool = False
    #: Times are rounded down to this many ns.
    time_ns: int = 1
    #: Names that differ in case only are one name.
    one_case: bool = False
    #: Permission bits of each file, set by the share; they cannot be changed, and the folders' follow from them.
    file_mode: int | None = None
    #: A folder cannot be flushed.
    no_folder_sync: bool = False
    #: A file that somebody has open is neither replaced nor removed.
    open_files_stay: bool = False
    #: Characters that a name must not have.
    forbidden: str = ""
    #: Bytes of the share; None: those of the disk below.
    room: int | None = None
    #: Whatever changes something is refused, with this error.
    no_changes: int | None = None
    #: How long each answer takes, s.
    delay_s: float = 0.0


#: Calls that change something.
_CHANGES = ("create", "write", "truncate", "utimens", "chmod", "mkdir", "rmdir", "unlink", "rename", "link", "symlink")

#: All limits at once: a server as bad as those that labs have.
WORST = Limits(
    no_links=errno.EOPNOTSUPP,
    no_locks=errno.ENOLCK,
    no_symlinks=True,
    time_ns=_NS,
    one_case=True,
    file_mode=0o660,
    no_folder_sync=True,
    open_files_stay=True,
    forbidden='<>:"|?*\\',
)


def serve(backing: str, mount: str, limits: Limits) -> None:
    """Mount and answer until the folder is unmounted."""
    import mfusepy

    class Share(mfusepy.Operations):  # type: ignore[misc]
        use_ns = True

        def __init__(self) -> None:
            self._opened: dict[tuple[int, int], int] = {}
            self._lock = threading.Lock()

        # ---- names

        def _real(self, path: str, *, new: bool = False) -> str:
            """Path on the disk below; a name that is there in another case is that one."""
            if new and any(c in limits.forbidden for c in path.rpartition("/")[2]):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            whole = f"{backing}{path}"
            if not limits.one_case or os.path.lexists(whole):
                return whole
            found = backing
            for part in path.strip("/").split("/"):
                step = f"{found}/{part}"
                if not os.path.lexists(step):
                    with suppress(OSError):
                        step = next(
                            (f"{found}/{n}" for n in os.listdir(found) if n.casefold() == part.casefold()), step
                        )
                found = step
            return found

        # ---- looking

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
            status = os.lstat(self._real(path))
            found = {name: getattr(status, name) for name in ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid")}
            if limits.file_mode is not None and not os.path.stat.S_ISLNK(status.st_mode):
                found["st_mode"] = os.path.stat.S_IFMT(status.st_mode) | self._mode(
                    os.path.stat.S_ISDIR(status.st_mode)
                )
            for name in ("st_atime", "st_mtime", "st_ctime"):
                ns = getattr(status, f"{name}_ns")
                found[name] = ns - ns % limits.time_ns
            return {**found, "st_ino": status.st_ino, "st_blocks": status.st_blocks}

        def _mode(self, is_folder: bool) -> int:
            mode = limits.file_mode or 0
            return mode | (mode & 0o444) >> 2 if is_folder else mode

        def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, Any], int]]:
            with os.scandir(self._real(path)) as scan:
                inodes = {".": 1, "..": 1} | {entry.name: entry.inode() for entry in scan}
            return [(name, {"st_ino": inode, "st_mode": 0}, 0) for name, inode in inodes.items()]

        def readlink(self, path: str) -> str:
            return os.readlink(self._real(path))

        def statfs(self, path: str) -> dict[str, int]:
            status = os.statvfs(self._real(path))
            names = (
                "f_bavail",
                "f_bfree",
                "f_blocks",
                "f_bsize",
                "f_favail",
                "f_ffree",
                "f_files",
                "f_flag",
                "f_frsize",
            )
            found = {name: getattr(status, name) for name in (*names, "f_namemax")}
            if limits.room is not None:
                free = max(0, limits.room - self._used()) // status.f_frsize
                found.update(f_blocks=limits.room // status.f_frsize, f_bfree=free, f_bavail=free)
            return found

        def _used(self) -> int:
            walk = os.walk(backing)
            return sum(os.lstat(f"{folder}/{name}").st_size for folder, _, names in walk for name in names)

        # ---- files

        def open(self, path: str, flags: int) -> int:
            return self._opening(self._real(path), flags & ~os.O_NOFOLLOW)

        def create(self, path: str, mode: int, fi: Any = None) -> int:
            return self._opening(self._real(path, new=True), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

        def _opening(self, real: str, flags: int, mode: int = 0o666) -> int:
            # what is written to may be read for the pages of a map
            flags = flags & ~os.O_APPEND & ~os.O_EXCL
            if flags & os.O_ACCMODE == os.O_WRONLY:
                flags = flags & ~os.O_WRONLY | os.O_RDWR
            fh = os.open(real, flags, mode)
            with self._lock:
                inode = self._inode(os.fstat(fh))
                self._opened[inode] = self._opened.get(inode, 0) + 1
            return fh

        def release(self, path: str, fh: int) -> int:
            with self._lock:
                inode = self._inode(os.fstat(fh))
                self._opened[inode] -= 1
            os.close(fh)
            return 0

        @staticmethod
        def _inode(status: os.stat_result) -> tuple[int, int]:
            return status.st_dev, status.st_ino

        def _insist_closed(self, real: str) -> None:
            if limits.open_files_stay:
                with suppress(FileNotFoundError):
                    if self._opened.get(self._inode(os.lstat(real)), 0) > 0:
                        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return os.pread(fh, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            if limits.room is not None:
                grown = offset + len(data) - os.fstat(fh).st_size
                if grown > 0 and self._used() + grown > limits.room:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return os.pwrite(fh, data, offset)

        def truncate(self, path: str, length: int, fh: int | None = None) -> int:
            os.truncate(self._real(path) if fh is None else fh, length)
            return 0

        def flush(self, path: str, fh: int) -> int:
            return 0

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            os.fsync(fh)
            return 0

        def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
            if limits.no_folder_sync:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return 0

        def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
            if times is None or _NOW in times:  # some libraries hand on the kernel's sign for this moment
                os.utime(self._real(path))
            else:
                os.utime(self._real(path), ns=times)
            return 0

        # ---- names that change

        def mkdir(self, path: str, mode: int) -> int:
            os.mkdir(self._real(path, new=True), mode)
            return 0

        def rmdir(self, path: str) -> int:
            os.rmdir(self._real(path))
            return 0

        def unlink(self, path: str) -> int:
            real = self._real(path)
            self._insist_closed(real)
            os.unlink(real)
            return 0

        def rename(self, old: str, new: str) -> int:
            source, target = self._real(old), self._real(new, new=True)
            if source == target:  # another case of the same name
                target = f"{os.path.dirname(target)}/{new.rpartition('/')[2]}"
            else:
                self._insist_closed(source)
                self._insist_closed(target)
            os.rename(source, target)
            return 0

        def link(self, target: str, source: str) -> int:
            if limits.no_links is not None:
                raise OSError(limits.no_links, os.strerror(limits.no_links))
            os.link(self._real(source), self._real(target, new=True))
            return 0

        def symlink(self, target: str, source: str) -> int:
            if limits.no_symlinks:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            os.symlink(source, self._real(target, new=True))
            return 0

        def chmod(self, path: str, mode: int) -> int:
            if limits.file_mode is not None:
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
            os.chmod(self._real(path), mode)
            return 0

        def chown(self, path: str, uid: int, gid: int) -> int:
            os.chown(self._real(path), uid, gid)
            return 0

    def answering(op: str) -> Callable[..., Any]:
        answer = getattr(Share, op)

        @wraps(answer)  # the library looks at what it takes
        def answered(*args: Any) -> Any:
            time.sleep(limits.delay_s)
            if limits.no_changes is not None and op in _CHANGES:
                raise OSError(limits.no_changes, os.strerror(limits.no_changes))
            return answer(*args)

        return answered

    for op in (*_CHANGES, "getattr", "readdir", "open", "read", "fsync"):
        setattr(Share, op, answering(op))

    def refuse(*_: Any) -> int:
        raise OSError(limits.no_locks or 0, os.strerror(limits.no_locks or 0))

    if limits.no_locks is not None:
        Share.flock = Share.lock = refuse  # type: ignore[method-assign]
    os.umask(0)  # the caller's counts
    options: dict[str, Any] = {"use_ino": True, "attr_timeout": 0, "entry_timeout": 0, "fsname": "share"}
    if mfusepy.fuse_version_major == 2:
        options["big_writes"] = True
    mfusepy.FUSE(Share(), mount, foreground=True, nothreads=False, **options)


def limits_as_text(limits: Limits) -> str:
    """Return the text that :func:`main` understands."""
    return json.dumps({name: getattr(limits, name) for name in Limits.__slots__})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    serve(sys.argv[1], sys.argv[2], Limits(**json.loads(sys.argv[3])))
