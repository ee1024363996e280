"""Regions of a graph that give a tensor of the shape that they take: depth that can be left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fitment_compress.graph import WEIGHTED_OPERATORS, constants
from fitment_compress.structure.graphs import (
    drop_dead_nodes,
    forget_shapes,
    names_read,
    read_counts,
    rename_inputs,
)
from fitment_compress.structure.shapes import Shapes, tensor_shapes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

ACTIVATIONS: Final = ("Relu", "Clip", "LeakyRelu", "HardSwish", "Sigmoid", "Tanh", "Elu", "Gelu")


@dataclass(frozen=True)
class Block:
    """A part of the graph with one way in and one way out.

    Attributes:
        source: the tensor that it takes.
        output: the tensor that it gives, of the same shape.
        inner: what its nodes give, `output` included.
    """

    source: str
    output: str
    inner: frozenset[str]


class _Graph:
    """A model with the answers that the search for blocks asks for again and again."""

    def __init__(self, model: ModelProto) -> None:
        self.nodes: list[NodeProto] = list(model.graph.node)
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in set(names_read(node)):
                self.readers.setdefault(name, []).append(node)
        self.counts = read_counts(model)
        self.outputs = {value.name for value in model.graph.output}
        self.shapes: Shapes = tensor_shapes(model)
        self._stored = set(constants(model))

    def computed(self, node: NodeProto) -> list[str]:
        """What a node reads that is not stored."""
        return [name for name in names_read(node) if name not in self._stored]

    def same_shape(self, one: str, other: str) -> bool:
        return one in self.shapes and self.shapes[one] == self.shapes.get(other)


def find_blocks(model: ModelProto) -> list[Block]:
    """Blocks that share no node, in topological order.

    Residual blocks: what is added to a tensor that it was computed from alone, with the addition
    and an activation behind it that was applied to the tensor already. Chains: one layer with its
    normalisation and activation.
    """
    graph = _Graph(model)
    residual = [block for node in graph.nodes for block in _residual(graph, node)]
    chains = [block for node in graph.nodes for block in _chain(graph, node)]
    taken: set[str] = set()
    found = []
    for block in (*sorted(residual, key=lambda block: len(block.inner)), *chains):
        if not taken & block.inner and block.output not in graph.outputs:
            taken |= block.inner
            found.append(block)
    order = {name: index for index, node in enumerate(graph.nodes) for name in node.output}
    return sorted(found, key=lambda block: order[block.output])


def drop_blocks(model: ModelProto, blocks: Iterable[Block]) -> None:
    """Let the readers of each block's output read what the block took.

    Args:
        model: changed in place.
        blocks: of this model, without common nodes.
    """
    sources = {block.output: block.source for block in blocks}
    rename_inputs(model, {name: _origin(name, sources) for name in sources})
    drop_dead_nodes(model)
    forget_shapes(model)


def _origin(name: str, sources: Mapping[str, str]) -> str:
    while name in sources:  # blocks behind blocks
        name = sources[name]
    return name


def _residual(graph: _Graph, node: NodeProto) -> list[Block]:
    if node.op_type != "Add" or len(graph.computed(node)) != 2:
        return []
    for source, branch in (tuple(node.input), tuple(node.input)[::-1]):
        inner = _between(graph, source, branch)
        if inner is None or not graph.same_shape(source, node.output[0]):
            continue
        output = _with_activation(graph, source, node.output[0])
        inner |= {node.output[0], output}
        if _closed(graph, inner, output):
            return [Block(source, output, frozenset(inner))]
    return []


def _between(graph: _Graph, source: str, branch: str) -> set[str] | None:
    """All that `branch` is computed from behind `source`; None when from something else too."""
    inner: set[str] = set()
    waiting = [branch]
    weighted = False
    while waiting:
        name = waiting.pop()
        if name == source or name in inner:
            continue
        if name not in graph.makers:
            return None  # an input of the model
        node = graph.makers[name]
        weighted |= node.op_type in WEIGHTED_OPERATORS
        inner.update(output for output in node.output if output)
        waiting.extend(graph.computed(node))
    return inner if weighted else None


def _with_activation(graph: _Graph, source: str, output: str) -> str:
    """The activation behind a block belongs to it if its input went through the same."""
    readers = graph.readers.get(output, [])
    maker = graph.makers.get(source)
    if len(readers) != 1 or maker is None or output in graph.outputs:
        return output
    same = readers[0].op_type in ACTIVATIONS and readers[0].op_type == maker.op_type
    return readers[0].output[0] if same else output


def _closed(graph: _Graph, inner: set[str], output: str) -> bool:
    """Whether nothing outside reads from the inside."""
    for name in inner - {output}:
        if name in graph.outputs:
            return False
        if any(not inner.intersection(node.output) for node in graph.readers.get(name, [])):
            return False
    return True


def _chain(graph: _Graph, node: NodeProto) -> list[Block]:
    """A layer and what follows it one by one, as long as the shape stays that of its input."""
    if node.op_type not in WEIGHTED_OPERATORS:
        return []
    source, output, inner = node.input[0], "", set[str]()
    step: NodeProto | None = node
    while step is not None and len(graph.computed(step)) == 1 and len(step.output) == 1:
        if not graph.same_shape(source, step.output[0]):
            break
        output = step.output[0]
        inner.add(output)
        readers = graph.readers.get(output, [])
        only = len(readers) == 1 and graph.counts[output] == 1
        step = readers[0] if only and readers[0].op_type not in WEIGHTED_OPERATORS else None
    return [Block(source, output, frozenset(inner))] if output else []
