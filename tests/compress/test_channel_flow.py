"""How channels pass each operator: pruned behind it or in front of it, the outputs stay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from fitment_compress.graph import constants, replace_initializer
from fitment_compress.structure.channels import map_channels, remove_channels
from fitment_compress.structure.graphs import copy_of
from support.structure_models import Network, feeds_of, run, shape_of

Part = Callable[[Network, str], str]


def ints(net: Network, *numbers: int) -> str:
    name = f"ints{len(net.widths)}"
    net.widths[name] = 0
    return net.store(name, np.array(numbers))


def floats(net: Network, *numbers: float) -> str:
    name = f"floats{len(net.widths)}"
    net.widths[name] = 0
    return net.store(name, np.array(numbers, np.float32))


def dense(net: Network, x: str, features: int = 12) -> str:
    return net.gemm(net.node("Relu", x), 3, features=features)


def convolved(net: Network, x: str) -> str:
    return net.conv(net.node("Relu", x), 4)


THROUGH: dict[str, Part] = {
    "BatchNormalization": lambda net, x: convolved(net, net.batch_norm(x)),
    "InstanceNormalization": lambda net, x: convolved(
        net,
        net.node("InstanceNormalization", x, net.weight("s", 12), net.weight("o", 12)),
    ),
    "Clip": lambda net, x: convolved(net, net.node("Clip", x, floats(net, 0), floats(net, 6))),
    "PRelu": lambda net, x: convolved(net, net.node("PRelu", x, net.weight("s", 12, 1, 1))),
    "AveragePool": lambda net, x: convolved(
        net, net.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    ),
    "ConvTranspose": lambda net, x: convolved(
        net,
        net.node("ConvTranspose", x, net.weight("t", 12, 8, 2, 2), net.weight("u", 8), width=8),
    ),
    "Pad": lambda net, x: convolved(net, net.node("Pad", x, ints(net, 0, 0, 1, 1, 0, 0, 1, 1))),
    "Resize": lambda net, x: convolved(net, net.node("Resize", x, "", floats(net, 1, 1, 2, 2))),
    "Transpose": lambda net, x: net.node(
        "MatMul",
        net.node("Transpose", net.node("Relu", x), perm=[0, 2, 3, 1]),
        net.weight("m", 12, 3),
        width=3,
    ),
    "Squeeze": lambda net, x: dense(
        net, net.node("Squeeze", net.node("GlobalAveragePool", x), ints(net, 2, 3))
    ),
    "Unsqueeze": lambda net, x: net.conv(
        net.node("Unsqueeze", net.node("ReduceMax", x, axes=[2, 3], keepdims=0), ints(net, 2, 3)),
        4,
        kernel=1,
    ),
    "ReduceMean": lambda net, x: dense(net, net.node("ReduceMean", x, axes=[2, 3], keepdims=0)),
    "ReduceSum": lambda net, x: convolved(net, net.node("ReduceSum", x, ints(net, 3), keepdims=1)),
    "Flatten": lambda net, x: dense(net, net.node("Flatten", x), features=12 * 36),
    "Reshape to pixels": lambda net, x: net.conv(
        net.node("Reshape", x, ints(net, -1, 12, 36)), 4, rank=1
    ),
    "Reshape to a vector": lambda net, x: dense(
        net, net.node("Reshape", net.node("GlobalMaxPool", x), ints(net, 0, -1))
    ),
    "Softmax of pixels": lambda net, x: convolved(net, net.node("Softmax", x, axis=3)),
    "Constant operand": lambda net, x: convolved(
        net, net.node("Mul", net.weight("c", 1, 12, 1, 1), x, width=12)
    ),
    "Scalar operand": lambda net, x: convolved(net, net.node("Mul", x, floats(net, 0.5))),
    "Spread over channels": lambda net, x: convolved(
        net, net.node("Mul", x, net.node("Sigmoid", net.conv("x", 1)))
    ),
    "Concat": lambda net, x: convolved(net, net.concat(x, net.conv("x", 4), x)),
    "Concat with the model's input": lambda net, x: convolved(net, net.concat("x", x)),
}

STOPPED: dict[str, Part] = {
    "Softmax of channels": lambda net, x: convolved(net, net.node("Softmax", x, axis=1)),
    "Concat of rows": lambda net, x: convolved(
        net, net.node("Concat", x, net.conv("x", 12), axis=2)
    ),
    "Pad of channels": lambda net, x: net.conv(
        net.node("Pad", x, ints(net, 0, 1, 0, 0, 0, 0, 0, 0), width=13), 4
    ),
    "Resize of channels": lambda net, x: net.conv(
        net.node("Resize", x, "", floats(net, 1, 2, 1, 1), width=24), 4
    ),
    "ReduceMean of channels": lambda net, x: net.node("ReduceMean", x, axes=[1]),
    "Flatten of the batch": lambda net, x: net.node("Flatten", x, axis=2),
    "Reshape across channels": lambda net, x: net.conv(
        net.node("Reshape", x, ints(net, -1, 6, 12, 6), width=6), 4
    ),
    "LayerNormalization": lambda net, x: net.node(
        "LayerNormalization", x, net.weight("s", 12, 6, 6), axis=1
    ),
    "Addition to the model's input": lambda net, x: convolved(
        net, net.node("Add", x, net.node("Tile", "x", ints(net, 1, 6, 1, 1)), width=12)
    ),
    "Scaled by another result": lambda net, x: net.node(
        "MatMul", x, net.node("Transpose", x, perm=[0, 1, 3, 2])
    ),
    "Spread from one channel": lambda net, x: net.conv(
        net.node("Mul", net.node("ReduceMax", x, axes=[1]), x, width=12), 4
    ),
}


@pytest.mark.parametrize("kind", sorted(THROUGH))
def test_channels_pass(kind: str) -> None:
    net = Network(0, 2, 6, 6)
    model = net.model(THROUGH[kind](net, net.conv("x", 12)))
    where = map_channels(model)
    group = next(group for group in where.groups if "conv_0" in group.layers)
    assert not group.frozen
    removed = set(group.channels[::2])
    for (name, axis), channels in where.slices.items():
        values = np.moveaxis(constants(model)[name].copy(), axis, 0)
        values[[channel in removed for channel in channels]] = 0
        replace_initializer(model, name, np.ascontiguousarray(np.moveaxis(values, 0, axis)))
    feeds = feeds_of(model, 2)
    expected = run(model, feeds)
    small = copy_of(model)
    remove_channels(small, map_channels(small), removed)
    onnx.checker.check_model(small, full_check=True)
    assert shape_of(small, "conv0.w")[0] == 6
    np.testing.assert_allclose(run(small, feeds), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(STOPPED))
def test_channels_are_stopped(kind: str) -> None:
    net = Network(0, 2, 6, 6)
    where = map_channels(net.model(STOPPED[kind](net, net.conv("x", 12))))
    group = next(group for group in where.groups if "conv_0" in group.layers)
    assert group.frozen


def test_constants_in_nodes_are_pruned_like_initializers() -> None:
    net = Network(0, 2, 6, 6)
    model = net.model(net.conv(net.conv("x", 12), 4))
    for tensor in list(model.graph.initializer):
        node = onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)
        model.graph.node.insert(0, node)
        model.graph.initializer.remove(tensor)
    where = map_channels(model)
    remove_channels(model, where, where.groups[0].channels[:6])
    assert run(model, feeds_of(model, 1)).shape == (1, 4, 6, 6)
    assert shape_of(model, "conv0.w") == (6, 2, 3, 3)


def test_initializers_that_old_files_declare_as_inputs_are_pruned() -> None:
    net = Network(0, 2, 6, 6)
    model = net.model(net.conv(net.conv("x", 12), 4))
    for tensor in model.graph.initializer:
        value = onnx.helper.make_tensor_value_info(tensor.name, 1, tensor.dims)
        model.graph.input.append(value)
    where = map_channels(model)
    remove_channels(model, where, where.groups[0].channels[:6])
    assert run(model, feeds_of(model, 1)).shape == (1, 4, 6, 6)
