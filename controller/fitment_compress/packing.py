"""Writes a model file in the encoding `packed-1`, so that fewer bytes travel to devices.

`fitment_contract.packed` says what the encoding is and decodes it. Here it is decided which parts
of a file are regions of elements, and which way of writing each is the shortest.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from fitment_compress.regions import Region, find_regions
from fitment_contract.artifact import PACKED, Encoding
from fitment_contract.base import sha256_hex
from fitment_contract.packed import (
    GAPS,
    MAGIC,
    PLANES,
    TABLE,
    WIDTHS,
    decode,
    lzma_filter,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORTHWHILE_RATIO: Final = 0.95
"""Encoded over plain size above which an encoding is not worth a device's time."""

_LARGEST_TABLE: Final = 256
_SAMPLE_BYTES: Final = 1 << 17
_REGION_BYTES: Final = 8
"""About what the directions say of a region."""
_CODER_RATIO: Final = 0.01
"""What the range coder takes above the entropy, of the bytes that it codes."""
_PROPERTIES: Final = tuple(
    (pb * 5 + lp) * 9 + lc for lc, lp, pb in ((0, 0, 0), (2, 0, 0), (4, 0, 0), (0, 0, 2), (0, 2, 2))
)
"""LZMA's property bytes that are tried on each stream: what a byte's coding may depend on."""


def offer(content: bytes) -> tuple[Encoding, bytes] | None:
    """The encoding of a file to put beside the file itself, with the encoded bytes.

    Returns:
        None when it is not at least 5 % smaller than the file.
    """
    packed = encode(content)
    if len(packed) > WORTHWHILE_RATIO * len(content):
        return None
    encoding = Encoding(name=PACKED, digest=sha256_hex(packed), size_bytes=len(packed))
    return encoding, packed


def encode(content: bytes) -> bytes:
    """The file as `packed-1`; decoding was tried and gave `content`."""
    packed = min((_encoded(content, regions) for regions in _choices(content)), key=len)
    decoded = b"".join(decode(io.BytesIO(packed), len(content)))
    assert decoded == content, "the encoder and the decoder disagree"
    return packed


def _choices(content: bytes) -> Iterator[list[Region]]:
    """The ways to cut a file that are worth trying; no region at all is one."""
    yield []
    regions = find_regions(content)
    if regions:
        yield regions
    elif content:
        yield [Region(0, len(content))]


def _encoded(content: bytes, regions: list[Region]) -> bytes:
    packer = _Packer()
    for region in regions:
        packer.add(region, content)
    return packer.finish(content)


@dataclass(frozen=True)
class _Way:
    """One way to write a region.

    Attributes:
        count: elements of the region.
        mask: where the others are than `masked`; None: `elements` are all there are.
        masked: the bytes of the most frequent element.
        elements: (n, width) bytes.
        table: (entries, width) bytes, and the place of each element, uint8; None for planes.
    """

    count: int
    elements: NDArray[Any]
    mask: NDArray[Any] | None = None
    masked: bytes = b""
    table: tuple[NDArray[Any], NDArray[Any]] | None = None

    @property
    def width(self) -> int:
        """Bytes per element."""
        return int(self.elements.shape[1])

    def estimate(self) -> float:
        """Bytes that it will take, about."""
        size = _REGION_BYTES + (0.0 if self.mask is None else _entropy_bytes(self.mask, 1))
        if self.table is not None:
            entries, places = self.table
            return size + entries.size + _entropy_bytes(places, _bits(entries))
        return size + sum(_entropy_bytes(self.elements[:, k]) for k in range(self.width))


def _ways(elements: NDArray[Any]) -> Iterator[_Way]:
    """The ways to write (n, width) bytes: with and without mask, as planes and as a table."""
    import numpy as np

    count, width = elements.shape
    values = np.ascontiguousarray(elements).view(f"<u{width}").ravel()
    ways = [_Way(count, elements)]
    common = np.median(values)  # an element that more than half of all are is in the middle
    mask = values != common
    if 0 < np.count_nonzero(mask) < count / 2:
        masked = common.astype(values.dtype).tobytes()
        ways.append(_Way(count, elements[mask], mask, masked))
    for way in ways:
        yield way
        table = _table(way.elements)
        if table is not None:
            yield replace(way, table=table)


