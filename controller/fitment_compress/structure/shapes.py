"""Shapes and types of all tensors of a graph, from the standard's own inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fitment_compress.graph import constants, tensor_spec
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
        graph = shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # noqa: BLE001 - inference is a convenience; it fails in many ways on odd graphs
        graph = model.graph
    return {
        value.name: tensor_spec(value)
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape") and value.type.tensor_type.elem_type
    }
