"""The channels of a model that can be removed, in groups, and their removal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Any

from fitment_compress.graph import constants, drop_unused_initializers, replace_initializer
from fitment_compress.structure.coupling import Channels, Coupling
from fitment_compress.structure.flow import FLOWS
from fitment_compress.structure.graphs import constants_as_initializers, forget_shapes
from fitment_compress.structure.tracker import Labels, Reader, Tracker

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that are chosen from together, because layers share them.

    Attributes:
        channels: each stands for all slices of all layers that vanish with it.
        layers: that make them, by name of node.
        repeats: how often each channel occurs in the widest of these layers: in a grouped
            convolution once per group.
        frozen: why none of them can be removed; empty where they can.
    """

    channels: Channels
    layers: tuple[str, ...]
    repeats: int = 1
    frozen: str = ""

    def kept_count(self, ratio: float, multiple_of: int) -> int:
        """How many channels stay when about `ratio` of them go.

        Args:
            ratio: 0 to 1.
            multiple_of: what the width of the widest layer is to be a multiple of.
        """
        unit = multiple_of // gcd(multiple_of, self.repeats)
        wanted = len(self.channels) * (1 - ratio)
        return min(len(self.channels), max(unit, unit * round(wanted / unit)))


@dataclass(frozen=True)
class ChannelMap:
    """Where every channel of a model is.

    Attributes:
        groups: every channel is in one of them.
        slices: by stored tensor and axis, the channel that each slice belongs to.
        readers: the layers that sum over channels.
        labels: by computed tensor, its channels.
        group_counts: depthwise convolutions, which have as many groups as they have inputs.
        reshapes: nodes whose target shape names a number of channels, on which axis.
    """

    groups: tuple[ChannelGroup, ...]
    slices: dict[tuple[str, int], Channels]
    readers: tuple[Reader, ...]
    labels: dict[str, Labels]
    group_counts: tuple[tuple[NodeProto, Channels], ...]
    reshapes: tuple[tuple[NodeProto, int, Channels], ...]

    def kept_positions(self, tensor: str, removed: Collection[int]) -> list[int] | None:
        """Where a tensor's remaining channels were before; None where all remain."""
        labels = self.labels.get(tensor)
        return None if labels is None else _kept(labels.channels, removed)


def map_channels(model: ModelProto) -> ChannelMap:
    """Follow all channels through a model.

    Args:
        model: its Constant nodes become initializers; nothing else changes. The map stays valid
            until the model is changed otherwise.
    """
    constants_as_initializers(model)
    tracker = Tracker(model)
    tracker.follow(model, FLOWS)
    resolve = tracker.coupling.resolve
    return ChannelMap(
        groups=_groups(tracker),
        slices={key: resolve(channels) for key, channels in tracker.bindings.items()},
        readers=tuple(
            Reader(entry.weight, entry.axis, resolve(entry.channels), entry.source)
            for entry in tracker.readers
        ),
        labels={
            name: Labels(entry.axis, resolve(entry.channels))
            for name, entry in tracker.labels.items()
        },
        group_counts=tuple((node, resolve(channels)) for node, channels in tracker.group_counts),
        reshapes=tuple(
            (node, axis, resolve(channels)) for node, axis, channels in tracker.reshapes
        ),
    )


def remove_channels(model: ModelProto, where: ChannelMap, removed: Collection[int]) -> None:
    """Take channels out of every tensor that holds them.

    Args:
        model: changed in place; `where` is out of date afterwards.
        where: the map of this very model.
        removed: channels of groups that are not frozen; never all of a group.
    """
    import numpy as np

    gone = frozenset(removed)
    stored = constants(model)
    slices: dict[str, dict[int, list[int]]] = {}
    for (name, axis), channels in where.slices.items():
        slices.setdefault(name, {})[axis] = _kept(channels, gone)
    for name, axes in slices.items():
        values = stored[name]
        for axis, kept in axes.items():
            values = np.take(values, kept, axis=axis)
        if values.shape != stored[name].shape:
            replace_initializer(model, name, values)
    for node, channels in where.group_counts:
        next(entry for entry in node.attribute if entry.name == "group").i = len(
            _kept(channels, gone)
        )
    for node, axis, channels in where.reshapes:
        _retarget(model, node, stored[node.input[1]], axis, len(_kept(channels, gone)))
    drop_unused_initializers(model)
    forget_shapes(model)


def _retarget(model: ModelProto, node: NodeProto, target: Any, axis: int, length: int) -> None:
    """Give a Reshape a target of its own: another one may read the old."""
    from onnx import numpy_helper

    own = target.copy()
    own[axis] = length
    name = f"{node.output[0]}.shape"
    if node.input[1] == name:
        replace_initializer(model, name, own)
    else:
        model.graph.initializer.append(numpy_helper.from_array(own, name))
        node.input[1] = name


def _kept(channels: Channels, removed: Collection[int]) -> list[int]:
    return [position for position, channel in enumerate(channels) if channel not in removed]


def _groups(tracker: Tracker) -> tuple[ChannelGroup, ...]:
    coupling: Coupling = tracker.coupling
    frozen = coupling.frozen_spaces()
    makers: dict[int, list[tuple[str, int]]] = {}
    spaces = coupling.spaces()
    home = {channel: space for space, members in spaces.items() for channel in members}
    for maker in tracker.makers:
        counts = Counter(coupling.resolve(maker.channels))
        channel, repeats = counts.most_common(1)[0]
        makers.setdefault(home[channel], []).append((maker.name, repeats))
    return tuple(
        ChannelGroup(
            channels=members,
            layers=tuple(dict.fromkeys(name for name, _ in makers[space])),
            repeats=max(repeats for _, repeats in makers[space]),
            frozen=frozen.get(space, ""),
        )
        for space, members in spaces.items()
        if space in makers
    )
