"""Multiply-accumulates of one inference, from inferred shapes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from fitment_compress.graph import attribute, constants, tensor_spec

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Shapes = dict[str, tuple[int, ...]]

_RECURRENT = ("LSTM", "GRU", "RNN")


def count_macs(model: ModelProto) -> int | None:
    """Multiply-accumulates in convolutions, matrix products and recurrent layers.

    Free axes count as 1, so a model with a free batch axis is counted per sample. Elementwise
    arithmetic is left out, as is usual.

    Returns:
        The count; None when a shape that it depends on could not be inferred.
    """
    shapes = _shapes(model)
    total = 0
    for node in model.graph.node:
        try:
            total += _node_macs(node, shapes)
        except KeyError:  # a shape that inference did not find
            return None
    return total


def _shapes(model: ModelProto) -> Shapes:
    from onnx import shape_inference

    shapes: Shapes = {name: values.shape for name, values in constants(model).items()}
    try:
        graph = shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # noqa: BLE001 - inference is a convenience; it fails in many ways on odd graphs
        graph = model.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            axes = tensor_spec(value).shape
            shapes.setdefault(value.name, tuple(axis or 1 for axis in axes))
    return shapes


def _node_macs(node: NodeProto, shapes: Shapes) -> int:
    if node.op_type == "Conv":
        return prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":
        return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])
    if node.op_type == "MatMul":
        return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    if node.op_type == "Gemm":
        inner = shapes[node.input[0]][0 if attribute(node, "transA", 0) else -1]
        return prod(shapes[node.output[0]]) * inner
    if node.op_type in _RECURRENT:
        steps_and_batch = prod(shapes[node.input[0]][:2])
        return steps_and_batch * (prod(shapes[node.input[1]]) + prod(shapes[node.input[2]]))
    return 0
