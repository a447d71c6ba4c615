"""A file on a server that is read here and there: of a tif its headers, not its pixels.

What belongs here: blocks that are kept, and ranges that are asked for together. What does not: what the bytes mean.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ....session import ListedFile
from ..servers.filesystem import RemoteRoot
from ..servers.reading import changed_since, missing, must_have, read_ranges

#: Bytes of a block. Ranges with fewer bytes between them are fetched as one: that costs less than another request.
_BLOCK = 1 << 16
#: How many blocks are kept, and most bytes of one request, and of those that run at a time.
_KEPT, _PIECE, _AT_A_TIME = 64, 1 << 22, 1 << 25
#: How many places are looked at, and how many bytes of each, to learn whether the rest of a file is zeros.
_PLACES, _LOOK = 256, 1 << 12


class RangedFile:
    """A file on a server as it was listed, which is read where somebody asks.

    Attributes
    ----------
    n_fetched : int
        Bytes that came over the network.
    """

    def __init__(self, root: RemoteRoot, path: str, file: ListedFile) -> None:
        self.n_fetched = 0
        self._root, self._path, self._file = root, path, file
        self._position = 0
        #: Number of a block → its bytes, in the order in which they were asked for last.
        self._blocks: dict[int, bytes] = {}

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place, from the start, from here or from the end; returns it."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size}[whence]
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes; fewer where the file ends before.

        Raises
        ------
        StorageError
            If the server does not give them, or the file is not the one that was listed.
        """
        start = self._position
        stop = self._file.size if size < 0 else min(start + size, self._file.size)
        if stop <= start:
            return b""
        self._position = stop
        if stop - start > _PIECE:
            return b"".join(self._fetched(_cut(start, stop)))
        first, last = start // _BLOCK, (stop - 1) // _BLOCK
        whole = b"".join(self._kept(range(first, last + 1)))
        return whole[start - first * _BLOCK : stop - first * _BLOCK]

    def readinto(self, buffer: memoryview, /) -> int:
        """Put the next bytes into a buffer; returns how many."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def read_evenly(self, start: int, stride: int, n: int, width: int) -> bytes:
        """Return ``n`` ranges of ``width`` bytes, ``stride`` bytes from one to the next, one behind the other.

        They are asked for together: a request takes the same time for one range as many at once do.
        """
        together = max(1, (_PIECE - width) // stride + 1) if stride - width < _BLOCK else 1
        groups = [(first, min(together, n - first)) for first in range(0, n, together)]
        ranges = [(start + first * stride, (count - 1) * stride + width) for first, count in groups]
        pieces = zip(self._fetched(ranges), groups, strict=True)
        return b"".join(piece[i * stride : i * stride + width] for piece, (_, count) in pieces for i in range(count))

    def zeros_from(self, start: int) -> int:
        """Tell how many bytes at the end of the file, behind ``start``, are zeros, as far as some of them show."""
        step = max((self._file.size - start) // _PLACES, _LOOK)
        places = [(at, min(_LOOK, self._file.size - at)) for at in range(start, self._file.size, step)]
        found = [at for (at, _), piece in zip(places, self._fetched(places), strict=True) if any(piece)]
        return max(0, self._file.size - (found[-1] + step if found else start))

    def _kept(self, numbers: range) -> list[bytes]:
        """Return blocks, those that are not here fetched together."""
        absent = [number for number in numbers if number not in self._blocks]
        ranges = [(number * _BLOCK, min(_BLOCK, self._file.size - number * _BLOCK)) for number in absent]
        new = dict(zip(absent, self._fetched(ranges), strict=True))
        asked = {number: new.get(number) or self._blocks.pop(number) for number in numbers}
        kept = {**self._blocks, **asked}
        self._blocks = dict(list(kept.items())[-_KEPT:])
        return list(asked.values())

    def _fetched(self, ranges: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Yield ranges (start, length) in order."""
        at_once = max(1, _AT_A_TIME // max((length for _, length in ranges), default=1))
        for first in range(0, len(ranges), at_once):
            some = ranges[first : first + at_once]
            try:
                found = read_ranges(self._root, self._path, some)
            except FileNotFoundError:  # it was there when it was listed
                raise missing(self._root, self._path) from None
            for piece, (start, length) in zip(found, some, strict=True):
                if len(piece) != length:
                    raise changed_since(self._root, self._path, self._file.size, start + len(piece))
                self.n_fetched += length
                yield piece


@contextmanager
def ranged(root: RemoteRoot, path: str, file: ListedFile) -> Iterator[RangedFile]:
    """Open a file of a root as it was listed, to be read here and there.

    Raises
    ------
    StorageError
        At the end, if it is not the one that was listed any more: what was read may be of two files.
    """
    yield RangedFile(root, path, file)
    seen = must_have(root, path)
    if (seen.size, seen.mtime_ns) != (file.size, file.mtime_ns):
        raise changed_since(root, path, file.size, seen.size)


def _cut(start: int, stop: int) -> list[tuple[int, int]]:
    return [(at, min(_PIECE, stop - at)) for at in range(start, stop, _PIECE)]
