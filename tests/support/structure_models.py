"""Small networks for surgery, built layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from support.runtime_models import OPSET

Array = NDArray[Any]


class Network:
    """A graph under construction; every method adds a node and gives the name of its output."""

    def __init__(self, seed: int, *input_shape: int) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._stored: list[onnx.TensorProto] = []
        self._input = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *input_shape])
        self.widths: dict[str, int] = {"x": input_shape[0]}

    def node(self, kind: str, *inputs: str, width: int | None = None, **attributes: Any) -> str:
        """Any node with one output, `width` channels wide; as wide as its input by default."""
        output = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], output, **attributes))
        self.widths[output] = self.widths[inputs[0]] if width is None else width
        return output

    def store(self, name: str, values: Array) -> str:
        """An initializer."""
        self._stored.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def weight(self, name: str, *shape: int) -> str:
        """Normal float32 numbers that keep the variance of what they are applied to."""
        fan_in = max(1, int(np.prod(shape[1:])))
        values = self._random.normal(size=shape) / np.sqrt(fan_in)
        return self.store(name, values.astype(np.float32))

    def conv(self, x: str, width: int, kernel: int = 3, rank: int = 2, **attributes: Any) -> str:
        """A convolution with padding and a bias."""
        key = f"conv{len(self._nodes)}"
        per_group = self.widths[x] // attributes.get("group", 1)
        weight = self.weight(f"{key}.w", width, per_group, *[kernel] * rank)
        bias = self.weight(f"{key}.b", width)
        pads = [kernel // 2] * (2 * rank)
        return self.node("Conv", x, weight, bias, width=width, pads=pads, **attributes)

    def gemm(self, x: str, width: int, features: int | None = None) -> str:
        """A dense layer with a bias, its weight as (features, width)."""
        key = f"gemm{len(self._nodes)}"
        weight = self.weight(f"{key}.w", features or self.widths[x], width)
        return self.node("Gemm", x, weight, self.weight(f"{key}.b", width), width=width)

    def batch_norm(self, x: str) -> str:
        """Normalisation with statistics that are not the identity."""
        key, width = f"bn{len(self._nodes)}", self.widths[x]
        rows = [1 + abs(self._random.normal(size=width)) for _ in range(4)]
        names = [
            self.store(f"{key}.{part}", row.astype(np.float32))
            for part, row in zip(("scale", "bias", "mean", "var"), rows, strict=True)
        ]
        return self.node("BatchNormalization", x, *names)

    def concat(self, *parts: str) -> str:
        """Channels side by side."""
        width = sum(self.widths[part] for part in parts)
        return self.node("Concat", *parts, width=width, axis=1)

    def head(self, x: str, classes: int = 4) -> str:
        """Pooling, flattening and a dense layer."""
        return self.gemm(self.node("Flatten", self.node("GlobalAveragePool", x)), classes)

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The graph from `x` to `outputs`."""
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self._nodes, "g", [self._input], values, self._stored)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        shaped = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(shaped, full_check=True)
        return shaped


def residual_network(seed: int = 0, width: int = 16, classes: int = 4) -> onnx.ModelProto:
    """Images (1, 8, 8): two residual blocks, one depthwise, batch normalisation, a head."""
    net = Network(seed, 1, 8, 8)
    stem = net.node("Relu", net.batch_norm(net.conv("x", width)))
    inner = net.node("Relu", net.conv(stem, 2 * width))
    first = net.node("Relu", net.node("Add", net.conv(inner, width), stem))
    depthwise = net.node("Relu", net.conv(first, width, group=width))
    second = net.node("Add", first, net.node("Relu", net.conv(depthwise, width, kernel=1)))
    return net.model(net.head(second, classes))


def dense_network(seed: int = 0, features: int = 12, classes: int = 4) -> onnx.ModelProto:
    """Vectors: three dense layers, the middle one a MatMul and an Add."""
    net = Network(seed, features)
    hidden = net.node("Relu", net.gemm("x", 32))
    product = net.node("MatMul", hidden, net.weight("m", 32, 24), width=24)
    biased = net.node("Add", product, net.weight("c", 24))
    return net.model(net.gemm(net.node("Relu", biased), classes))


def sequence_network(seed: int = 0, classes: int = 3) -> onnx.ModelProto:
    """Series (6, 32): one-dimensional convolutions, one depthwise, a head on the flattened."""
    net = Network(seed, 6, 32)
    first = net.node("Relu", net.conv("x", 24, rank=1, strides=[2]))
    depthwise = net.node("Relu", net.conv(first, 24, rank=1, group=24))
    second = net.node("Relu", net.conv(depthwise, 16, kernel=1, rank=1))
    pooled = net.node("MaxPool", second, kernel_shape=[4], strides=[4])
    flat = net.node("Flatten", pooled, width=64)
    return net.model(net.gemm(flat, classes))


def feeds_of(model: onnx.ModelProto, count: int, seed: int = 7) -> list[Mapping[str, Array]]:
    """Standard normal samples with a batch axis of 1."""
    (value,) = model.graph.input
    shape = [axis.dim_value or 1 for axis in value.type.tensor_type.shape.dim]
    generator = np.random.default_rng(seed)
    return [{value.name: generator.normal(size=shape).astype(np.float32)} for _ in range(count)]


def run(model: onnx.ModelProto, feeds: Sequence[Mapping[str, Array]]) -> Array:
    """The model's first output for every feed, one below the other, by onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.concatenate([session.run(None, dict(feed))[0] for feed in feeds])


def shape_of(model: onnx.ModelProto, name: str) -> tuple[int, ...]:
    """The shape of an initializer."""
    return next(tuple(t.dims) for t in model.graph.initializer if t.name == name)
