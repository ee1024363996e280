"""Small questions about a .tflite file.

A .tflite file is a FlatBuffer of tensors and operators. LiteRT's own tools, which the extra
`convert` installs, read and write it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final

from fitment_compress.errors import TechniqueError

if TYPE_CHECKING:
    from types import ModuleType

WEIGHTED_OPERATORS: Final = (
    *("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D"),
    *("FULLY_CONNECTED", "BATCH_MATMUL"),
)
"""Operators whose second input is a weight."""

_PRECISIONS: Final = {
    "FLOAT32": "fp32",
    "FLOAT16": "fp16",
    "INT8": "int8",
    "UINT8": "int8",
    "INT16": "int16",
    "INT4": "int4",
}


@dataclass(frozen=True)
class FileFacts:
    """What a .tflite file holds.

    Attributes:
        precision: of most of the stored weights, by element.
        parameters: stored numbers that were learnt.
        macs: multiply-accumulates of one inference in convolutions and matrix products.
        integer: some of that arithmetic is meant to run on integers.
        precisions: of all stored weights.
    """

    precision: str
    parameters: int
    macs: int
    integer: bool
    precisions: frozenset[str]


def tools() -> ModuleType:
    """LiteRT's tools for .tflite files.

    Raises:
        TechniqueError: they are not installed.
    """
    try:
        from ai_edge_litert.tools import flatbuffer_utils
    except ImportError as error:
        raise TechniqueError(
            "Techniques for .tflite files need LiteRT's tools.", "pip install 'fitment[convert]'"
        ) from error
    module: ModuleType = flatbuffer_utils
    return module


def refuse_custom_operators(content: bytes) -> None:
    """Operators without a kernel are converted to custom ones, which no interpreter runs.

    Raises:
        TechniqueError: the file has such operators.
    """
    model = tools().read_model_from_bytearray(bytearray(content))
    codes = sorted({code.customCode.decode() for code in model.operatorCodes if code.customCode})
    if codes:
        names = ", ".join(code.removeprefix("ONNX_") for code in codes)
        raise TechniqueError(f"LiteRT has no operator for {names}, which this model uses.")


def padded_pools(content: bytes) -> list[tuple[str, str]]:
    """Paddings with a value and the poolings behind them: names of outputs, and operators."""
    model = tools().read_model_from_bytearray(bytearray(content))
    tensors = model.subgraphs[0].tensors
    padded = {op.outputs[0] for kind, op in _operators(model) if kind == "PADV2"}
    return [
        (tensors[op.outputs[0]].name.decode(), kind)
        for kind, op in _operators(model)
        if kind == "PADV2" or (kind == "MAX_POOL_2D" and op.inputs[0] in padded)
    ]


def file_facts(content: bytes) -> FileFacts:
    """What the file holds, read off its tensors."""
    model = tools().read_model_from_bytearray(bytearray(content))
    tensors = model.subgraphs[0].tensors
    kind_of = tools().type_to_name
    stored = {i for i, tensor in enumerate(tensors) if _is_stored(model, tensor)}
    counts: Counter[str] = Counter()
    for index in stored:
        if kind_of(tensors[index].type) in _PRECISIONS:
            counts[_PRECISIONS[kind_of(tensors[index].type)]] += prod(tensors[index].shape)
    weighted = [(kind, op) for kind, op in _operators(model) if kind in WEIGHTED_OPERATORS]
    biases = {op.inputs[2] for kind, op in weighted if kind != "TRANSPOSE_CONV" and _has_bias(op)}
    integer_biases = [
        prod(tensors[index].shape)
        for index in biases & stored
        if kind_of(tensors[index].type) not in _PRECISIONS
    ]
    return FileFacts(
        precision=counts.most_common(1)[0][0] if counts else "fp32",
        parameters=sum(counts.values()) + sum(integer_biases),
        macs=sum(_macs(kind, op, tensors) for kind, op in weighted),
        integer=any(kind_of(tensors[op.inputs[1]].type).startswith("INT") for _, op in weighted),
        precisions=frozenset(counts),
    )


def _operators(model: Any) -> Iterator[tuple[str, Any]]:
    """The operators of the main graph, with their types."""
    for operator in model.subgraphs[0].operators:
        yield str(tools().opcode_to_name(model, operator.opcodeIndex)), operator


def _is_stored(model: Any, tensor: Any) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _has_bias(operator: Any) -> bool:
    return len(operator.inputs) > 2 and operator.inputs[2] >= 0


def _macs(kind: str, operator: Any, tensors: Any) -> int:
    weight = [int(length) for length in tensors[operator.inputs[1]].shape]
    output = prod(int(length) for length in tensors[operator.outputs[0]].shape)
    if kind == "DEPTHWISE_CONV_2D":
        return output * prod(weight[1:3])
    if kind == "TRANSPOSE_CONV":
        return prod(int(length) for length in tensors[operator.inputs[2]].shape) * prod(weight[:3])
    if kind == "CONV_3D":
        return output * prod(weight[:4])
    if kind == "BATCH_MATMUL":
        return output * int(tensors[operator.inputs[0]].shape[-1])
    return output * prod(weight[1:])
