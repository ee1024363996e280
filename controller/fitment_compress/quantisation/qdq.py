"""Writes QuantizeLinear/DequantizeLinear pairs around the nodes that become integer."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import sort_nodes
from fitment_compress.quantisation.calibration import Feeds, Ranges, calibrate
from fitment_compress.quantisation.placement import integer_nodes

if TYPE_CHECKING:
    from onnx import ModelProto

    from fitment_compress.techniques.int8_static import Int8StaticOptions


def calibrate_layers(
    model: ModelProto, layers: Collection[str], feeds: Feeds, options: Int8StaticOptions
) -> Ranges:
    """The ranges of all tensors that `quantise` may ask for with these layers or fewer.

    Args:
        model: in floating point; its nodes have names.
        layers: names of nodes.
        feeds: single samples.
        options: the method.

    Raises:
        TechniqueError: the model is quantised already or in half precision, there is no sample, or
            nothing to quantise, or a tensor is infinite.
    """
    from onnx import TensorProto

    quantised = ("QuantizeLinear", "DynamicQuantizeLinear")
    if any(node.op_type in quantised for node in model.graph.node):
        raise TechniqueError("This model is quantised already. Quantise once per recipe.")
    if not feeds:
        raise TechniqueError(
            "There are no calibration samples to find ranges with. Give a few inputs."
        )
    chosen = integer_nodes(model, layers)
    stored = {tensor.name for tensor in model.graph.initializer}
    stored.update(
        name for node in model.graph.node if node.op_type == "Constant" for name in node.output
    )
    tensors = [
        name
        for node in model.graph.node
        if node.name in chosen
        for name in (*node.input, *node.output)
        if name and name not in stored
    ]
    if not tensors:
        raise TechniqueError("No operator of this model is one that the quantiser can quantise.")
    ranges = calibrate(model, tensors, feeds, options)
    if TensorProto.FLOAT16 in ranges.types.values():
        raise TechniqueError(
            "This model computes in half precision, which the quantiser does not handle. "
            "Use either fp16 or 8 bits."
        )
    return ranges


def quantise(
    model: ModelProto, layers: Collection[str], ranges: Ranges, options: Int8StaticOptions
) -> ModelProto:
    """A copy of `model` in which `layers`, and what follows them, compute with integers.

    Args:
        model: in floating point; its nodes have names. Not changed.
        layers: names of nodes.
        ranges: from `calibrate_layers`, for these layers or more.
        options: types and granularity.

    Raises:
        TechniqueError: there is nothing that the quantiser can quantise.
    """
    import numpy as np
    from onnx import ModelProto
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorsData

    chosen = integer_nodes(model, layers)
    types = {node.op_type for node in model.graph.node if node.name in chosen}
    limits = {
        name: (np.array(low, np.float32), np.array(high, np.float32))
        for name, (low, high) in ranges.limits.items()
    }
    copy = ModelProto()
    copy.CopyFrom(model)
    _declare_types(copy, ranges)
    quantiser = QDQQuantizer(
        copy,
        options.per_channel,
        options.reduce_range,
        QuantType.QInt8 if options.weight == "s8" else QuantType.QUInt8,
        QuantType.QInt8 if options.activation == "s8" else QuantType.QUInt8,
        TensorsData(CalibrationMethod.MinMax, limits),
        sorted(chosen),
        [],
        sorted(types),
        {"ActivationSymmetric": options.is_symmetric()},
    )
    quantised: ModelProto = quantiser.quantize_model() if chosen else copy
    if not any(node.op_type == "QuantizeLinear" for node in quantised.graph.node):
        raise TechniqueError("The quantiser found nothing in this model that it can quantise.")
    sort_nodes(quantised)
    return quantised


def _declare_types(model: ModelProto, ranges: Ranges) -> None:
    """Tell the quantiser the types that were seen.

    Behind an operator whose outputs cannot be inferred it would leave everything float without a
    word (onnxruntime issues 10484 and 21476).
    """
    known = {value.name for value in (*model.graph.input, *model.graph.output)}
    known.update(value.name for value in model.graph.value_info)
    for name, element_type in ranges.types.items():
        if name not in known:
            model.graph.value_info.add(name=name).type.tensor_type.elem_type = element_type
