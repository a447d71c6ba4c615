"""Files that go to a root, whole and checked.

What belongs here: reading a file from front to back, hashed on the way. What does not: how a server takes it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from ....errors import StorageError
from ....opening import open_plain
from ....progress import Progress, silent
from ....session import ListedFile
from ...files.hashing import FileHash
from ..servers.filesystem import RemoteRoot
from ..servers.reading import just_written
from ..servers.side_by_side import Tally, side_by_side


class Reading:
    """A file that is uploaded, over all tries: read from front to back, and hashed meanwhile.

    It is the :class:`~meso_core.storage.remote.servers.backend.Sending` that a server is given.
    """

    def __init__(self, file: BinaryIO, content: FileHash, progress: Progress) -> None:
        self.content = content
        #: Bytes that the server has confirmed.
        self.confirmed = 0
        #: What the server's backend remembers between tries.
        self.state: object = None
        self._file, self._progress = file, progress
        self._digest, self._hashed, self._lock = hashlib.sha256(), 0, Lock()
        self._before = self._stamp()

    def _stamp(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def piece(self, start: int, length: int) -> bytes:
        """Return these bytes; the last ones only if the whole is what it should be.

        Raises
        ------
        StorageError
            If it is not.
        """
        with self._lock:
            self._file.seek(start)
            content = self._file.read(length)
            if start == self._hashed:
                self._digest.update(content)
                self._hashed += len(content)
            if start + length >= self.content.size:
                self._judge()
        return content

    def confirm(self, n: int) -> None:
        """Record that the server has taken so many more bytes."""
        with self._lock:
            self.confirmed += n
            self._progress(self.confirmed, self.content.size, "bytes uploaded")

    def begin_again(self) -> None:
        """Record that the server has lost what it had."""
        with self._lock:
            self.confirmed, self.state = 0, None

    def _judge(self) -> None:
        found = (self._hashed, self._digest.hexdigest())
        if found != (self.content.size, self.content.sha256) or self._stamp() != self._before:
            raise StorageError.at(
                self._file.name,
                expected=f"{self.content.size} bytes with the hash {self.content.sha256}",
                found="other bytes: the file was changed after it was hashed",
                remedy="Run again what makes it, and let no other program write there",
            )


def upload(root: RemoteRoot, file: Path, path: str, *, content: FileHash, progress: Progress = silent) -> ListedFile:
    """Upload a file, over what is there; it takes its name on the server when it is whole.

    It is hashed while it is read: bytes other than those of ``content`` never take the name.

    Returns
    -------
    ListedFile
        The file as the server tells of it.

    Raises
    ------
    StorageError
        If the file here has changed, or the server has no room, refuses or does not answer.
    """
    with open_plain(file, buffering=0) as opened:
        reading = Reading(opened, content, progress)
        try:
            root.call(
                "upload",
                path,
                lambda server: server.send(root.place(path), reading),
                moved=lambda: reading.confirmed,
            )
        except BaseException:
            root.backend.give_up(reading)
            raise
    return just_written(root, path, content.size)


def upload_all(
    root: RemoteRoot, files: Sequence[tuple[Path, str, FileHash]], *, workers: int = 4, progress: Progress = silent
) -> tuple[ListedFile, ...]:
    """Upload files (here, path below the root, content) side by side; the first failure ends all."""
    tally = Tally(sum(content.size for _, _, content in files), progress)

    def one(file: Path, path: str, content: FileHash) -> ListedFile:
        return upload(root, file, path, content=content, progress=tally.of(path))

    return side_by_side([partial(one, *given) for given in files], workers, tally)
