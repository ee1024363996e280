"""A full convolution as a depthwise one and a pointwise one."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from fitment_compress.graph import constants
from fitment_compress.structure.graphs import replace_node, store, unused_name
from fitment_compress.structure.layers import Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto


def cost_ratio(outputs: int, kernel: tuple[int, ...], multiplier: int = 1) -> float:
    """Multiplications of a separable convolution over those of a full one.

    1/N + 1/k^2 for square kernels and a multiplier of 1 ("MobileNets", Howard et al., 2017,
    section 3.1).

    Args:
        outputs: channels of the output, N.
        kernel: lengths of the kernel's axes, k.
        multiplier: depthwise filters per input channel.
    """
    return multiplier * (1 / outputs + 1 / prod(kernel))


def factor(weight: NDArray[Any], multiplier: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The best depthwise and pointwise weights in place of a full one.

    What an input channel contributes to all outputs is a matrix (outputs, positions of the
    kernel); its leading singular vectors are the channel's filters and their mixture. No other
    choice of as many filters has a smaller squared error of the weights.

    Args:
        weight: (outputs, inputs, *kernel).
        multiplier: filters per input channel.

    Returns:
        (inputs * multiplier, 1, *kernel) and (outputs, inputs * multiplier, 1, ...).
    """
    import numpy as np

    outputs, inputs, *kernel = weight.shape
    matrices = weight.astype(np.float64).reshape(outputs, inputs, -1).transpose(1, 0, 2)
    left, sizes, right = np.linalg.svd(matrices, full_matrices=False)
    roots = np.sqrt(sizes[:, :multiplier])
    filters = roots[:, :, None] * right[:, :multiplier]
    mixture = left[:, :, :multiplier] * roots[:, None, :]
    depthwise = filters.reshape(inputs * multiplier, 1, *kernel)
    pointwise = mixture.transpose(1, 0, 2).reshape(outputs, -1, *[1] * len(kernel))
    return depthwise, pointwise


def separate(model: ModelProto, layer: Layer, multiplier: int) -> None:
    """Put a depthwise and a pointwise convolution in the place of a full one.

    Args:
        model: changed in place; names of tensors stay.
        layer: a convolution of this model; out of date afterwards.
        multiplier: filters per input channel, at most as many as the kernel has positions.
    """
    from onnx import helper

    output = layer.node.output[0]
    depthwise, pointwise = factor(constants(model)[layer.weight], multiplier)
    between = unused_name(model, f"{output}.depthwise")
    kept = [entry for entry in layer.node.attribute if entry.name != "group"]
    first = helper.make_node(
        "Conv",
        [layer.node.input[0], store(model, f"{output}.filters", depthwise)],
        [between],
        between,
        group=layer.shape[1],
    )
    first.attribute.extend(kept)
    bias = [layer.bias] if layer.bias else []
    mixture = store(model, f"{output}.mixture", pointwise)
    second = helper.make_node("Conv", [between, mixture, *bias], [output], output)
    replace_node(model, layer.node, [first, second])
