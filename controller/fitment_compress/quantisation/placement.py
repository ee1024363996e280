"""Which nodes of a graph become integer."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from fitment_compress.graph import attribute, constants, input_values

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from fitment_compress.techniques.int8_static import Int8StaticOptions

FOLLOWERS: Final = (
    *("Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("Flatten", "Reshape", "Transpose", "Resize", "Squeeze", "Unsqueeze"),
)
"""Operators that become integer where their input is integer already. They widen no range, and
each float one between two integer convolutions costs a conversion there and back: with them the
shipped watch model gained 2.6x in place of 1.8x, at one point more accuracy."""

JOINS: Final = ("Add", "Concat")
"""Operators that become integer where all of their inputs are. The result is as wide as its widest
input, or their sum; Mul is none of them, because products span what no 8 bits do."""

STEM_PRODUCTS: Final = 32
"""A convolution of the model's input with fewer products per output stays float. It has one to
three channels, and integer kernels multiply four neighbouring channels at once: 9 products took
22.8 us as integers and 10.2 us as floats on the shipped fashion model (AVX512-VNNI, one thread),
whose latency fell from 0.84 to 0.70 of fp32, while per-tensor scales went from 79.6 % to 92.6 %
accuracy. 27 products (MobileNetV2 at 96 x 96) brought 0.54 to 0.53. The 147 of ResNet-18 are worth
their integers: 0.30, against 0.45 with a float stem."""


def name_nodes(model: ModelProto) -> None:
    """Give every unnamed node a name; the quantiser is told nodes by their names."""
    taken = {node.name for node in model.graph.node}
    for index, node in enumerate(model.graph.node):
        if not node.name:
            node.name = f"{node.op_type}.{index}"
            while node.name in taken:
                node.name += "_"
            taken.add(node.name)


def find_layers(model: ModelProto, options: Int8StaticOptions) -> list[str]:
    """The names of the nodes that quantisation is about, in the order of the graph.

    Args:
        model: whose nodes have names.
        options: which operators, and whether a slim stem stays float. Where nothing but the stem
            could become integer, it does.
    """
    if options.operators == "all":
        return [node.name for node in model.graph.node if node.op_type in _everything()]
    chosen = [node.name for node in model.graph.node if node.op_type in options.operators]
    spared = slim_stem(model) if options.stem == "float" else set()
    return [name for name in chosen if name not in spared] or chosen


def slim_stem(model: ModelProto) -> set[str]:
    """The convolutions of the model's inputs with few products, and depthwise ones behind them.

    A depthwise convolution is as fast in floating point as in integers (6.8 and 6.7 us on the
    shipped fashion model), and often shrinks what has to be converted behind it: 0.65 of fp32's
    latency in place of 0.70, and 0.50 in place of 0.53 for MobileNetV2 at 96 x 96.
    """
    shapes = {name: values.shape for name, values in constants(model).items()}
    fresh = {value.name for value in input_values(model)}
    stem = set()
    for node in model.graph.node:
        if not node.input or node.input[0] not in fresh:
            continue
        if node.op_type in ("Relu", "Clip"):
            fresh.update(node.output)
        elif node.op_type == "Conv" and _is_slim(node, shapes):
            stem.add(node.name)
            fresh.update(node.output)
    return stem


def integer_nodes(model: ModelProto, layers: Collection[str]) -> set[str]:
    """The names of `layers` and of the followers and joins that only integers reach.

    Args:
        model: whose nodes have names and are in topological order, as the standard asks.
        layers: names of nodes.
    """
    names = set(layers)
    integer: set[str] = set()
    for node in model.graph.node:
        follows = node.op_type in FOLLOWERS and node.input[0] in integer
        joins = node.op_type in JOINS and all(name in integer for name in node.input)
        if node.name in names or follows or joins:
            names.add(node.name)
            integer.update(node.output)
    return names


def _is_slim(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> bool:
    shape = shapes.get(node.input[1])
    if shape is None:
        return False
    products = 1
    for length in shape[1:]:
        products *= length
    is_whole = attribute(node, "group", 1) == 1
    return products < STEM_PRODUCTS and (shape[1] < 4 if is_whole else shape[1] == 1)


def _everything() -> set[str]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return {*QDQRegistry, *QLinearOpsRegistry}
