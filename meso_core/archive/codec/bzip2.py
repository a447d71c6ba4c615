"""bzip2 in threads: streams are written side by side, and read side by side.

What belongs here: bytes in, bytes out, and the bzip2 format. What the bytes are (a tar, tifs) is not known here.

A bzip2 file may hold several streams, and every bzip2 program reads them as one. So the input is cut at fixed places
and each piece becomes a stream of one block. The result depends on the input alone, not on the number of workers.
Python's :mod:`bz2` releases the interpreter lock, so threads are enough.

A single long stream, as ``tar -cj`` makes, is read on one core here, at 23 MB/s; lbzip2 reads it on all cores (50 MB/s
on two). ``indexed_bzip2`` 1.7.0 does so without a program, but it reads damaged files without an error: of 1890 files
with a flipped bit, a cut or a tail, 404 gave other bytes than were packed in its parallel mode, 62 in its serial mode.
"""

from __future__ import annotations

import bz2
import re
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from ...machine import cores_at_hand
from ...storage.files.atomic import HashedFile
from .reader import ForwardReader

#: Blocks of 300 kB stay in a core's cache: on noisy images they unpack 1.4 times as fast as those of 900 kB, which
#: `tar -cj` makes, pack 1.1 times as fast, and are 0.2 % larger.
LEVEL = 3
#: Input bytes per stream: one block, with room for what run-length coding may add.
STREAM_BYTES = 297_000

_STREAM_START = re.compile(rb"BZh[1-9]1AY&SY")
_READ_BYTES = 1 << 20
#: A piece longer than this holds many blocks: it is part of a long stream.
_LONGEST_PIECE = 4_000_000
#: Bytes that a stream may become ahead of its turn; images stay far below. A larger one is decoded when its turn comes,
#: so that more workers do not hold more of a bomb.
_LARGEST_STREAM = 8_000_000


class Bzip2Writer:
    """File-like writer that compresses on several cores.

    Parameters
    ----------
    file
        File to append to; it stays open.
    workers
        Threads that compress; by default all cores.
    """

    def __init__(self, file: HashedFile | BinaryIO, *, workers: int | None = None) -> None:
        self._file = file
        self._workers = workers or cores_at_hand()
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="bzip2")
        self._pending: deque[Future[bytes]] = deque()
        self._piece = bytearray()
        #: Bytes taken so far.
        self.bytes_in = 0
        #: Compressed bytes written so far.
        self.bytes_out = 0

    @property
    def ratio(self) -> float:
        """Compressed size as a share of what was taken, for the pieces that are written."""
        taken = self.bytes_in - len(self._piece) - STREAM_BYTES * len(self._pending)
        return self.bytes_out / taken if taken > 0 else float("nan")

    def write(self, data: bytes | memoryview) -> None:
        """Take bytes; blocks while too many pieces wait, so memory stays flat."""
        self.bytes_in += len(data)
        view = memoryview(data)
        while len(view):
            room = STREAM_BYTES - len(self._piece)
            self._piece += view[:room]
            view = view[room:]
            if len(self._piece) == STREAM_BYTES:
                self._submit()

    def finish(self) -> None:
        """Write what is left."""
        if self._piece or self.bytes_in == 0:
            self._submit()
        while self._pending:
            self._write_oldest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self) -> None:
        piece, self._piece = self._piece, bytearray()
        while len(self._pending) >= 2 * self._workers:
            self._write_oldest()
        self._pending.append(self._pool.submit(bz2.compress, piece, LEVEL))

    def _write_oldest(self) -> None:
        stream = self._pending.popleft().result()
        self._file.write(stream)
        self.bytes_out += len(stream)


class Bzip2Reader(ForwardReader):
    """Forward-only, file-like reader that decompresses streams on several cores.

    Parameters
    ----------
    path
        A bzip2 file of one or many streams.
    workers
        Threads that decompress; by default all cores.
    hashed
        Whether to hash the compressed bytes too.

    Raises
    ------
    MissingInputError, ArchiveError
        See :class:`~meso_core.archive.codec.reader.ForwardReader`.
    """

    def __init__(self, path: Path, *, workers: int | None = None, hashed: bool = False) -> None:
        super().__init__(path, hashed=hashed)
        self._workers = workers or cores_at_hand()
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="bunzip2")

    def close(self) -> None:
        """Stop the workers and close the file."""
        self._decoded.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        super().close()

    def _decode_all(self) -> Generator[bytes, None, None]:
        """Yield decoded bytes in order; streams are decoded ahead, as many as there are workers and one more."""
        ahead: deque[tuple[bytes, Future[bytes | None]]] = deque()
        try:
            for piece in self._pieces(self._compressed(_READ_BYTES)):
                if isinstance(piece, bytes):
                    ahead.append((piece, self._pool.submit(_decode_stream, piece)))
                while ahead and (len(ahead) > self._workers or not isinstance(piece, bytes)):
                    yield from _decoded(*ahead.popleft())
                if not isinstance(piece, bytes):
                    yield from _decode_in_portions(piece)
            while ahead:
                yield from _decoded(*ahead.popleft())
        except (OSError, EOFError) as error:
            raise self._damaged(str(error)) from error

    def _pieces(self, parts: Iterator[bytes]) -> Iterator[bytes | Iterator[bytes]]:
        """Cut the file where a stream starts; from a long stream on, give the rest as an iterator of its parts."""
        held = b""
        for part in parts:
            held += part
            starts = [m.start() for m in _STREAM_START.finditer(held)]
            if not starts or starts[0] != 0:  # an empty stream, or no bzip2
                yield chain([held], parts)
                return
            for begin, end in pairwise(starts):
                yield held[begin:end]
            held = held[starts[-1] :]
            if len(held) > _LONGEST_PIECE:
                yield chain([held], parts)
                return
        if held:
            yield held
        elif self.bytes_in == 0:
            raise EOFError("an empty file")


def _decode_stream(piece: bytes) -> bytes | None:
    """Decode one whole stream; None if it becomes too large for one go, or is more than one stream."""
    decoder = bz2.BZ2Decompressor()
    data = decoder.decompress(piece, _LARGEST_STREAM)
    if decoder.unused_data or not (decoder.eof or decoder.needs_input):
        return None
    if not decoder.eof:
        raise EOFError("a stream that ends too early")
    return data


def _decoded(piece: bytes, job: Future[bytes | None]) -> Iterator[bytes]:
    """Wait for a stream; one that is too large is decoded now, in portions, so that memory stays flat."""
    data = job.result()
    yield from _decode_in_portions([piece]) if data is None else [data]


def _decode_in_portions(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Decode streams one after the other, a portion at a time."""
    decoder = bz2.BZ2Decompressor()
    fresh = True
    for part in parts:
        while part or not (fresh or decoder.needs_input):
            yield decoder.decompress(part, _LARGEST_STREAM)
            part, fresh = b"", False
            if decoder.eof:
                part, decoder, fresh = decoder.unused_data, bz2.BZ2Decompressor(), True
    if not fresh:
        raise EOFError("a stream that ends too early")
