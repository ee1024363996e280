"""New random weights for students that learn from nothing."""

from __future__ import annotations

from math import prod

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from fitment_compress.graph import WEIGHTED_OPERATORS, attribute, replace_initializer


def reinitialise(model: ModelProto, seed: int) -> ModelProto:
    """Replace all weights by random ones and their biases by zeroes.

    Weights are normal with variance 2 over the number of inputs of an output, which keeps the size
    of signals through rectifiers (He et al., "Delving deep into rectifiers", 2015).

    Args:
        model: changed in place.
        seed: equal seeds give equal weights.
    """
    generator = np.random.default_rng(seed)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in WEIGHTED_OPERATORS or node.input[1] not in stored:
            continue
        name = node.input[1]
        values = numpy_helper.to_array(stored[name])
        if values.dtype.kind != "f":
            continue
        drawn = generator.normal(0.0, np.sqrt(2.0 / _inputs(node, values.shape)), values.shape)
        replace_initializer(model, name, drawn.astype(values.dtype))
        if len(node.input) > 2 and node.input[2] in stored:
            bias = numpy_helper.to_array(stored[node.input[2]])
            replace_initializer(model, node.input[2], np.zeros_like(bias))
    return model


def _inputs(node: NodeProto, shape: tuple[int, ...]) -> int:
    """How many numbers an output is the weighted sum of, at most: strides leave some out."""
    if node.op_type == "Conv" or attribute(node, "transB", 0):
        return prod(shape[1:])
    if node.op_type == "ConvTranspose":
        return prod(shape) // shape[1] // int(attribute(node, "group", 1))
    return shape[-2] if len(shape) > 1 else shape[0]
