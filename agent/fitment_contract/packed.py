"""The encoding `packed-1`: a file of which the numbers are taken out and written more shortly.

What is left of the file is its skeleton. Each hole in the skeleton is a region: a run of elements
of the same width, as a model's weights are. Where one element, mostly zero, is more frequent than
all others together, a mask says where the others are. These are written in one of two ways:

- *table*: the distinct elements, and for every element its place in the table. This is the sharing
  of weights of Han, Mao and Dally, "Deep Compression" (2016).
- *planes*: the first bytes of all elements, then all second bytes, and so on.

What is written goes through LZMA's range coder, bytes of one kind after each other in one stream.
Decoding gives the very bytes that were encoded, needs the standard library alone, holds a small
part of the file at a time, and never gives a byte more than it was told to expect.

    file        "packed-1", number(size of the result), number(streams),
                per stream number(method) number(coded length), then the streams themselves
    method      0: bytes as they are; else 1 + LZMA's property byte, (pb * 5 + lp) * 9 + lc
    stream 0    the directions; stream 1 is the skeleton; the others hold what regions name
    directions  number(bytes of skeleton), then a region, again and again, up to the size
    region      byte(width), number(elements), cells(mask), the masked element if there is a mask,
                byte(way), then
      way 0     per plane byte(stream)
      way 1     byte(entries - 1), the table plane by plane, cells(places)
    cells       byte(kind), and unless that is 0: byte(stream), number(bytes taken from it)
    number      unsigned LEB128

Cells of kind 1, 2, 4 and 8 have that many bits, the first cell in the highest. Kind 3 is a mask of
gaps: byte n below 255 stands for n times 0 and one 1; byte 255 for 255 times 0. Where a mask is 0,
the masked element is. Places of kind 0 are all 0.
"""

from __future__ import annotations

import lzma
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from functools import cache
from itertools import compress
from typing import BinaryIO, Final

from fitment_contract.artifact import PACKED
from fitment_contract.errors import ContractError

MAGIC: Final = PACKED.encode()
WIDTHS: Final = (1, 2, 4)
"""Bytes per element of a region."""
MAX_STREAMS: Final = 32
GAPS: Final = 3
"""The kind of cells that holds a mask as the distances between its ones."""
DIRECTIONS, SKELETON = 0, 1
"""The streams that every file has."""
PLANES, TABLE = 0, 1
"""The ways to write a region."""

_STORED: Final = 0
_DICTIONARY_BYTES: Final = 1 << 18
_BLOCK: Final = 1 << 16
_GAP_BYTES: Final = 1 << 10
_MAX_NUMBER_BYTES: Final = 8


class PackedError(ContractError):
    """These bytes are no `packed-1` file of the announced size."""

    reason = "packed"


def lzma_filter(properties: int) -> dict[str, int]:
    """The settings of LZMA's raw coder that a property byte stands for."""
    rest, literal_context = divmod(properties, 9)
    position, literal_position = divmod(rest, 5)
    return {
        "id": lzma.FILTER_LZMA1,
        "dict_size": _DICTIONARY_BYTES,
        "lc": literal_context,
        "lp": literal_position,
        "pb": position,
    }


@cache
def expansion(kind: int) -> tuple[bytes, ...]:
    """What each of the 256 bytes stands for in cells of this kind, one byte per cell.

    Args:
        kind: 1, 2, 4, 8 or `GAPS`.
    """
    if kind == GAPS:
        return (*(bytes(gap) + b"\1" for gap in range(255)), bytes(255))
    shifts, largest = range(8 - kind, -1, -kind), (1 << kind) - 1
    return tuple(bytes(byte >> shift & largest for shift in shifts) for byte in range(256))


