"""The ONNX graph in the form that converts best: fixed shapes, plain names, padding apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import attribute, constants, input_values, walk
from fitment_compress.source import QUANTISED

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto


def refuse_quantised(model: ModelProto) -> None:
    """Quantised ONNX becomes float operators between conversions: larger and slower than float.

    Raises:
        TechniqueError: the model is quantised.
    """
    found = sorted({node.op_type for graph in walk(model.graph) for node in graph.node} & QUANTISED)
    if found:
        raise TechniqueError(
            f"This model is quantised already (it has {', '.join(found)}).",
            "Put `to-tflite` before quantising, and `tflite-quantise` behind it.",
        )


def fix_shapes(model: ModelProto, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> list[str]:
    """Give every input the shape that it has in the samples; batch axes become 1.

    Args:
        model: changed; shapes behind the inputs are inferred anew.
        feeds: single samples.

    Returns:
        Inputs of which an axis behind the first was free, with their new shapes.

    Raises:
        TechniqueError: samples differ in shape, or there are none and an axis is free.
    """
    fixed = []
    for value in input_values(model):
        axes = value.type.tensor_type.shape.dim
        free = [not (axis.HasField("dim_value") and axis.dim_value > 0) for axis in axes]
        shapes = {feed[value.name].shape for feed in feeds}
        if len(shapes) > 1:
            raise TechniqueError(
                f"The samples of input {value.name!r} differ in shape, and a .tflite file has one.",
                "Give samples of one shape.",
            )
        if not shapes and any(free[1:]):
            raise TechniqueError(f"Input {value.name!r} has free axes, and no sample shows them.")
        stored = [axis.dim_value if axis.dim_value > 0 else 1 for axis in axes]
        lengths = shapes.pop() if shapes else tuple(stored)
        for axis, length in zip(axes, lengths, strict=True):
            axis.Clear()
            axis.dim_value = length
        if any(free[1:]):
            fixed.append(f"{value.name} {lengths}")
    _infer_again(model)
    return fixed


def plain_names(model: ModelProto) -> tuple[dict[str, str], dict[str, str]]:
    """Rename inputs and outputs to words that no converter changes.

    A colon in a name has been seen to be replaced, and the layout of that input with it.

    Args:
        model: changed.

    Returns:
        Of inputs and of outputs: the old name by the new one, in their order.
    """
    inputs = {f"fitment_in_{i}": value.name for i, value in enumerate(input_values(model))}
    outputs = {f"fitment_out_{i}": value.name for i, value in enumerate(model.graph.output)}
    new = {old: name for names in (inputs, outputs) for name, old in names.items()}
    for graph in walk(model.graph):
        for node in graph.node:
            node.input[:] = [new.get(name, name) for name in node.input]
            node.output[:] = [new.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        value.name = new.get(value.name, value.name)
    return inputs, outputs


def flatten_outputs(model: ModelProto) -> dict[str, list[int]]:
    """Make matrices of outputs with more axes: then no converter can leave their layout open.

    Args:
        model: with fixed shapes; changed.

    Returns:
        The shapes that the outputs had, by name.
    """
    from onnx import helper

    makers = {name: node for node in model.graph.node for name in node.output}
    shapes = {}
    for value in model.graph.output:
        shape = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        if len(shape) < 3 or not all(shape) or value.name not in makers:
            continue
        shapes[value.name] = shape
        inner = f"{value.name}.shaped"
        for graph in walk(model.graph):
            for node in graph.node:
                node.input[:] = [inner if name == value.name else name for name in node.input]
                node.output[:] = [inner if name == value.name else name for name in node.output]
        model.graph.node.append(helper.make_node("Flatten", [inner], [value.name]))
        value.type.tensor_type.ClearField("shape")
    return shapes


def pad_before_pooling(model: ModelProto) -> None:
    """Let a padded max-pooling of numbers that are never negative pad with zeroes, apart from it.

    TFLite's own pooling pads in other places than ONNX's, so that converters pad with the
    smallest float beforehand: a value that no 8-bit scale can hold beside others.
    """
    from onnx import helper, numpy_helper

    known = constants(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    nodes: list[NodeProto] = []
    for index, node in enumerate(model.graph.node):
        pads = _pool_pads(node)
        if pads and _never_negative(makers.get(node.input[0]), known):
            rank = len(pads) // 2
            sides = [0, 0, *pads[:rank], 0, 0, *pads[rank:]]
            name = f"{node.input[0]}.padded{index}"
            model.graph.initializer.append(numpy_helper.from_array(_int64(sides), f"{name}.sides"))
            nodes.append(helper.make_node("Pad", [node.input[0], f"{name}.sides"], [name]))
            node.input[0] = name
            _drop_attribute(node, "pads")
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _infer_again(model: ModelProto) -> None:
    from onnx import shape_inference

    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    model.CopyFrom(shape_inference.infer_shapes(model, data_prop=True))


def _pool_pads(node: NodeProto) -> list[int]:
    """The padding of a max-pooling that can be done apart from it; empty for others."""
    if node.op_type != "MaxPool" or len(node.output) > 1 or attribute(node, "ceil_mode", 0):
        return []
    pads = [int(pad) for pad in attribute(node, "pads", [])]
    return pads if any(pads) else []


def _never_negative(maker: NodeProto | None, known: Mapping[str, NDArray[Any]]) -> bool:
    if maker is None:
        return False
    if maker.op_type == "Clip":
        low = maker.input[1] if len(maker.input) > 1 else ""
        return low in known and float(known[low]) >= 0.0
    return maker.op_type in ("Relu", "Sigmoid")


def _drop_attribute(node: NodeProto, name: str) -> None:
    kept = [entry for entry in node.attribute if entry.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)


def _int64(values: Sequence[int]) -> NDArray[Any]:
    import numpy as np

    return np.array(values, dtype=np.int64)
