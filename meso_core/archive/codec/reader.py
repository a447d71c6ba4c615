"""What both readers of bzip2 files share: opening the file, giving out decoded bytes, errors of a damaged file.

What belongs here: the file-like side. Decoding is in ``bzip2`` (threads of this process) and ``lbzip2`` (a program).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from ...errors import ArchiveError, MesoError, MissingInputError
from ...storage import FileHash
from ..untrusted import open_plain

#: bzip2 packs a block of one value, 900 kB, into about 45 bytes: no file unpacks to more than this times its size.
_LARGEST_EXPANSION = 25_000
#: Bytes that one block can become: 46 MB of one value.
LARGEST_BLOCK = 50_000_000

Piece = bytes | memoryview


class ForwardReader(ABC):
    """Forward-only, file-like reader of what a bzip2 file holds.

    Parameters
    ----------
    path
        A bzip2 file of one or many streams.
    hashed
        Whether to hash the compressed bytes too, for :attr:`content`.

    Raises
    ------
    MissingInputError
        If there is no such file.
    ArchiveError
        If it cannot be opened; while reading, if the bytes are not whole and valid bzip2 to the very end. Do not use
        bytes that came before such an error: publish nothing before the end.
    """

    def __init__(self, path: Path, *, hashed: bool = False) -> None:
        self._path = path
        self._hashed = hashed
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        self._file = _opened(path)
        self._decoded = self._decode_all()
        self._buffer = memoryview(b"")
        self._error: MesoError | None = None
        #: Compressed bytes read so far.
        self.bytes_in = 0
        #: Bytes given out so far.
        self.position = 0

    @property
    def largest_content(self) -> int:
        """Bytes that the file can hold at the very most."""
        return self._path.stat().st_size * _LARGEST_EXPANSION

    @property
    def content(self) -> FileHash:
        """Size and hashes of the compressed file, once :meth:`read` has returned nothing; needs ``hashed``."""
        return FileHash(self.bytes_in, self._sha256.hexdigest(), self._md5.hexdigest())

    def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes (all, if negative); fewer only at the end."""
        parts = []
        while size != 0 and self._fill():
            part = self._buffer if size < 0 else self._buffer[:size]
            self._buffer = self._buffer[len(part) :]
            size -= len(part) if size > 0 else 0
            parts.append(part)
        data = b"".join(parts)
        self.position += len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer with the next bytes; returns how many, fewer than it holds only at the end."""
        done = 0
        while done < len(buffer) and self._fill():
            part = self._buffer[: len(buffer) - done]
            self._buffer = self._buffer[len(part) :]
            buffer[done : done + len(part)] = part
            done += len(part)
        self.position += done
        return done

    def readable(self) -> bool:
        """Say that this can be read, as file objects do."""
        return True

    def close(self) -> None:
        """Stop decoding and close the file."""
        self._decoded.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _decode_all(self) -> Generator[Piece, None, None]:
        """Yield decoded bytes in order, in pieces of any size."""

    def _compressed(self, size: int) -> Iterator[bytes]:
        """Yield the file in pieces, counted and hashed."""
        while data := self._file.read(size):
            self.bytes_in += len(data)
            if self._hashed:
                self._sha256.update(data)
                self._md5.update(data)
            yield data

    def _fill(self) -> bool:
        """Get bytes into the buffer; False at the end. After an error, each call raises it again."""
        if self._error is not None:
            raise self._error
        while not len(self._buffer):
            try:
                piece = next(self._decoded, None)
            except MesoError as error:
                self._error = error
                raise
            if piece is None:
                return False
            self._buffer = memoryview(piece)
        return True

    def _damaged(self, what: str) -> ArchiveError:
        return ArchiveError.at(
            self._path,
            expected="whole and valid bzip2 data",
            found=f"{what} (in the first {self.bytes_in} bytes)",
            remedy="Restore this file from a copy; while the tifs exist, move it away instead and archive them again",
        )


def _opened(path: Path) -> BinaryIO:
    try:
        return open_plain(path)
    except FileNotFoundError as error:
        raise MissingInputError.at(
            path, expected="an archive", found="no such file", remedy="Archive the session first"
        ) from error
    except OSError as error:
        raise ArchiveError.at(
            path,
            expected="a readable file",
            found=str(error.strerror),
            remedy="Restore this file from a copy, to another disk if this one fails",
        ) from error
