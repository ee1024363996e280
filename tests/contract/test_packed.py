"""The decoder of `packed-1`: exact on what is well-formed, bounded and clear on everything else."""

from __future__ import annotations

import contextlib
import io
import lzma
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_contract.packed import (
    GAPS,
    MAGIC,
    MAX_STREAMS,
    PLANES,
    TABLE,
    PackedError,
    decode,
    expansion,
    lzma_filter,
)

GOLDEN = Path(__file__).parent / "golden" / "packed-1"
NO_CELLS = b"\0"


def number(value: int) -> bytes:
    """Unsigned LEB128, the plain way."""
    return (bytes([value & 0x7F | 0x80]) + number(value >> 7)) if value >= 0x80 else bytes([value])


def packed(size: int, directions: bytes, skeleton: bytes = b"", *streams: bytes) -> bytes:
    """A file whose streams are all stored as they are."""
    plain = (directions, skeleton, *streams)
    methods = b"".join(number(0) + number(len(stream)) for stream in plain)
    return MAGIC + number(size) + number(len(plain)) + methods + b"".join(plain)


def decoded(encoded: bytes, size: int) -> bytes:
    return b"".join(decode(io.BytesIO(encoded), size))


def refusal(encoded: bytes, size: int) -> str:
    with pytest.raises(PackedError) as caught:
        decoded(encoded, size)
    return caught.value.detail


def table(entries: bytes, *rest: bytes, mask: bytes = NO_CELLS, count: int = 4) -> bytes:
    """A region of one-byte elements."""
    return bytes([1, count]) + mask + bytes([TABLE, len(entries) - 1]) + entries + b"".join(rest)


# Two bytes of skeleton, four elements of two bits, one more byte.
TWO_BITS = packed(7, number(2) + table(b"WXYZ", b"\2\2\1") + number(1), b"ab!", b"\x1b")


def test_a_golden_file_pins_what_travels() -> None:
    """Masks, tables, planes and LZMA of the first encoder: they stay readable for good."""
    original = (GOLDEN / "model.onnx").read_bytes()
    encoded = (GOLDEN / "model.onnx.packed-1").read_bytes()
    assert len(encoded) < len(original) / 2.5
    assert decoded(encoded, len(original)) == original


def test_the_skeleton_and_its_holes_are_the_file() -> None:
    assert decoded(TWO_BITS, 7) == b"abWXYZ!"
    assert decoded(packed(3, number(3), b"abc"), 3) == b"abc"
    assert decoded(packed(0, b""), 0) == b""


def test_planes_are_woven_into_elements() -> None:
    directions = number(0) + bytes([4, 2, 0, PLANES, 2, 3, 3, 2])
    assert decoded(packed(8, directions, b"", b"aAdD", b"bBcC"), 8) == b"abcdABCD"


def test_a_mask_says_where_the_others_are() -> None:
    masked = table(b"A", NO_CELLS, mask=b"\1\2\2.", count=10)
    assert decoded(packed(10, number(0) + masked, b"", b"\x41\x40"), 10) == b".A.....A.A"
    gaps = table(b"A", NO_CELLS, mask=bytes([GAPS, 2, 4]) + b".", count=10)
    assert decoded(packed(10, number(0) + gaps, b"", bytes([1, 5, 1, 0])), 10) == b".A.....A.A"


def test_a_long_gap_takes_several_bytes() -> None:
    region = b"\1" + number(600) + bytes([GAPS, 2, 4]) + b"." + bytes([TABLE, 0]) + b"A\0"
    encoded = packed(600, number(0) + region, b"", bytes([255, 255, 89, 0]))
    assert decoded(encoded, 600) == b"." * 599 + b"A"


