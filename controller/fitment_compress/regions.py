"""Where in a model file its numbers lie.

Only a hint: whatever is said here, a file is encoded byte by byte and decoded to the same bytes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from fitment_compress.graph import tensors

SMALLEST_BYTES: Final = 32
"""Shorter runs cost more to describe than they save."""


class Region(NamedTuple):
    """A run of bytes that are elements of one tensor."""

    start: int
    size: int


def find_regions(content: bytes) -> list[Region]:
    """The tensors of an ONNX file, in the order of the file; nothing where it is none."""
    import onnx

    try:
        model = onnx.load_from_string(content)
    except Exception:  # noqa: BLE001 - the errors of the parser's own package, which is not ours
        return []
    found: list[Region] = []
    position = 0
    for tensor in tensors(model):
        raw = tensor.raw_data
        if len(raw) < SMALLEST_BYTES:
            continue
        start = content.find(raw, position)
        if start < 0:  # what is inside nodes comes before what the graph stores
            start = content.find(raw)
        if start >= 0:
            found.append(Region(start, len(raw)))
            position = start + len(raw)
    return _apart(found)


def _apart(found: list[Region]) -> list[Region]:
    """In order, without those that overlap an earlier one."""
    kept: list[Region] = []
    end = 0
    for region in sorted(found):
        if region.start >= end:
            kept.append(region)
            end = region.start + region.size
    return kept
