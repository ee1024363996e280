"""Where in a model file its numbers lie.

Only a hint: whatever is said here, a file is encoded byte by byte and decoded to the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from fitment_compress.graph import tensors

SMALLEST_BYTES: Final = 32
"""Shorter runs cost more to describe than they save."""


class Region(NamedTuple):
    """A run of bytes that are elements of one tensor."""

    start: int
    size: int


def find_regions(content: bytes) -> list[Region]:
    """The tensors of an ONNX or .tflite file, in the order of the file; else nothing."""
    found = _in_tflite(content) if content[4:8] == b"TFL3" else _in_onnx(content)
    return _apart([region for region in found if region.size >= SMALLEST_BYTES])


def _in_onnx(content: bytes) -> Iterator[Region]:
    import onnx

    try:
        model = onnx.load_from_string(content)
    except Exception:  # noqa: BLE001 - the errors of the parser's own package, which is not ours
        return
    position = 0
    for tensor in tensors(model):
        raw = tensor.raw_data
        if len(raw) < SMALLEST_BYTES:  # may be anywhere by chance
            continue
        start = content.find(raw, position)
        if start < 0:  # what is inside nodes comes before what the graph stores
            start = content.find(raw)
        if start >= 0:
            yield Region(start, len(raw))
            position = start + len(raw)


def _in_tflite(content: bytes) -> Iterator[Region]:
    """The `data` (field 0) of each of the `buffers` (field 4) of the FlatBuffer's root.

    Source: https://flatbuffers.dev/internals/ and the schema of TensorFlow Lite.
    """

    def number(position: int, size: int = 4) -> int:
        return int.from_bytes(content[position : position + size], "little")

    def field(table: int, index: int) -> int:
        """Where a table's field is; 0 where it has none."""
        back = int.from_bytes(content[table : table + 4], "little", signed=True)
        fields = max(table - back, 0)
        entry = 4 + 2 * index
        offset = number(fields + entry, 2) if entry < number(fields, 2) else 0
        return table + offset if offset else 0

    buffers = field(number(0), 4)
    vector = buffers + number(buffers)
    count = number(vector) if buffers else 0
    for position in range(vector + 4, min(vector + 4 + 4 * count, len(content)), 4):
        data = field(position + number(position), 0)
        start = data + number(data) if data else len(content)
        size = number(start)
        if start + 4 + size <= len(content):
            yield Region(start + 4, size)


def _apart(found: list[Region]) -> list[Region]:
    """In order, without those that overlap an earlier one."""
    kept: list[Region] = []
    end = 0
    for region in sorted(found):
        if region.start >= end:
            kept.append(region)
            end = region.start + region.size
    return kept
