"""What each operator does to channels. What is not in the table stops them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Final

from fitment_compress.graph import attribute
from fitment_compress.structure.coupling import Channels
from fitment_compress.structure.tracker import Labels, OpaqueError, Tracker

if TYPE_CHECKING:
    from onnx import NodeProto

Flow = Callable[[Tracker, "NodeProto"], None]


def _input(tracker: Tracker, node: NodeProto, axis: int | None = None) -> Labels | None:
    """The channels of a node's first input, which must lie on `axis` where one is named."""
    if any(name in tracker.labels for name in node.input[1:]):
        raise OpaqueError
    labels = tracker.labels.get(node.input[0])
    if labels is not None and axis is not None and labels.axis != axis:
        raise OpaqueError
    return labels


def _bind_optional(tracker: Tracker, node: NodeProto, position: int, channels: Channels) -> None:
    if position < len(node.input) and node.input[position]:
        tracker.bind(node.input[position], 0, channels)


def _conv(tracker: Tracker, node: NodeProto) -> None:
    weight = tracker.constant(node, 1)
    labels = _input(tracker, node, axis=1)
    incoming = labels.channels if labels else None
    groups = attribute(node, "group", 1)
    if groups > 1 and weight.shape[1] == 1:
        _depthwise(tracker, node, incoming)
        return
    outgoing = tracker.fresh(node, weight.shape[0] // groups, repeat=groups)
    if incoming is not None and groups > 1:
        # Every group must keep equally many, so equal positions of all groups are one channel.
        width = weight.shape[1]
        tracker.coupling.tie(incoming, incoming[:width] * groups)
        incoming = incoming[:width]
    tracker.read(node, 1, incoming)
    tracker.bind(node.input[1], 0, outgoing)
    _bind_optional(tracker, node, 2, outgoing)
    tracker.give(node.output[0], 1, outgoing)


def _depthwise(tracker: Tracker, node: NodeProto, incoming: Channels | None) -> None:
    if incoming is None:
        return
    multiplier = tracker.constant(node, 1).shape[0] // len(incoming)
    outgoing = tuple(channel for channel in incoming for _ in range(multiplier))
    tracker.bind(node.input[1], 0, outgoing)
    _bind_optional(tracker, node, 2, outgoing)
    tracker.group_counts.append((node, incoming))
    tracker.give(node.output[0], 1, outgoing)


def _conv_transpose(tracker: Tracker, node: NodeProto) -> None:
    weight = tracker.constant(node, 1)
    if attribute(node, "group", 1) != 1:
        raise OpaqueError
    labels = _input(tracker, node, axis=1)
    outgoing = tracker.fresh(node, weight.shape[1])
    tracker.read(node, 0, labels.channels if labels else None)
    tracker.bind(node.input[1], 1, outgoing)
    _bind_optional(tracker, node, 2, outgoing)
    tracker.give(node.output[0], 1, outgoing)


def _gemm(tracker: Tracker, node: NodeProto) -> None:
    weight = tracker.constant(node, 1)
    bias = tracker.constant(node, 2)
    labels = _input(tracker, node, axis=1)
    if attribute(node, "transA", 0):
        raise OpaqueError
    inner = 1 if attribute(node, "transB", 0) else 0
    outgoing = tracker.fresh(node, weight.shape[1 - inner])
    tracker.read(node, inner, labels.channels if labels else None)
    tracker.bind(node.input[1], 1 - inner, outgoing)
    if bias is not None and bias.ndim and bias.shape[-1] == len(outgoing):
        tracker.bind(node.input[2], bias.ndim - 1, outgoing)
    tracker.give(node.output[0], 1, outgoing)


def _matmul(tracker: Tracker, node: NodeProto) -> None:
    weight = tracker.constant(node, 1)
    rank = len(tracker.shape(node.input[0]))
    labels = _input(tracker, node, axis=rank - 1)
    if weight.ndim != 2 or rank < 2:
        raise OpaqueError
    outgoing = tracker.fresh(node, weight.shape[1])
    tracker.read(node, 0, labels.channels if labels else None)
    tracker.bind(node.input[1], 1, outgoing)
    tracker.give(node.output[0], rank - 1, outgoing)


def _per_channel(tracker: Tracker, node: NodeProto) -> None:
    """Normalisations whose statistics and parameters are of one channel each."""
    labels = _input(tracker, node, axis=1)
    if labels is None:
        return
    for position in range(1, len(node.input)):
        _bind_optional(tracker, node, position, labels.channels)
    tracker.give(node.output[0], 1, labels.channels)


def _unary(tracker: Tracker, node: NodeProto) -> None:
    labels = _input(tracker, node)
    if labels is not None:
        tracker.give(node.output[0], labels.axis, labels.channels)


def _spatial(tracker: Tracker, node: NodeProto) -> None:
    """Works within each channel; indices that count through all channels stop them."""
    labels = _input(tracker, node, axis=1)
    if len(node.output) > 1 and node.output[1]:
        raise OpaqueError
    if labels is not None:
        tracker.give(node.output[0], 1, labels.channels)


def _softmax(tracker: Tracker, node: NodeProto) -> None:
    labels = _input(tracker, node)
    if labels is None:
        return
    rank = len(tracker.shape(node.input[0]))
    if attribute(node, "axis", -1) % rank == labels.axis:
        raise OpaqueError
    tracker.give(node.output[0], labels.axis, labels.channels)


def _elementwise(tracker: Tracker, node: NodeProto) -> None:
    """Broadcasts; operands that have the channels each for itself tie them."""
    tracked = {name: tracker.labels[name] for name in node.input if name in tracker.labels}
    if not tracked:
        return
    shapes = {name: tracker.shape(name) for name in node.input}
    rank = max(len(shape) for shape in shapes.values())
    axes = {rank - len(shapes[name]) + labels.axis for name, labels in tracked.items()}
    if len(axes) > 1:
        raise OpaqueError
    axis = axes.pop()
    count = max(len(labels.channels) for labels in tracked.values())
    shared = next(labels for labels in tracked.values() if len(labels.channels) == count)
    for name, shape in shapes.items():
        own = axis - (rank - len(shape))
        if own < 0 or (shape[own] == 1 and name not in tracked):
            continue  # broadcast over the channels
        if name not in tracked:
            tracker.bind(name, own, shared.channels)
        elif len(tracked[name].channels) == count:
            tracker.coupling.tie(tracked[name].channels, shared.channels)
        else:
            tracker.freeze(tracked[name].channels, "one channel is spread over all others")
    tracker.give(node.output[0], axis, shared.channels)


def _concat(tracker: Tracker, node: NodeProto) -> None:
    tracked = [tracker.labels[name] for name in node.input if name in tracker.labels]
    if not tracked:
        return
    rank = len(tracker.shape(node.input[0]))
    axis = tracked[0].axis
    if attribute(node, "axis", 0) % rank != axis or any(part.axis != axis for part in tracked):
        raise OpaqueError
    channels: Channels = ()
    for name in node.input:
        part = tracker.labels.get(name)
        if part is None:
            whole = tracker.coupling.fresh(tracker.shape(name)[axis])
            tracker.freeze(whole, f"{name} is not made by a layer")
            part = Labels(axis, whole)
        channels += part.channels
    tracker.give(node.output[0], axis, channels)


def _pad(tracker: Tracker, node: NodeProto) -> None:
    labels = _input(tracker, node)
    if labels is None:
        return
    pads, axes = tracker.constant(node, 1), tracker.constant(node, 3)
    if pads is None:
        raise OpaqueError
    padded = range(len(pads) // 2) if axes is None else axes.tolist()
    rank = len(tracker.shape(node.input[0]))
    for position, axis in enumerate(padded):
        if axis % rank == labels.axis and (pads[position] or pads[position + len(pads) // 2]):
            raise OpaqueError
    tracker.give(node.output[0], labels.axis, labels.channels)


def _resize(tracker: Tracker, node: NodeProto) -> None:
    labels = _input(tracker, node)
    if labels is None:
        return
    scales = tracker.constant(node, 2)
    if scales is None or len(scales) <= labels.axis or scales[labels.axis] != 1:
        raise OpaqueError
    tracker.give(node.output[0], labels.axis, labels.channels)


def _flatten(tracker: Tracker, node: NodeProto) -> None:
    labels = _input(tracker, node)
    if labels is None:
        return
    shape = tracker.shape(node.input[0])
    first = attribute(node, "axis", 1) % len(shape)
    if first > labels.axis:
        raise OpaqueError
    tracker.give(node.output[0], 1, _flattened(labels, shape, first))


def _flattened(labels: Labels, shape: tuple[int, ...], first: int) -> Channels:
    """The channels of the axes from `first` on, laid out as one axis."""
    inner = prod(shape[labels.axis + 1 :])
    block = tuple(channel for channel in labels.channels for _ in range(inner))
    return block * prod(shape[first : labels.axis])


def _reshape(tracker: Tracker, node: NodeProto) -> None:
    labels = _input(tracker, node)
    if labels is None:
        return
    target = tracker.constant(node, 1)
    before, after = tracker.shape(node.input[0]), tracker.shape(node.output[0])
    axis = labels.axis
    if before[: axis + 1] == after[: axis + 1]:
        channels = labels.channels
    elif len(after) == 2 and before[0] == after[0] and axis > 0:
        channels, axis = _flattened(labels, before, 1), 1
    else:
        raise OpaqueError
    if target[axis] > 0:
        tracker.reshapes.append((node, axis, channels))
    tracker.give(node.output[0], axis, channels)


def _squeeze(tracker: Tracker, node: NodeProto) -> None:
    labels = _input(tracker, node)
    if labels is None:
        return
    axes = tracker.axes(node, len(tracker.shape(node.input[0])))
    if axes is None or labels.axis in axes:
        raise OpaqueError
    axis = labels.axis - sum(gone < labels.axis for gone in axes)
    tracker.give(node.output[0], axis, labels.channels)


def _unsqueeze(tracker: Tracker, node: NodeProto) -> None:
    labels = _input(tracker, node)
    if labels is None:
        return
    rank = len(tracker.shape(node.output[0]))
    added = tracker.axes(node, rank) or []
    kept = [axis for axis in range(rank) if axis not in added]
    tracker.give(node.output[0], kept[labels.axis], labels.channels)


def _transpose(tracker: Tracker, node: NodeProto) -> None:
    labels = _input(tracker, node)
    if labels is None:
        return
    rank = len(tracker.shape(node.input[0]))
    order = list(attribute(node, "perm", list(range(rank))[::-1]))
    tracker.give(node.output[0], order.index(labels.axis), labels.channels)


def _reduce(tracker: Tracker, node: NodeProto) -> None:
    labels = _input(tracker, node)
    if labels is None:
        return
    axes = tracker.axes(node, len(tracker.shape(node.input[0])))
    if axes is None or labels.axis in axes:
        raise OpaqueError
    kept = attribute(node, "keepdims", 1)
    axis = labels.axis - (0 if kept else sum(gone < labels.axis for gone in axes))
    tracker.give(node.output[0], axis, labels.channels)


_UNARY: Final = (
    *("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Softplus", "Softsign"),
    *("Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Erf", "Gelu", "Mish", "Clip"),
    *("Exp", "Log", "Neg", "Abs", "Sqrt", "Reciprocal", "Cast", "Identity", "Dropout"),
)
_POOLS: Final = (
    *("MaxPool", "AveragePool", "LpPool"),
    *("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
)
FLOWS: Final[dict[str, Flow]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _per_channel,
    "InstanceNormalization": _per_channel,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Concat": _concat,
    "Pad": _pad,
    "Resize": _resize,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_POOLS, _spatial),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu"), _elementwise),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL2"), _reduce),
}
"""By operator type of the standard's own domain."""
