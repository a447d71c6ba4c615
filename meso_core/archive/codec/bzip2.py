"""bzip2 on all cores: writing streams side by side, reading them back side by side.

What belongs here: bytes in, bytes out, and the integrity of the bzip2 format. What the bytes are (a tar, tifs) is not
known here.

A bzip2 file may hold several streams one after the other; every bzip2 reads them as one. So the input is cut at fixed
places, each piece becomes a stream of one block, and the pieces are independent: the result depends on the input
alone, not on the number of workers. Python's :mod:`bz2` releases the interpreter lock, so threads suffice.
"""

from __future__ import annotations

import bz2
import hashlib
import os
import re
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from .bzip2_blocks import Block, StreamEnd, split_blocks
from .reader import ForwardReader

#: Blocks of 300 kB stay in a core's cache: on noisy images they unpack 1.4 times as fast as those of 900 kB, which
#: `tar -cj` makes, pack 1.1 times as fast, and are 0.2 % larger.
LEVEL = 3
#: Input bytes per stream: one block, with room for what run-length coding may add.
STREAM_BYTES = 297_000

_STREAM_START = re.compile(rb"BZh[1-9]1AY&SY")
_END_MAGIC = 0x177245385090
_READ_BYTES = 1 << 20
#: A piece longer than this holds many blocks: it is of a bzip2 that makes a single stream.
_LONGEST_PIECE = 4_000_000
#: Bytes that a stream or a block may become ahead of its turn: images stay far below. A block of one value, 46 MB, is
#: decoded when its turn comes, portion by portion, so that more workers do not hold more of a bomb.
_LARGEST_STREAM = 8_000_000


def default_workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Bzip2Writer:
    """File-like writer that compresses on several cores and hashes what it writes.

    Parameters
    ----------
    file
        Binary file to append to; it stays open.
    workers
        Threads that compress; by default all cores.
    """

    def __init__(self, file: BinaryIO, *, workers: int | None = None) -> None:
        self._file = file
        self._workers = workers or default_workers()
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="bzip2")
        self._pending: deque[Future[bytes]] = deque()
        self._piece = bytearray()
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
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

    def finish(self) -> tuple[str, str]:
        """Write what is left; returns the sha-256 and the md5 of the compressed bytes."""
        if self._piece or self.bytes_in == 0:
            self._submit()
        while self._pending:
            self._write_oldest()
        return self._sha256.hexdigest(), self._md5.hexdigest()

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
        self._sha256.update(stream)
        self._md5.update(stream)
        self.bytes_out += len(stream)


