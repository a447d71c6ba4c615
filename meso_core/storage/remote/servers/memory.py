"""A root in the memory of this process, for tests: fsspec's own.

What belongs here: :class:`MemoryBackend`. What does not: what all kinds of servers share.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from threading import RLock
from typing import Any

from .backend import Seen, Sending, nanoseconds

_LOCK = RLock()
_PIECE = 1 << 23


class MemoryBackend:
    """Files of ``memory://``; they are gone when the process ends."""

    renames = False

    def __init__(self) -> None:
        from fsspec.implementations.memory import MemoryFileSystem

        self.fs: Any = MemoryFileSystem(skip_instance_cache=True)

    def children(self, place: str) -> Iterable[Seen]:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        with _LOCK:
            return [self._seen(info["name"], info["type"]) for info in self.fs.ls(place, detail=True)]

    def below(self, place: str) -> Iterator[Seen]:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        with _LOCK:
            found = [self._seen(path, "file") for path in self.fs.find(place)]
        yield from found

    def stat(self, place: str) -> Seen | None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        with _LOCK:
            if not self.fs.isfile(place):
                return None
            return self._seen(place, "file")

    def read(self, place: str, start: int, length: int) -> bytes:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        with _LOCK:
            return bytes(self.fs.cat_file(place, start=start, end=start + length))

    def read_ranges(self, place: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        return [self.read(place, start, length) for start, length in ranges]

    def write(self, place: str, content: bytes) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        with _LOCK:
            self.fs.pipe_file(place, content)

    def send(self, place: str, sending: Sending) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        size = sending.content.size
        pieces = [sending.piece(start, _PIECE) for start in range(0, max(size, 1), _PIECE)]
        self.write(place, b"".join(pieces))
        sending.confirm(size)

    def give_up(self, sending: Sending) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""

    def give_up_left(self, place: str, before_ns: int) -> int:  # noqa: ARG002  all is listed
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        return 0

    def put_in_place(self, source: str, target: str) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        with _LOCK:
            self.fs.pipe_file(target, self.fs.cat_file(source))

    def second_name(self, source: str, target: str) -> bool:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        self.put_in_place(source, target)
        return True

    def move_new(self, source: str, target: str) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        raise NotImplementedError

    def copy_new(self, source: Seen, target: str) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        with _LOCK:
            if self.stat(target) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
            if self.stat(source.place) != source:
                raise FileNotFoundError(errno.ENOENT, "it is another file by now", source.place)
            self.put_in_place(source.place, target)

    def remove_as_seen(self, seen: Seen) -> bool:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        with _LOCK:
            if self.stat(seen.place) != seen:
                return False
            self.remove([seen.place])
        return True

    def may_lose(self, folder: str) -> str:  # noqa: ARG002  a lock is held
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        return ""

    def set_time(self, place: str, mtime_ns: int) -> bool:  # noqa: ARG002  as on S3
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        return False

    def remove(self, places: Iterable[str]) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        with _LOCK:
            for place in places:
                if self.fs.isfile(place):
                    self.fs.rm_file(place)

    def passing(self, error: BaseException) -> bool:  # noqa: ARG002  nothing passes
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""
        return False

    def renew(self) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""

    def own(self) -> None:
        """See :class:`~meso_core.storage.remote.servers.backend.Backend`."""

    def _seen(self, place: str, kind: str) -> Seen:
        if kind == "directory":
            return Seen(place, True)
        file = self.fs.store[place]
        # a file that is written again is another object, at another time
        return Seen(place, False, file.size, nanoseconds(file.modified), f"{file.modified.isoformat()} {id(file)}")