def test_lzma_streams_are_decoded() -> None:
    text = b"what is coded " * 50
    coded = lzma.compress(text, lzma.FORMAT_RAW, filters=[lzma_filter(3)])
    head = MAGIC + number(len(text)) + number(2)
    directions = number(len(text))
    head += number(0) + number(len(directions)) + number(4) + number(len(coded))
    encoded = head + directions + coded
    assert decoded(encoded, len(text)) == text
    assert "ends early" in refusal(encoded[:-20], len(text))
    broken = encoded[:-20] + bytes(20)
    assert refusal(broken, len(text))


@pytest.mark.parametrize("kind", [1, 2, 4, 8])
def test_cells_fill_their_byte_from_the_highest_bit(kind: int) -> None:
    for byte, cells in enumerate(expansion(kind)):
        assert int("".join(format(cell, f"0{kind}b") for cell in cells), 2) == byte


@pytest.mark.parametrize(
    ("encoded", "size", "words"),
    [
        (b"", 0, "not a packed-1 file"),
        (b"packed-2" + TWO_BITS[8:], 7, "not a packed-1 file"),
        (TWO_BITS, 6, "7 bytes are packed, 6 are expected"),
        (TWO_BITS, 8, "7 bytes are packed, 8 are expected"),
        (MAGIC + b"\xff" * 20, 7, "a number has no end"),
        (MAGIC + number(7) + number(1), 7, "1 streams"),
        (MAGIC + number(7) + number(MAX_STREAMS + 1), 7, "33 streams"),
        (TWO_BITS[:-1], 7, "ends early"),
        (packed(1, b""), 1, "ends early"),
        (packed(1, number(2), b"ab"), 1, "more skeleton"),
        (packed(3, number(0) + table(b"WXYZ", b"\2\2\1"), b"", b"\x1b"), 3, "more elements"),
        (packed(4, number(0) + table(b"WXY", b"\2\2\1"), b"", b"\x1b"), 4, "beyond its table"),
        (packed(4, number(0) + table(b"W", b"\5\2\1"), b"", b"\0"), 4, "no cells of kind 5"),
        (packed(4, number(0) + table(b"WX", b"\1\3\1"), b"", b"\0"), 4, "no stream 3"),
        (packed(4, number(0) + table(b"WX", b"\1\1\1"), b"", b"\0"), 4, "no stream 1"),
        (packed(4, number(0) + table(b"WX", b"\2\2\0"), b"", b"\0"), 4, "fewer cells"),
        (packed(4, number(0) + table(b"WX", b"\2\2\2"), b"", b"\0\0"), 4, "more cells"),
        (packed(4, number(0) + table(b"W", count=0)), 4, "a region of 0 elements"),
        (packed(6, number(0) + b"\3\2\0"), 6, "elements of 3 bytes"),
        (packed(4, number(0) + bytes([1, 4, 0, 2])), 4, "no way 2"),
    ],
)
def test_what_is_malformed_is_named(encoded: bytes, size: int, words: str) -> None:
    assert words in refusal(encoded, size)


def test_impossible_lzma_settings_are_refused() -> None:
    encoded = MAGIC + number(1) + number(2) + number(225) + number(1) + number(0) + number(0)
    assert "damaged" in refusal(encoded + b"\0", 1)


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_noise_is_refused(noise: bytes, size: int) -> None:
    encoded = MAGIC + number(size) + noise
    with contextlib.suppress(PackedError):
        assert len(decoded(encoded, size)) == size


def test_an_absurd_announcement_takes_no_memory() -> None:
    """A petabyte from a few bytes: each piece is small, and the skeleton runs out at once."""
    size = 2**50
    region = b"\1" + number(size) + NO_CELLS + bytes([TABLE, 0]) + b"A" + NO_CELLS
    pieces = decode(io.BytesIO(packed(size, number(0) + region)), size)
    assert len(next(pieces)) <= 1 << 20
    assert "ends early" in refusal(packed(size, number(size)), size)


def test_the_decoder_loads_nothing_heavy() -> None:
    code = "import fitment_contract.packed, sys; print({'numpy', 'onnx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
