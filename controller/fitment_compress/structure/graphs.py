"""Changes to a graph that several kinds of surgery share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fitment_compress.graph import attribute, drop_unused_initializers, input_values, walk

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto


def copy_of(model: ModelProto) -> ModelProto:
    """A model that may be changed."""
    from onnx import ModelProto as Model

    copy = Model()
    copy.CopyFrom(model)
    return copy


def node_name(node: NodeProto) -> str:
    """How a node is called in messages: its name, or that of its first output."""
    return node.name or str(node.output[0])


def names_read(node: NodeProto) -> list[str]:
    """The tensors that a node reads, those read by the bodies of an If or a Loop included."""
    names = [name for name in node.input if name]
    for entry in node.attribute:
        for inner in (entry.g, *entry.graphs):
            for graph in walk(inner):
                names.extend(name for child in graph.node for name in child.input if name)
                names.extend(value.name for value in graph.output)
    return names


def read_counts(model: ModelProto) -> Counter[str]:
    """How often each tensor is read; being an output of the model counts as one reading."""
    counts = Counter(name for node in model.graph.node for name in names_read(node))
    counts.update(value.name for value in model.graph.output)
    return counts


def constants_as_initializers(model: ModelProto) -> None:
    """Make initializers the only place of stored values, so that they can be changed alike.

    Values of Constant nodes move there, and inputs that only give initializers a shape go, as
    files of before 2019 have them.
    """
    inputs = input_values(model)
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    kept = []
    for node in model.graph.node:
        value = attribute(node, "value", None) if node.op_type == "Constant" else None
        if value is None:
            kept.append(node)
        else:
            model.graph.initializer.add().CopyFrom(value)
            model.graph.initializer[-1].name = node.output[0]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def drop_dead_nodes(model: ModelProto) -> None:
    """Remove nodes and initializers from which no output of the model follows."""
    wanted = {value.name for value in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(names_read(node))
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
    drop_unused_initializers(model)


def forget_shapes(model: ModelProto) -> None:
    """Drop inferred shapes, which surgery made wrong."""
    del model.graph.value_info[:]


def tapped(model: ModelProto, names: Iterable[str]) -> ModelProto:
    """A copy that ends in the tensors `names`, without what they do not need.

    Args:
        model: not changed.
        names: tensors of the main graph.
    """
    from onnx import ValueInfoProto

    copy = copy_of(model)
    forget_shapes(copy)
    del copy.graph.output[:]
    copy.graph.output.extend(ValueInfoProto(name=name) for name in names)
    drop_dead_nodes(copy)
    return copy


def downstream(model: ModelProto, names: Iterable[str]) -> set[str]:
    """The tensors that change when these do, these included."""
    changed = set(names)
    for node in model.graph.node:
        if changed.intersection(names_read(node)):
            changed.update(node.output)
    return changed


def unused_name(model: ModelProto, wish: str) -> str:
    """`wish`, or the first `wish.N` that nothing in the main graph is called."""
    taken = {name for node in model.graph.node for name in (*node.output, *node.input)}
    taken.update(tensor.name for tensor in model.graph.initializer)
    name, count = wish, 1
    while name in taken:
        name, count = f"{wish}.{count}", count + 1
    return name


def store(model: ModelProto, wish: str, values: NDArray[Any]) -> str:
    """Add a float32 initializer; its name."""
    from onnx import numpy_helper

    name = unused_name(model, wish)
    tensor = numpy_helper.from_array(values.astype("float32"), name)
    model.graph.initializer.append(tensor)
    return name


def replace_node(model: ModelProto, node: NodeProto, others: Sequence[NodeProto]) -> None:
    """Put nodes in the place of one; the last of them gives its output."""
    nodes = list(model.graph.node)
    position = next(index for index, one in enumerate(nodes) if one.output[0] == node.output[0])
    nodes[position : position + 1] = others
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def rename_inputs(model: ModelProto, names: dict[str, str]) -> None:
    """Let every node of the main graph read `names[x]` where it read `x`."""
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name in names:
                node.input[position] = names[name]
