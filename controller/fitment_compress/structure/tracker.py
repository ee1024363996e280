"""Follows channels through a graph, from the layers that make them to the layers that read them.

After "DepGraph: Towards Any Structural Pruning" (Fang et al., 2023), on the ONNX graph in place of
a traced module: a concatenation is a concatenation of lists of channels, a flattening repeats
them, a residual addition ties them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fitment_compress.graph import MAIN_DOMAINS, attribute, constants
from fitment_compress.structure.coupling import Channels, Coupling
from fitment_compress.structure.graphs import names_read, node_name
from fitment_compress.structure.shapes import tensor_shapes

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

MODEL_OUTPUT = -1
"""Stands for the caller among the nodes that read a tensor."""


class OpaqueError(Exception):
    """Channels cannot be followed through this node."""


@dataclass(frozen=True)
class Labels:
    """Which channel is at each position of one axis of a tensor."""

    axis: int
    channels: Channels


@dataclass(frozen=True)
class Reader:
    """A layer that sums over channels.

    Attributes:
        weight, axis: where the layer's weights have one slice per channel.
        channels: of the slices, in their order.
        source: the tensor that the layer reads.
    """

    weight: str
    axis: int
    channels: Channels
    source: str


@dataclass(frozen=True)
class Maker:
    """A layer whose output channels begin with it."""

    name: str
    channels: Channels


class Tracker:
    """What is known about channels so far; one `flow` function per operator adds to it."""

    def __init__(self, model: ModelProto) -> None:
        self.shapes = tensor_shapes(model)
        self.coupling = Coupling()
        self.labels: dict[str, Labels] = {}
        self.bindings: dict[tuple[str, int], Channels] = {}
        self.group_counts: list[tuple[NodeProto, Channels]] = []
        self.reshapes: list[tuple[NodeProto, int, Channels]] = []
        self.readers: list[Reader] = []
        self.makers: list[Maker] = []
        self._known = constants(model)
        self._binders: dict[tuple[str, int], set[int]] = defaultdict(set)
        self._node = 0

    def follow(self, model: ModelProto, flows: Any) -> None:
        """Walk the graph once, from its inputs to its outputs.

        Args:
            model: whose nodes are in topological order, as the standard asks.
            flows: by operator type, what that operator does to channels.
        """
        for self._node, node in enumerate(model.graph.node):
            made = len(self.makers)
            flow = flows.get(node.op_type) if node.domain in MAIN_DOMAINS else None
            try:
                if flow is None:
                    raise OpaqueError
                flow(self, node)
            except OpaqueError:
                self._stop(node, made)
        for value in model.graph.output:
            if value.name in self.labels:
                self.freeze(self.labels[value.name].channels, f"{value.name} is an output")
        self._freeze_half_bound(model)

    def fresh(self, node: NodeProto, count: int, repeat: int = 1) -> Channels:
        """New channels that `node` makes, `repeat` times over."""
        channels = self.coupling.fresh(count) * repeat
        self.makers.append(Maker(node_name(node), channels))
        return channels

    def give(self, tensor: str, axis: int, channels: Channels) -> None:
        """Say which channels a tensor has.

        Raises:
            OpaqueError: it is known to have another number of them.
        """
        shape = self.shapes.get(tensor)
        if shape is not None and (len(shape) <= axis or shape[axis] != len(channels)):
            raise OpaqueError
        self.labels[tensor] = Labels(axis, channels)

    def bind(self, name: str, axis: int, channels: Channels | None) -> None:
        """Slices of a stored tensor belong to channels; None: they must all stay.

        Raises:
            OpaqueError: the tensor is computed, or has another number of slices.
        """
        if name not in self._known:
            raise OpaqueError
        if channels is None:
            return
        if self._known[name].shape[axis] != len(channels):
            raise OpaqueError
        self.coupling.tie(self.bindings.setdefault((name, axis), channels), channels)
        self._binders[name, axis].add(self._node)

    def read(self, node: NodeProto, axis: int, channels: Channels | None) -> None:
        """The weights of `node` have one slice per channel that it sums over."""
        self.bind(node.input[1], axis, channels)
        if channels is not None:
            self.readers.append(Reader(node.input[1], axis, channels, node.input[0]))

    def freeze(self, channels: Channels, why: str) -> None:
        """These must stay."""
        self.coupling.freeze(channels, why)

    def constant(self, node: NodeProto, position: int) -> Any:
        """A stored input of `node`; None where the optional input is absent.

        Raises:
            OpaqueError: the input is computed.
        """
        name = node.input[position] if position < len(node.input) else ""
        if name and name not in self._known:
            raise OpaqueError
        return self._known[name] if name else None

    def shape(self, tensor: str) -> tuple[int, ...]:
        """The shape of a tensor.

        Raises:
            OpaqueError: it is unknown.
        """
        if tensor not in self.shapes:
            raise OpaqueError
        return self.shapes[tensor]

    def is_stored(self, name: str) -> bool:
        """Whether a tensor's values are in the file."""
        return name in self._known

    def axes(self, node: NodeProto, rank: int) -> list[int] | None:
        """The axes that an operator names by attribute (old opsets) or by input, from 0."""
        stored = self.constant(node, 1)
        axes = attribute(node, "axes", None) if stored is None else stored.ravel().tolist()
        return None if axes is None else [int(axis) % rank for axis in axes]

    def _stop(self, node: NodeProto, made: int) -> None:
        """What goes into `node`, and what it began to make, must stay whole."""
        why = f"{node.op_type} {node_name(node)} needs it whole"
        for name in names_read(node):
            if name in self.labels:
                self.freeze(self.labels[name].channels, why)
        for maker in self.makers[made:]:
            self.freeze(maker.channels, why)

    def _freeze_half_bound(self, model: ModelProto) -> None:
        """A stored tensor that is also read otherwise, untracked, cannot be sliced."""
        users: dict[str, set[int]] = defaultdict(set)
        for index, node in enumerate(model.graph.node):
            for name in names_read(node):
                users[name].add(index)
        for value in model.graph.output:
            users[value.name].add(MODEL_OUTPUT)
        for (name, axis), channels in self.bindings.items():
            if self._binders[name, axis] != users[name]:
                self.freeze(channels, f"{name} is shared with a layer that needs it whole")
