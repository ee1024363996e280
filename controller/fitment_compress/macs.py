"""What one inference costs, from inferred shapes: multiply-accumulates, and memory in between."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from fitment_compress.graph import attribute, constants, input_values
from fitment_compress.structure.graphs import names_read
from fitment_compress.structure.shapes import Shapes, computed_tensors, tensor_shapes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

_RECURRENT = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")


def count_macs(model: ModelProto) -> int | None:
    """Multiply-accumulates in convolutions, matrix products and recurrent layers.

    Free axes count as 1, so a model with a free batch axis is counted per sample. Elementwise
    arithmetic is left out, as is usual.

    Returns:
        The count; None when a shape that it depends on could not be inferred.
    """
    shapes = tensor_shapes(model)
    try:
        return sum(_node_macs(node, shapes) for node in model.graph.node)
    except KeyError:  # a shape that inference did not find
        return None


def count_nonzero_macs(model: ModelProto) -> int | None:
    """As `count_macs`, without the multiplications by a stored weight that is zero.

    This is what a runtime with sparse kernels would have to do; dense kernels do all of them. A
    stored integer is zero where it equals its zero point.

    Returns:
        The count; None when a shape that it depends on could not be inferred.
    """
    shapes = tensor_shapes(model)
    stored = constants(model)
    zeros = {
        node.output[0]: _is_zero(node, stored)
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in stored
    }
    zeros.update({name: values == 0 for name, values in stored.items()})
    try:
        return sum(_nonzero_macs(node, shapes, zeros) for node in model.graph.node)
    except KeyError:
        return None


def peak_activation_bytes(model: ModelProto) -> int | None:
    """What the inputs, outputs and intermediate tensors of one inference need at once, at most.

    Nodes run in the order of the file; a tensor is freed after the last node that reads it, an
    output of the model never. Weights are not counted, nor what DequantizeLinear makes of them.
    Runtimes that work in place need less.

    Returns:
        Bytes for one sample; None when a shape or a type could not be inferred.
    """
    sizes = _sizes(model)
    nodes = list(model.graph.node)
    kept = {value.name for value in model.graph.output}
    last = {name: index for index, node in enumerate(nodes) for name in names_read(node)}
    live = {value.name: sizes.get(value.name) for value in input_values(model)}
    stored = set(constants(model))
    stored.update(
        node.output[0]
        for node in nodes
        if node.op_type == "DequantizeLinear" and node.input[0] in stored
    )
    peak = 0
    for index, node in enumerate(nodes):
        live.update({name: sizes.get(name) for name in node.output if name and name not in stored})
        held = list(live.values())
        if None in held:
            return None
        peak = max(peak, sum(size or 0 for size in held))
        live = {
            name: size for name, size in live.items() if name in kept or last.get(name, -1) > index
        }
    return peak


def _sizes(model: ModelProto) -> dict[str, int]:
    """Bytes by computed tensor, a free axis counting as 1."""
    import numpy as np

    sizes = {}
    for name, spec in computed_tensors(model).items():
        try:
            width = np.dtype(spec.dtype).itemsize
        except TypeError:  # a type that numpy has no name for: strings, 4-bit integers
            continue
        sizes[name] = width * prod(axis or 1 for axis in spec.shape)
    return sizes


def _node_macs(node: NodeProto, shapes: Shapes) -> int:
    if node.op_type in ("Conv", "ConvInteger"):
        return prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":
        return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])
    if node.op_type in ("MatMul", "MatMulInteger", "MatMulNBits"):
        return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    if node.op_type == "Gemm":
        inner = shapes[node.input[0]][0 if attribute(node, "transA", 0) else -1]
        return prod(shapes[node.output[0]]) * inner
    if node.op_type in _RECURRENT:
        steps_and_batch = prod(shapes[node.input[0]][:2])
        return steps_and_batch * (prod(shapes[node.input[1]]) + prod(shapes[node.input[2]]))
    return 0


def _nonzero_macs(node: NodeProto, shapes: Shapes, zeros: Mapping[str, NDArray[Any]]) -> int:
    """Every weight takes part in equally many multiplications of its layer."""
    dense = _node_macs(node, shapes)
    if not dense or node.op_type == "MatMulNBits":  # whose weights are packed
        return dense
    names = node.input[1:3] if node.op_type in _RECURRENT else node.input[:2]
    found = [zeros[name] for name in names if name in zeros]
    size = sum(zero.size for zero in found)
    skipped = sum(int(zero.sum()) for zero in found)
    return dense - (dense * skipped) // size if size else dense


def _is_zero(node: NodeProto, stored: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Which elements of a stored tensor a DequantizeLinear makes zero."""
    import numpy as np

    values = stored[node.input[0]]
    points = stored.get(node.input[2]) if len(node.input) > 2 else None
    if points is None:
        points = np.zeros((), values.dtype)
    if points.ndim == 1 and points.size > 1:
        axis = attribute(node, "axis", 1) % values.ndim
        points = points.reshape([-1 if index == axis else 1 for index in range(values.ndim)])
    if points.ndim not in (0, 1, values.ndim) or attribute(node, "block_size", 0):
        return np.zeros(values.shape, bool)  # blocks have no common zero
    zero: NDArray[Any] = values == points
    return zero
