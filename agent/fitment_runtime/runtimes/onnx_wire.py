"""Find external data in an ONNX file before the runtime sees it.

A tensor of an ONNX file may say that its bytes lie in another file, by path. A hostile model uses
that to read files of the device; runtimes differ by version in how well they refuse it, so the
check is made here, on the file itself. A device has no `onnx` package, and building the whole
message tree of a hostile file is what the check must avoid; so the protobuf wire format is walked
directly, along those fields of `onnx.proto` that lead to a tensor. The walk keeps its own stack:
nesting cannot exhaust Python's.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
Wire format: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from fitment_runtime.errors import LoadFailure

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5

# Message name -> field number -> name of the message in that field.
_CHILDREN: Final[dict[str, dict[int, str]]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_TENSOR_NAME, _TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 8, 13, 14
_NAME_LENGTH = 80


class _Field(NamedTuple):
    number: int
    wire_type: int
    start: int
    end: int
    value: int


def refuse_external_data(path: Path) -> None:
    """Raise unless every tensor of the ONNX file at `path` has its bytes in the file itself.

    Raises:
        LoadFailure: a tensor lies elsewhere, or the file is not well-formed protobuf.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise LoadFailure("the file is empty; build or transfer it again")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _check(data)
    except OSError as error:
        raise LoadFailure(f"cannot read the model file: {error.strerror or error}") from error


def _check(data: mmap.mmap) -> None:
    pending = [("Model", 0, len(data))]
    while pending:
        message, start, end = pending.pop()
        if message == "Tensor":
            _check_tensor(data, start, end)
            continue
        children = _CHILDREN[message]
        for field in _fields(data, start, end):
            child = children.get(field.number)
            if child is not None and field.wire_type == _LENGTH_DELIMITED:
                pending.append((child, field.start, field.end))


def _check_tensor(data: mmap.mmap, start: int, end: int) -> None:
    name = b""
    external = False
    for field in _fields(data, start, end):
        if field.wire_type == _LENGTH_DELIMITED and field.number == _TENSOR_NAME:
            name = data[field.start : min(field.end, field.start + _NAME_LENGTH)]
        elif field.wire_type == _LENGTH_DELIMITED and field.number == _TENSOR_EXTERNAL_DATA:
            external = True
        elif field.wire_type == _VARINT and field.number == _TENSOR_DATA_LOCATION:
            external = external or field.value != 0
    if external:
        raise LoadFailure(
            f"tensor {name.decode(errors='replace')!r} keeps its data in another file, which is "
            "refused: save the model with all data inside (onnx.save without external data)"
        )


_LARGEST_KEY: Final = 2**32 - 1
"""Protobuf keys are 32 bits wide; field numbers begin at 1."""


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[_Field]:
    position = start
    while position < end:
        key, position = _varint(data, position, end)
        if not 8 <= key <= _LARGEST_KEY:  # a parser that drops high bits would read another field
            raise LoadFailure("not an ONNX file: it holds an impossible protobuf field number")
        wire_type = key & 7
        value = 0
        if wire_type == _VARINT:
            value, stop = _varint(data, position, end)
        elif wire_type == _LENGTH_DELIMITED:
            length, position = _varint(data, position, end)
            stop = position + length
        elif wire_type == _FIXED64:
            stop = position + 8
        elif wire_type == _FIXED32:
            stop = position + 4
        else:  # groups: ONNX has none, and a skipped group could hide what a parser would read
            raise LoadFailure("not an ONNX file: it holds an unknown protobuf wire type")
        if stop > end:
            raise LoadFailure("not an ONNX file, or cut short: a field ends after its message")
        yield _Field(key >> 3, wire_type, position, stop, value)
        position = stop


def _varint(data: mmap.mmap, position: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise LoadFailure("not an ONNX file, or cut short: a number has no end")


def identity_model(opset: int) -> bytes:
    """The smallest ONNX file, one `Identity` node stamped with `opset`, without `onnx`."""

    def nested(field: int, body: bytes) -> bytes:
        return bytes([field << 3 | _LENGTH_DELIMITED, len(body)]) + body

    def number(field: int, value: int) -> bytes:
        return bytes([field << 3 | _VARINT, value])

    shape = nested(2, nested(1, number(1, 1)))  # one axis of length 1
    value_type = nested(2, nested(1, number(1, 1) + shape))  # a tensor of float32
    node = nested(1, b"x") + nested(2, b"y") + nested(4, b"Identity")
    graph = (
        nested(1, node)
        + nested(2, b"g")
        + nested(11, nested(1, b"x") + value_type)
        + nested(12, nested(1, b"y") + value_type)
    )
    return number(1, 7) + nested(7, graph) + nested(8, nested(1, b"") + number(2, opset))
