"""The blocks inside a bzip2 stream, so that archives made by ``tar -cj`` are decoded on all cores too.

What belongs here: finding blocks at any bit of a stream, and decoding one by itself. A block begins with a mark of 48
bits and is independent of the others; wrapped into a stream of its own, Python's :mod:`bz2` decodes it and checks its
CRC. The marks may turn up by chance inside a block (once in some 20 TB): a piece that does not decode is joined with
the next one.
"""

from __future__ import annotations

import bz2
from collections.abc import Generator, Iterator
from dataclasses import dataclass

_BLOCK, _END = 0x314159265359, 0x177245385090
_MARK_BITS, _CRC_BITS = 48, 32
#: A block of 900 kB cannot be coded in more bytes than this.
_LONGEST_BLOCK = 4_000_000
#: Bytes searched at a time: a block is often found in what was read with the one before.
_SCAN_BYTES = 1 << 17


@dataclass(frozen=True, slots=True)
class Block:
    """Bits of a block, from its mark to the next one."""

    data: bytes
    #: Bits of the first byte that do not belong to it.
    skip: int
    n_bits: int
    #: Digit of the stream's header.
    level: bytes

    @property
    def bits(self) -> int:
        """The block as one number."""
        right = 8 * len(self.data) - self.skip - self.n_bits
        return (int.from_bytes(self.data, "big") >> right) & ((1 << self.n_bits) - 1)

    def joined(self, other: Block) -> Block:
        """Both blocks as one, where the mark between them was there by chance."""
        n_bits = self.n_bits + other.n_bits
        bits = (self.bits << other.n_bits) | other.bits
        return Block((bits << (-n_bits % 8)).to_bytes(-(-n_bits // 8), "big"), 0, n_bits, self.level)

    @property
    def crc(self) -> int:
        """CRC of the block's bytes, as it claims."""
        return (self.bits >> (self.n_bits - _MARK_BITS - _CRC_BITS)) & 0xFFFFFFFF

    def decoded(self, largest: int = -1) -> bytes | None:
        """Decode the block; None if it becomes more than ``largest`` bytes.

        Raises
        ------
        OSError, EOFError
            If it is not whole and valid.
        """
        decoder = bz2.BZ2Decompressor()
        data = decoder.decompress(self._stream(), largest)
        if not decoder.eof and not decoder.needs_input:
            return None
        if not decoder.eof or decoder.unused_data:
            raise EOFError("a block that breaks off")
        return data

    def portions(self, size: int) -> Iterator[bytes]:
        """Decode the block ``size`` bytes at a time; what came before an error is of no use."""
        decoder, packed = bz2.BZ2Decompressor(), self._stream()
        while not decoder.eof:
            portion = decoder.decompress(packed, size)
            packed = b""
            yield portion
            if not portion and decoder.needs_input:
                raise EOFError("a block that breaks off")

    def _stream(self) -> bytes:
        """Wrap the block into a stream of its own."""
        bits, n_bits = self.bits, self.n_bits
        stream = (((int.from_bytes(b"BZh" + self.level, "big") << n_bits | bits) << _MARK_BITS | _END) << 32) | self.crc
        total = 32 + n_bits + _MARK_BITS + _CRC_BITS
        return (stream << (-total % 8)).to_bytes(-(-total // 8), "big")


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """End of a stream, with the CRC over those of its blocks."""

    crc: int

    @staticmethod
    def combine(crc: int, block_crc: int) -> int:
        """Take the CRC of one more block into that of the stream."""
        return ((crc << 1 | crc >> 31) & 0xFFFFFFFF) ^ block_crc


def split_blocks(parts: Iterator[bytes]) -> Generator[Block | StreamEnd, None, None]:
    """Cut a bzip2 file into its blocks.

    Raises
    ------
    EOFError, ValueError
        If it is not a sequence of whole streams.
    """
    bits = _Bits(parts)
    while bits.have(4):
        header = bits.data[:4]
        if header[:3] != b"BZh" or not b"1" <= header[3:] <= b"9":
            raise ValueError("something else than bzip2 after a stream")
        bits.drop(32)
        while not bits.at_end():
            if bits.peek(_MARK_BITS) != _BLOCK:
                raise ValueError("neither a block nor the end of a stream")
            n_bits = bits.next_mark()
            yield Block(bits.data[: -(-(bits.first + n_bits) // 8)], bits.first, n_bits, header[3:])
            bits.drop(n_bits)
        crc = bits.peek(_MARK_BITS + _CRC_BITS) & 0xFFFFFFFF
        bits.drop(_MARK_BITS + _CRC_BITS)
        bits.drop(-bits.first % 8)
        yield StreamEnd(crc)
    if bits.data:
        raise ValueError("a few bytes after the last stream")


class _Bits:
    """What was read and not yet used, as bytes, and the bit at which it begins."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self.data = b""
        self.first = 0

    def have(self, n_bytes: int) -> bool:
        """Read until there are so many bytes; False at the end of the file."""
        while len(self.data) < n_bytes:
            part = next(self._parts, b"")
            if not part:
                return False
            self.data += part
        return True

    def drop(self, n_bits: int) -> None:
        n_bytes, self.first = divmod(self.first + n_bits, 8)
        self.data = self.data[n_bytes:]

    def peek(self, n_bits: int, at: int = 0) -> int:
        """Bits from ``at`` on, as a number; zeros behind the end."""
        start, skip = divmod(self.first + at, 8)
        n_bytes = -(-(skip + n_bits) // 8)
        value = int.from_bytes(self.data[start : start + n_bytes].ljust(n_bytes, b"\0"), "big")
        return (value >> (8 * n_bytes - skip - n_bits)) & ((1 << n_bits) - 1)

    def at_end(self, at: int = 0) -> bool:
        """Whether the end of a stream is there: its mark, zeros up to a byte, and a new stream or nothing."""
        after = self.first + at + _MARK_BITS + _CRC_BITS
        fill = -after % 8
        self.have((after + fill) // 8 + 4)
        start = (after + fill) // 8
        if len(self.data) < start:
            raise EOFError("a stream that breaks off")
        follows = self.data[start : start + 3]
        return (
            self.peek(_MARK_BITS, at) == _END
            and self.peek(fill, at + _MARK_BITS + _CRC_BITS) == 0
            and (follows == b"BZh" or not self.data[start:])
        )

    def next_mark(self) -> int:
        """Bits from here to the next mark of a block or the end of the stream."""
        scanned = 1  # bytes; a mark cannot be that near
        while True:
            stop = min(len(self.data), scanned + _SCAN_BYTES)
            for at in self._marks(scanned, stop):
                if self.peek(_MARK_BITS, at) == _BLOCK or self.at_end(at):
                    return at
            if scanned > _LONGEST_BLOCK:
                raise ValueError("a block longer than any")
            # more is read only when all that is held was searched, so that memory stays flat
            if stop == len(self.data) and not self.have(stop + 1):
                raise EOFError("a stream that breaks off")
            scanned = max(1, stop - 8)

    def _marks(self, start: int, stop: int) -> list[int]:
        """Bits, from here, of what looks like a mark; found by its whole bytes at each of the eight shifts."""
        found = []
        for mark in (_BLOCK, _END):
            for shift in range(8):
                whole = (mark << (8 - shift)).to_bytes(7, "big")[1:6] if shift else mark.to_bytes(6, "big")
                lead = 1 if shift else 0
                position = self.data.find(whole, start, stop)
                while position >= 0:
                    at = 8 * (position - lead) + shift - self.first
                    if at >= _MARK_BITS and self.peek(_MARK_BITS, at) == mark:
                        found.append(at)
                    position = self.data.find(whole, position + 1, stop)
        return sorted(found)