class _Packer:
    """Takes regions in the order of the file and fills the streams."""

    def __init__(self) -> None:
        self._directions = bytearray()
        self._skeleton = bytearray()
        self._streams: dict[tuple[str, int], _Stream] = {}
        self._position = 0

    def add(self, region: Region, content: bytes) -> None:
        """Write a region the shortest way, which may be to leave it in the skeleton."""
        import numpy as np

        data = np.frombuffer(content, np.uint8, region.size, region.start)
        best, chosen = _entropy_bytes(data), None
        for width in WIDTHS:
            elements = data[: len(data) // width * width].reshape(-1, width)
            rest = len(data) - elements.size
            for way in _ways(elements) if len(elements) else ():
                if way.estimate() + rest < best:
                    best, chosen = way.estimate() + rest, way
        if chosen is not None:
            self._write(content[self._position : region.start], chosen)
            self._position = region.start + chosen.count * chosen.width

    def _write(self, before: bytes, way: _Way) -> None:
        self._skeleton += before
        self._number(len(before))
        self._directions.append(way.width)
        self._number(way.count)
        self._write_mask(way)
        if way.table is not None:
            self._write_table(*way.table)
            return
        self._directions.append(PLANES)
        for plane in range(way.width):
            values = way.elements[:, plane].tobytes()
            self._directions.append(self._append(f"planes of {way.width}", plane, values))

    def _write_mask(self, way: _Way) -> None:
        if way.mask is None:
            self._cells("mask", 0, b"")
            return
        bitmap, gaps = _fields(way.mask, 1), _gaps(way.mask)
        shorter = len(_coded(bitmap)[1]) <= len(_coded(gaps)[1])
        self._cells("mask", *((1, bitmap) if shorter else (GAPS, gaps)))
        self._directions += way.masked

    def _write_table(self, entries: NDArray[Any], places: NDArray[Any]) -> None:
        self._directions.append(TABLE)
        self._directions.append(len(entries) - 1)
        self._directions += entries.T.tobytes()
        bits = _bits(entries)
        self._cells("places", bits, _fields(places, bits))

    def _cells(self, what: str, kind: int, data: bytes) -> None:
        self._directions.append(kind)
        if kind:
            self._directions.append(self._append(what, kind, data))
            self._number(len(data))

    def _append(self, what: str, kind: int, data: bytes) -> int:
        """Put bytes into the stream for their kind; its number."""
        stream = self._streams.setdefault((what, kind), _Stream(len(self._streams) + 2))
        stream.data += data
        return stream.number

    def _number(self, value: int) -> None:
        self._directions += _number(value)

    def finish(self, content: bytes) -> bytes:
        """The whole file."""
        rest = content[self._position :]
        self._skeleton += rest
        self._number(len(rest))
        plain = [self._directions, self._skeleton, *(item.data for item in self._streams.values())]
        coded = [_coded(bytes(data)) for data in plain]
        header = bytearray(MAGIC) + _number(len(content)) + _number(len(coded))
        for method, data in coded:
            header += _number(method) + _number(len(data))
        return bytes(header) + b"".join(data for _, data in coded)


@dataclass
class _Stream:
    number: int
    data: bytearray = field(default_factory=bytearray)


def _number(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _table(elements: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """The distinct elements and the place of each; None when they are too many for a byte."""
    import numpy as np

    width = elements.shape[1]
    values = np.ascontiguousarray(elements).view(f"<u{width}").ravel()
    if len(np.unique(values[: 4 * _LARGEST_TABLE])) > _LARGEST_TABLE:
        return None
    distinct, places = np.unique(values, return_inverse=True)
    if len(distinct) > _LARGEST_TABLE:
        return None
    return distinct.view(np.uint8).reshape(-1, width), places.astype(np.uint8)


def _bits(entries: NDArray[Any]) -> int:
    """Bits for a place among the entries: 0, 1, 2, 4 or 8."""
    return next(bits for bits in (0, 1, 2, 4, 8) if len(entries) <= 1 << bits)


def _fields(values: NDArray[Any], bits: int) -> bytes:
    """Numbers below 2**bits, 8 // bits in a byte, the first in the highest bits."""
    import numpy as np

    if not bits:
        return b""
    each = 8 // bits
    cells = np.zeros(-(-len(values) // each) * each, np.uint8)
    cells[: len(values)] = values
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    packed: NDArray[Any] = (cells.reshape(-1, each) << shifts).sum(axis=1, dtype=np.uint8)
    return packed.tobytes()


def _gaps(mask: NDArray[Any]) -> bytes:
    """Zeros before each one, and before one more that follows the mask; 255 for 255 zeros."""
    import numpy as np

    ones = np.append(np.flatnonzero(mask), len(mask))
    gaps = np.diff(ones, prepend=-1) - 1
    long = gaps // 255
    out = np.full(len(gaps) + int(long.sum()), 255, np.uint8)
    out[np.cumsum(long + 1) - 1] = gaps % 255
    # A last byte without zeros would be no cell of the mask, and decoders refuse what is left over.
    return (out if out[-1] else out[:-1]).tobytes()


def _entropy_bytes(values: NDArray[Any], bits: int = 8) -> float:
    """Bytes for numbers below 256 by their frequencies alone, `bits` of a byte for each.

    On top comes what the coder takes for learning the frequencies, and for each byte.
    """
    import numpy as np

    counts = np.bincount(values.astype(np.uint8), minlength=1)
    counts = counts[counts > 0]
    if not len(counts) or not bits:
        return 0.0
    entropy = float((counts * np.log2(len(values) / counts)).sum())
    size = len(values) * bits / 8
    return min(size, entropy / 8 + len(counts) / 2 + _CODER_RATIO * size)


def _coded(data: bytes) -> tuple[int, bytes]:
    """The method and the bytes of a stream, with the settings that suit a sample of it best."""
    size, properties = min(
        (len(_compressed(data[:_SAMPLE_BYTES], properties)), properties)
        for properties in _PROPERTIES
    )
    if size < min(len(data), _SAMPLE_BYTES):
        coded = _compressed(data, properties)
        if len(coded) < len(data):
            return properties + 1, coded
    return 0, data


def _compressed(data: bytes, properties: int) -> bytes:
    settings = {**lzma_filter(properties), "nice_len": 273, "mf": lzma.MF_BT4}
    return lzma.compress(data, lzma.FORMAT_RAW, filters=[settings])
