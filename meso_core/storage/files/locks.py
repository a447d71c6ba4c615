"""One at a time: locks between processes, of one machine or of several that share a folder.

On a local disk the kernel keeps the lock (``flock``), and it dies with its process. Network shares often refuse that,
or keep it to one machine without saying so. There each process that wants the lock puts a file of its own beside it,
and has the lock if no other such file is there then. Nothing rests on links, on renaming, or on clocks that agree: who
comes second sees the file of who came first. A file whose process is gone, or which its process has not touched for a
minute, does not count.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import MesoError
from ...json_text import json_text
from ...opening import read_json
from ...processes import ProcessId, this_process
from .deferred_renames import remove_name
from .mounts import is_network, kind_of
from .permissions import as_its_folder

#: What systems say that know no locks.
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
#: A file is touched this often, s; one that was not touched for so long while somebody looked is of a dead process.
_BEAT_S, _GONE_AFTER_S = 5.0, 60.0
#: A file that is so much older than a new one beside it, s, is of a dead process: clocks do not differ by that.
_OLD_S = 900.0
#: Waiting between two looks, s: at first, and at most.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.01, 0.5
#: How often somebody who does not wait looks: others who also only look must not pass for somebody who has the lock.
_LOOKS = 8
_LARGEST = 1 << 14
_ENDING = ".held"


@contextmanager
def locked(path: Path, *, wait: bool = True, keep: bool = True) -> Iterator[None]:
    """Hold a lock; it dies with the process, and a fork of the process does not hold it.

    Parameters
    ----------
    path
        File of the lock, in a folder that is there. Nothing is read from it.
    wait
        Wait until nobody else holds it.
    keep
        Leave the file there; otherwise it is removed in the end.

    Raises
    ------
    BlockingIOError
        If somebody else holds it, and this call must not wait; where it is known, the text says who.
    OSError
        If the folder is not there, or is not writable.
    """
    holder = os.getpid()
    if keeps_locks(path.parent):
        descriptor = _flocked(path, wait)
        _OPEN.add(descriptor)
        try:
            yield
        finally:
            if os.getpid() == holder:
                if not keep:
                    path.unlink(missing_ok=True)  # before it is let go: who waits for it looks again
                _OPEN.discard(descriptor)
                os.close(descriptor)
    else:
        own = _Contender(path).take(wait)
        try:
            yield
        finally:
            if os.getpid() == holder:
                _BEATS.end(own)


def keeps_locks(folder: Path) -> bool:
    """Whether the kernel keeps locks of files in this folder for all who use them.

    A network share is taken for one that does not: it may keep them on this machine only.

    Raises
    ------
    OSError
        If there is no such folder.
    """
    if is_network(kind_of(folder)):
        return False
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in NO_LOCKS
    finally:
        os.close(descriptor)
    return True


def _flocked(path: Path, wait: bool) -> int:
    """Open and lock a file; its name is looked at again after that, for somebody may have removed it."""
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if has_its_name(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def has_its_name(descriptor: int, path: Path) -> bool:
    """Whether an open file has this name still: whoever had its lock before may have removed or renamed it."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _open(path: Path) -> int:
    # a pipe in its place is not waited for, and a link leads somewhere else
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # another user made it, whose files others may not write
        return os.open(path, flags | os.O_RDONLY)
    as_its_folder(path, descriptor)
    return descriptor


@dataclass(frozen=True, slots=True)
class _Contender:
    """A process that wants a lock which the file system does not keep."""

    path: Path
    #: File of another → its time of change, and when this process saw it first with that time.
    _seen: dict[Path, tuple[int, float]] = field(default_factory=dict)

    def take(self, wait: bool) -> Path:
        """Wait for the lock; returns the file that holds it."""
        looks, pause = 0, _FIRST_WAIT_S
        while True:
            own = self.path.with_name(f"{self._prefix}{secrets.token_hex(8)}{_ENDING}")
            try:
                self._ask(own)
                holder = self._other(own)
            except BaseException:
                _BEATS.end(own)
                raise
            if holder is None:
                _BEATS.begin(own)
                return own
            _BEATS.end(own)
            looks += 1
            if not wait and looks >= _LOOKS:
                raise BlockingIOError(errno.EAGAIN, f"{holder} holds it", str(self.path))
            # two who ask at the same time both step back: not for equally long
            time.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(2 * pause, _LONGEST_WAIT_S)

    def _ask(self, own: Path) -> None:
        descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            as_its_folder(own, descriptor)
            os.write(descriptor, json_text(this_process().as_record(), indent=1).encode())
        finally:
            os.close(descriptor)

    @property
    def _prefix(self) -> str:
        return f".{self.path.name.lstrip('.')}."

    def _other(self, own: Path) -> str | None:
        """Look for another one who has the lock or asks for it; files of dead ones are removed."""
        now = own.stat().st_mtime
        names = os.listdir(self.path.parent)  # noqa: PTH208  names are what is asked for
        for name in sorted(n for n in names if n.startswith(self._prefix) and n.endswith(_ENDING) and n != own.name):
            file = own.with_name(name)
            process, is_gone = self._judge(file, now)
            if not is_gone:
                return f"{process}, since {process.since[11:16]}," if process else f"who made {file}"
            remove_name(file)  # no other file ever has this name
        return None

    def _judge(self, file: Path, now: float) -> tuple[ProcessId | None, bool]:
        """Tell whose file it is, and whether that process is gone."""
        if file in _BEATS.left:
            return None, True
        try:
            status = file.stat()
            process = ProcessId.from_record(read_json(file, "Remove it", _LARGEST))
        except FileNotFoundError:  # given back
            return None, True
        except MesoError:  # it is being written
            process = None
        if process is not None and process.is_gone:
            return process, True
        since, looked = self._seen.get(file, (status.st_mtime_ns, time.monotonic()))
        self._seen[file] = (since, looked) if since == status.st_mtime_ns else (status.st_mtime_ns, time.monotonic())
        untouched = time.monotonic() - self._seen[file][1] > _GONE_AFTER_S
        return process, untouched or now - status.st_mtime > _OLD_S


class _Beats:
    """Touches the files of the locks that this process holds, in a thread of its own."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a fork: what its parent holds is none of its own, and threads are not inherited."""
        self._held: set[Path] = set()
        #: Files of locks that were given back while their share was away: they stay until somebody removes them.
        self.left: set[Path] = set()
        self._beats = False
        self._lock = threading.Lock()

    def begin(self, file: Path) -> None:
        with self._lock:
            self._held.add(file)
            if not self._beats:
                self._beats = True
                threading.Thread(target=self._beat, daemon=True, name="locks").start()

    def end(self, file: Path) -> None:
        with self._lock:
            self._held.discard(file)
        try:
            remove_name(file)
        except OSError:
            self.left.add(file)
            raise

    def _beat(self) -> None:
        while True:
            time.sleep(_BEAT_S)
            with self._lock:
                held = tuple(self._held)
            for file in held:
                with suppress(OSError):  # given back in between; or the share is away, and comes back
                    os.utime(file)


_BEATS = _Beats()
#: Descriptors of the files that this process has locked.
_OPEN: set[int] = set()


def _in_fork() -> None:
    """Let a fork hold nothing: the kernel keeps a lock until nobody has its file open any more."""
    while _OPEN:
        os.close(_OPEN.pop())
    _BEATS.forget()


os.register_at_fork(after_in_child=_in_fork)