class Bzip2Reader(ForwardReader):
    """Forward-only, file-like reader that decompresses on several cores and checks every bit of the file.

    Parameters
    ----------
    path
        A bzip2 file of one or many streams.
    workers
        Threads that decompress; by default all cores.
    hashed
        Whether to hash the compressed bytes too, for :attr:`sha256` and :attr:`md5`.

    Raises
    ------
    MissingInputError, ArchiveError
        See :class:`~meso_core.archive.codec.reader.ForwardReader`.
    """

    def __init__(self, path: Path, *, workers: int | None = None, hashed: bool = False) -> None:
        super().__init__(path)
        self._hashed = hashed
        self._workers = workers or default_workers()
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="bunzip2")
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    @property
    def sha256(self) -> str:
        """Hash of the compressed bytes read so far; of the whole file once :meth:`read` has returned nothing."""
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str:
        """As :attr:`sha256`."""
        return self._md5.hexdigest()

    def close(self) -> None:
        """Stop the workers and close the file."""
        self._decoded.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        super().close()

    def _compressed(self) -> Iterator[bytes]:
        while data := self._file.read(_READ_BYTES):
            self.bytes_in += len(data)
            if self._hashed:
                self._sha256.update(data)
                self._md5.update(data)
            yield data

    def _decode_all(self) -> Generator[bytes, None, None]:
        """Yield decoded bytes in order; pieces are decoded ahead, as many as there are workers and one more."""
        ahead: deque[tuple[bytes, Future[bytes | None]]] = deque()
        try:
            for piece in self._pieces(self._compressed()):
                if isinstance(piece, bytes):
                    ahead.append((piece, self._pool.submit(_decode_stream, piece)))
                    if len(ahead) > self._workers:
                        yield from self._decoded_stream(*ahead.popleft())
                else:
                    while ahead:
                        yield from self._decoded_stream(*ahead.popleft())
                    yield from self._decode_blocks(piece)
            while ahead:
                yield from self._decoded_stream(*ahead.popleft())
        except (OSError, EOFError, ValueError) as error:
            raise self._damaged(str(error)) from error

    def _decoded_stream(self, piece: bytes, job: Future[bytes | None]) -> Iterator[bytes]:
        data = job.result()
        if data is None:  # a few bytes that become very many: block by block, so that memory stays flat
            yield from self._decode_blocks(iter([piece]))
        else:
            yield data

    def _decode_blocks(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """Decode streams of many blocks, the blocks side by side."""
        ahead: deque[tuple[Block | StreamEnd, Future[bytes | None] | None]] = deque()
        waiting, crc = split_blocks(parts), 0
        while True:
            while len(ahead) <= self._workers and (found := next(waiting, None)) is not None:
                job = self._pool.submit(found.decoded, _LARGEST_STREAM) if isinstance(found, Block) else None
                ahead.append((found, job))
            if not ahead:
                return
            piece, job = ahead.popleft()
            if isinstance(piece, StreamEnd):
                if piece.crc != crc:
                    raise ValueError("a stream with a wrong checksum")
                crc = 0
            elif job is not None:
                block, data = _decoded(piece, job, ahead)
                crc = StreamEnd.combine(crc, block.crc)
                yield from block.portions(_LARGEST_STREAM) if data is None else [data]

    def _pieces(self, blocks: Iterator[bytes]) -> Iterator[bytes | Iterator[bytes]]:
        """Cut the file where a stream starts; a piece that grows too long is given as an iterator of its parts."""
        held = b""
        for block in blocks:
            held += block
            starts = [m.start() for m in _STREAM_START.finditer(held)]
            if not starts or starts[0] != 0:  # an empty stream, or no bzip2
                yield chain([held], blocks)
                return
            for begin, end in pairwise(starts):
                yield held[begin:end]
            held = held[starts[-1] :]
            if len(held) > _LONGEST_PIECE:
                yield chain([held], blocks)
                return
        if held:
            yield held
        elif self.bytes_in == 0:
            raise EOFError("an empty file")


def _decode_stream(piece: bytes) -> bytes | None:
    """Decode one whole stream and insist that nothing but it is there; None if it is too large for one go."""
    decoder = bz2.BZ2Decompressor()
    data = decoder.decompress(piece, _LARGEST_STREAM)
    if (not decoder.eof and not decoder.needs_input) or decoder.unused_data:
        return None
    if not decoder.eof:
        raise EOFError("a stream that breaks off")
    _check_padding(piece)
    return data


def _decoded(
    block: Block,
    job: Future[bytes | None],
    ahead: deque[tuple[Block | StreamEnd, Future[bytes | None] | None]],
) -> tuple[Block, bytes | None]:
    """Wait for a block; where it was cut at a mark that is none, decode it together with the next piece."""
    try:
        return block, job.result()
    except (OSError, EOFError):
        if not ahead or not isinstance(ahead[0][0], Block):
            raise
        whole = block.joined(ahead[0][0])
        data = whole.decoded(_LARGEST_STREAM)
        ahead.popleft()
        return whole, data


def _check_padding(stream: bytes) -> None:
    """Insist on zeros in the bits that fill a stream's last byte: the only bits that no checksum covers."""
    end = int.from_bytes(stream[-11:], "big")
    for padding in range(8):
        if (end >> (padding + 32)) & ((1 << 48) - 1) == _END_MAGIC and end & ((1 << padding) - 1) == 0:
            return
    raise ValueError("a stream whose last byte is not as bzip2 writes it")