def decode(file: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """The original bytes, piece by piece.

    Args:
        file: holds the encoded bytes; can seek.
        size_bytes: the length of the original, from who is trusted to know it.

    Raises:
        PackedError: malformed, or of another size; the pieces so far are worth nothing.
    """
    streams = _streams(file, size_bytes)
    directions, skeleton = streams[DIRECTIONS], streams[SKELETON]
    left = size_bytes
    while left:
        plain = directions.number()
        if plain > left:
            raise PackedError("more skeleton than the file has bytes")
        left -= plain
        yield from skeleton.pieces(plain)
        if left:
            region = _Region(streams)
            left -= region.width * region.count
            if left < 0:
                raise PackedError("more elements than the file has bytes")
            yield from region.pieces()


class _Reader(ABC):
    """Bytes in order, an exact number at a time."""

    @abstractmethod
    def read(self, size: int) -> bytes:
        """The next `size` bytes."""

    def byte(self) -> int:
        return self.read(1)[0]

    def number(self) -> int:
        value = 0
        for place in range(_MAX_NUMBER_BYTES):
            byte = self.byte()
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return value
        raise PackedError("a number has no end")

    def pieces(self, size: int) -> Iterator[bytes]:
        """`size` bytes, a block at a time."""
        for start in range(0, size, _BLOCK):
            yield self.read(min(_BLOCK, size - start))


class _Part(_Reader):
    """A part of a file that others read as well."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file = file
        self.position = start
        self._end = start + size

    def read(self, size: int) -> bytes:
        if self._end - self.position < size:
            raise PackedError("a stream ends early")
        return self.some(size)

    def some(self, size: int) -> bytes:
        """Up to `size` bytes, nothing at the end of the part.

        Raises:
            PackedError: the file itself is shorter than its part.
        """
        wanted = min(size, self._end - self.position)
        self._file.seek(self.position)
        data = self._file.read(wanted)
        if len(data) < wanted:
            raise PackedError("the file ends early")
        self.position += wanted
        return data


class _Coded(_Reader):
    """A part that is coded with LZMA."""

    def __init__(self, part: _Part, properties: int) -> None:
        self._part = part
        self._properties = properties
        self._decoder: lzma.LZMADecompressor | None = None

    def read(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size:
            try:
                piece = self._more(size)
            except (lzma.LZMAError, ValueError) as error:
                raise PackedError(f"a stream is damaged: {error}") from None
            parts.append(piece)
            size -= len(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _more(self, size: int) -> bytes:
        if self._decoder is None:
            settings = lzma_filter(self._properties)
            self._decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[settings])
        while not self._decoder.eof:
            coded = self._part.some(_BLOCK) if self._decoder.needs_input else b""
            starved = self._decoder.needs_input and not coded
            piece = self._decoder.decompress(coded, max_length=size)
            if piece:
                return piece
            if starved:
                break
        raise PackedError("a stream ends early")


def _streams(file: BinaryIO, size_bytes: int) -> list[_Reader]:
    header = _Part(file, 0, file.seek(0, 2))
    if header.some(len(MAGIC)) != MAGIC:
        raise PackedError(f"not a {PACKED} file")
    announced = header.number()
    if announced != size_bytes:
        raise PackedError(f"{announced} bytes are packed, {size_bytes} are expected")
    count = header.number()
    if not SKELETON < count <= MAX_STREAMS:
        raise PackedError(f"{count} streams; there are 2 to {MAX_STREAMS}")
    described = [(header.number(), header.number()) for _ in range(count)]
    start = header.position
    streams: list[_Reader] = []
    for method, length in described:
        part = _Part(file, start, length)
        streams.append(part if method == _STORED else _Coded(part, method - 1))
        start += length
    return streams


class _Cells:
    """Numbers below 256, several in a byte of a stream or one for a run of bytes."""

    def __init__(self, streams: list[_Reader]) -> None:
        directions = streams[DIRECTIONS]
        self.kind = directions.byte()
        self._spare = b""
        self._left = 0
        if not self.kind:
            return
        if self.kind not in (1, 2, GAPS, 4, 8):
            raise PackedError(f"there are no cells of kind {self.kind}")
        self._stream = _named(streams)
        self._left = directions.number()

    def read(self, count: int) -> bytes:
        if not self.kind:
            return bytes(count)
        parts = [self._spare]
        have = len(self._spare)
        while have < count:
            coded = self._stream.read(min(self._left, self._bytes_for(count - have)))
            if not coded:
                raise PackedError("a region has fewer cells than elements")
            self._left -= len(coded)
            parts.append(b"".join(map(expansion(self.kind).__getitem__, coded)))
            have += len(parts[-1])
        cells = b"".join(parts)
        self._spare = cells[count:]
        return cells[:count]

    def _bytes_for(self, count: int) -> int:
        """Bytes that hold `count` cells, or a few of them."""
        return _GAP_BYTES if self.kind == GAPS else -(-count * self.kind // 8)

    def finish(self) -> None:
        """What is left over would shift what the next region reads from the stream."""
        if self._left:
            raise PackedError("a region has more cells than elements")


class _Region:
    """A run of elements of one width."""

    def __init__(self, streams: list[_Reader]) -> None:
        directions = streams[DIRECTIONS]
        self.width = directions.byte()
        self.count = directions.number()
        if self.width not in WIDTHS or not self.count:
            raise PackedError(f"a region of {self.count} elements of {self.width} bytes")
        self._mask = _Cells(streams)
        self._masked = directions.read(self.width) if self._mask.kind else b""
        self._values = _values(streams, self.width)

    def pieces(self) -> Iterator[bytes]:
        for start in range(0, self.count, _BLOCK):
            yield self._block(min(_BLOCK, self.count - start))
        self._mask.finish()
        self._values.finish()

    def _block(self, count: int) -> bytes:
        if not self._mask.kind:
            block = bytearray(count * self.width)
            for place, plane in enumerate(self._values.planes(count)):
                block[place :: self.width] = plane
            return bytes(block)
        block = bytearray(self._masked * count)
        mask = self._mask.read(count)
        unmasked = count - mask.count(0)
        for place, plane in enumerate(self._values.planes(unmasked)):
            positions = compress(range(place, len(block), self.width), mask)
            deque(map(block.__setitem__, positions, plane), maxlen=0)  # a loop at C's speed
        return bytes(block)


class _Planes:
    """Elements byte by byte."""

    def __init__(self, streams: list[_Reader], width: int) -> None:
        self._streams = [_named(streams) for _ in range(width)]

    def planes(self, count: int) -> Iterator[bytes]:
        yield from (stream.read(count) for stream in self._streams)

    def finish(self) -> None:
        """Planes have no end of their own."""


class _Table:
    """Elements by their places in a table."""

    def __init__(self, streams: list[_Reader], width: int) -> None:
        directions = streams[DIRECTIONS]
        entries = directions.byte() + 1
        self._places_in_use = bytes(range(entries))
        self._columns = [directions.read(entries).ljust(256, b"\0") for _ in range(width)]
        self._places = _Cells(streams)

    def planes(self, count: int) -> Iterator[bytes]:
        places = self._places.read(count)
        if places.translate(None, self._places_in_use):
            raise PackedError("an element has a place beyond its table")
        yield from (places.translate(column) for column in self._columns)

    def finish(self) -> None:
        self._places.finish()


def _values(streams: list[_Reader], width: int) -> _Planes | _Table:
    way = streams[DIRECTIONS].byte()
    if way == PLANES:
        return _Planes(streams, width)
    if way == TABLE:
        return _Table(streams, width)
    raise PackedError(f"there is no way {way} to write elements")


def _named(streams: list[_Reader]) -> _Reader:
    """The stream whose number comes next in the directions."""
    number = streams[DIRECTIONS].byte()
    if not SKELETON < number < len(streams):
        raise PackedError(f"there is no stream {number} for elements")
    return streams[number]
