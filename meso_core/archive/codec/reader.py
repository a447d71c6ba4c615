"""What every reader of a bzip2 file shares: opening it, handing out decoded bytes, and what is said of a damaged one.

What belongs here: the file-like side. Who decodes is in ``bzip2`` (threads of this process) and in ``external`` (the
program lbzip2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from ...errors import ArchiveError, MesoError, MissingInputError, problem
from ..untrusted import open_plain

#: bzip2 packs a 900 kB block of one value into about 45 bytes: nothing unpacks to more than this times its size.
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

    Raises
    ------
    MissingInputError
        If there is no such file.
    ArchiveError
        If it cannot be opened; while reading, if the bytes are not whole and valid bzip2 to the very end. Bytes that
        came before such an error are of no use: whoever takes them publishes nothing until the end was reached.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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

    def _fill(self) -> bool:
        """Have bytes in the buffer; False at the end. What failed once fails again: it is no end."""
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
        return ArchiveError(
            problem(
                self._path,
                expected="whole and valid bzip2 data",
                found=f"{what} (in the first {self.bytes_in} bytes)",
                remedy="Restore this file from a copy, or archive the tifs again while they exist",
            )
        )


def _opened(path: Path) -> BinaryIO:
    try:
        return open_plain(path)
    except FileNotFoundError as error:
        raise MissingInputError(
            problem(path, expected="an archive", found="no such file", remedy="Archive the session first")
        ) from error
    except OSError as error:
        raise ArchiveError(
            problem(path, expected="a readable file", found=str(error.strerror), remedy="Check rights and the disk")
        ) from error
