"""Shapes and types of all tensors of a graph, from the standard's own inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fitment_compress.graph import attribute, constants, tensor_spec
from fitment_contract.variant import TensorSpec

if TYPE_CHECKING:
    from onnx import ModelProto

Shapes = dict[str, tuple[int, ...]]
"""Lengths of axes by tensor; a free axis counts as 1, so that a batch is one sample."""


def tensor_shapes(model: ModelProto) -> Shapes:
    """Shapes of stored and computed tensors; those that inference did not find are absent."""
    shapes: Shapes = {name: values.shape for name, values in constants(model).items()}
    for name, spec in computed_tensors(model).items():
        shapes.setdefault(name, tuple(axis or 1 for axis in spec.shape))
    return shapes


def computed_tensors(model: ModelProto) -> dict[str, TensorSpec]:
    """Inputs, outputs and everything in between whose rank and type are known, by name."""
    from onnx import shape_inference

    try:
        graph = shape_inference.infer_shapes(_standard(model), data_prop=True).graph
    except Exception:  # noqa: BLE001 - inference is a convenience; it fails in many ways on odd graphs
        graph = model.graph
    return {
        value.name: tensor_spec(value)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape") and value.type.tensor_type.elem_type
    }


def _standard(model: ModelProto) -> ModelProto:
    """The model with standard operators in place of onnxruntime's, which inference does not know.

    What they give has the same shape; what follows them would otherwise be unknown.
    """
    from onnx import ModelProto, TensorProto, helper

    twins = {"MatMulNBits": "MatMul", "DynamicQuantizeLSTM": "LSTM"}
    if not any(node.op_type in twins for node in model.graph.node):
        return model
    copy = ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.op_type == "MatMulNBits":
            weight = f"{node.output[0]}.unpacked"
            shape = [attribute(node, "K", 0), attribute(node, "N", 0)]
            copy.graph.value_info.append(
                helper.make_tensor_value_info(weight, TensorProto.FLOAT, shape)
            )
            node.input[:] = [node.input[0], weight]
            del node.attribute[:]
        elif node.op_type == "DynamicQuantizeLSTM":
            del node.input[8:]
        if node.op_type in twins:
            node.op_type, node.domain = twins[node.op_type], ""
    return copy
