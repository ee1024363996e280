"""Cross-layer equalisation: the channels of a layer get weights of like range, for nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from fitment_compress.clean import TOLERANCE, difference
from fitment_compress.errors import TechniqueError
from fitment_compress.graph import (
    attribute,
    constants,
    drop_unused_initializers,
    replace_initializer,
)
from fitment_compress.quantisation.probe import Probe
from fitment_compress.techniques.base import Context, Options, Requirements, Technique

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

LAYERS: Final = ("Conv", "Gemm")
HOMOGENEOUS: Final = (
    *("Relu", "LeakyRelu", "PRelu", "Identity", "Flatten"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
)
"""Operators that keep channels apart and for which f(s x) = s f(x) with every s > 0."""

SWEEPS: Final = 200
CONVERGED: Final = 1e-3
"""Largest logarithm of a factor in the last sweep."""

_CHECKED_SAMPLES: Final = 4


class EqualiseOptions(Options):
    """What may be changed.

    Attributes:
        clip: `keep` leaves layers around Clip (ReLU6) as they are, because a ceiling is not moved
            by the factors; `relu` replaces Clip with a floor of 0 by Relu first, which changes
            the function where the ceiling was reached.
    """

    clip: Literal["keep", "relu"] = "keep"


class Equalise(Technique[EqualiseOptions]):
    """Factors per channel are moved from one layer to the next until ranges of weights match.

    A quantiser that has one scale for many channels loses the channels with small weights, as in
    MobileNets. Between layers that only meet across ReLU and the like, a channel may be divided
    by any positive number and multiplied again: the function stays, the ranges do not. From Nagel
    et al., "Data-free quantization through weight equalization and bias correction", 2019,
    section 4.1; here the layers may also meet in sums, whose summands share their factors.
    """

    name = "equalise"
    summary = "channels of like weight range by moving factors between layers; before int8"
    options = EqualiseOptions

    def needs(self, options: EqualiseOptions) -> Requirements:
        """Layers with weights."""
        return Requirements(any_operator=LAYERS, constant_weights=True)

    def traits(self, options: EqualiseOptions) -> tuple[str, ...]:
        """`equalised`."""
        return ("equalised",)

    def apply(self, model: ModelProto, options: EqualiseOptions, context: Context) -> ModelProto:
        """See `Technique.apply`."""
        if options.clip == "relu":
            _replace_clips(model)
        samples = context.calibration[:_CHECKED_SAMPLES]
        names = [value.name for value in model.graph.output]
        before = [Probe(model, names).run(sample) for sample in samples]
        layers = _layers(model)
        joints = find_joints(model, layers)
        if not joints:
            raise TechniqueError(
                "No two layers of this model meet across ReLU, pooling and sums alone, so no "
                "factor can be moved between them."
            )
        widest = equalise(joints)
        for layer in layers.values():
            _store(model, layer)
        after = [Probe(model, names).run(sample) for sample in samples]
        for old, new in zip(before, after, strict=True):
            changed = difference([*old.values()], [*new.values()])
            if changed > TOLERANCE:
                raise TechniqueError(
                    f"Equalising changed the outputs by {changed:.2g} of their largest value. "
                    "Report the model; nothing should change."
                )
        context.findings.notes.append(
            f"{len(joints)} groups of layers equalised; the largest factor was {widest:.3g}."
        )
        return model


@dataclass(eq=False)
class Layer:
    """One convolution or matrix product.

    Attributes:
        node: as in the graph.
        weight: float64[outputs, inputs per group, kernel elements]; changed while working.
        bias: float64[outputs], or None.
        groups: of a convolution; the outputs of a group see its inputs only.
    """

    node: NodeProto
    weight: NDArray[Any]
    bias: NDArray[Any] | None
    groups: int = 1

    def outputs(self) -> int:
        """How many channels it makes."""
        return int(self.weight.shape[0])

    def inputs(self) -> int:
        """How many channels or features it reads."""
        return int(self.weight.shape[1]) * self.groups

    def output_ranges(self) -> NDArray[Any]:
        """The largest magnitude among the weights of each output channel, float64[outputs]."""
        ranges: NDArray[Any] = abs(self.weight).max(axis=(1, 2))
        return ranges

    def input_ranges(self, channels: int) -> NDArray[Any]:
        """The same of each of the `channels` it reads, which may be several features each."""
        ranges: NDArray[Any] = self._by_input().max(axis=(1, 3)).reshape(channels, -1).max(axis=1)
        return ranges

    def divide_outputs(self, factors: NDArray[Any]) -> None:
        """Make channels smaller by float64[outputs]."""
        self.weight /= factors[:, None, None]
        if self.bias is not None:
            self.bias /= factors

    def multiply_inputs(self, factors: NDArray[Any]) -> None:
        """Expect channels to be smaller by float64[channels]."""
        each = factors.repeat(self.inputs() // len(factors)).reshape(self.groups, 1, -1, 1)
        shaped = self.weight.reshape(self.groups, -1, *self.weight.shape[1:])
        self.weight = (shaped * each).reshape(self.weight.shape)

    def _by_input(self) -> NDArray[Any]:
        shaped: NDArray[Any] = abs(self.weight.reshape(self.groups, -1, *self.weight.shape[1:]))
        return shaped


@dataclass(eq=False)
class Joint:
    """Tensors that must share one factor per channel, between the layers around them."""

    producers: list[Layer] = field(default_factory=list)
    consumers: list[Layer] = field(default_factory=list)
    open: bool = False

    def fits(self) -> bool:
        """Whether factors can be moved: layers alone on both sides, and as many channels."""
        if self.open or not self.producers or not self.consumers:
            return False
        channels = self.producers[0].outputs()
        return all(layer.outputs() == channels for layer in self.producers) and all(
            layer.inputs() % channels == 0 for layer in self.consumers
        )

    def step(self) -> NDArray[Any]:
        """Move the factors that make ranges match on both sides; float64[channels].

        With one layer on each side it is equation 11 of the paper, s = sqrt(r1 r2) / r2, with the
        geometric mean in place of each range where there are several. Channels without weights on
        one side keep what they have.
        """
        import numpy as np

        channels = self.producers[0].outputs()
        made = np.array([layer.output_ranges() for layer in self.producers])
        read = np.array([layer.input_ranges(channels) for layer in self.consumers])
        live = (made > 0).all(axis=0) & (read > 0).all(axis=0)
        factors = np.ones(channels)
        logs = np.log(made[:, live]).mean(axis=0) - np.log(read[:, live]).mean(axis=0)
        factors[live] = np.exp(logs / 2)
        for layer in self.producers:
            layer.divide_outputs(factors)
        for layer in self.consumers:
            layer.multiply_inputs(factors)
        return factors


def equalise(joints: list[Joint]) -> float:
    """Sweep over the joints until nothing moves; the largest factor of all, or its inverse."""
    import numpy as np

    totals = {id(joint): np.zeros(joint.producers[0].outputs()) for joint in joints}
    for _ in range(SWEEPS):
        moved = 0.0
        for joint in joints:
            logs = np.log(joint.step())
            totals[id(joint)] += logs
            moved = max(moved, float(abs(logs).max()))
        if moved < CONVERGED:
            break
    return float(np.exp(max(abs(total).max() for total in totals.values())))


def find_joints(model: ModelProto, layers: dict[str, Layer]) -> list[Joint]:
    """Where factors can be moved.

    Args:
        model: whose nodes are in topological order.
        layers: by the name of their output.
    """
    roots: dict[str, str] = {}

    def root(name: str) -> str:
        while roots.setdefault(name, name) != name:
            name = roots[name]
        return name

    for node in model.graph.node:
        if node.output[0] not in layers and _passes(node):
            read = node.input if node.op_type == "Add" else node.input[:1]
            for name in read:
                roots[root(name)] = root(node.output[0])
    joints: dict[str, Joint] = {}

    def joint(name: str) -> Joint:
        return joints.setdefault(root(name), Joint())

    for node in model.graph.node:
        layer = layers.get(node.output[0])
        if layer is not None:
            joint(node.output[0]).producers.append(layer)
            joint(node.input[0]).consumers.append(layer)
        elif not _passes(node):
            for name in (*node.input, *node.output):
                joint(name).open = True
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        joint(value.name).open = True
    return [found for found in joints.values() if found.fits()]


def _passes(node: NodeProto) -> bool:
    """Whether factors of the input are factors of the output, channel by channel."""
    if node.op_type == "Flatten":
        return bool(attribute(node, "axis", 1) == 1)
    return node.op_type in HOMOGENEOUS or node.op_type == "Add"


def _layers(model: ModelProto) -> dict[str, Layer]:
    """The layers with weights of their own, by the name of their output."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = [name for node in model.graph.node for name in node.input]
    layers = {}
    for node in model.graph.node:
        own = [name for name in node.input[1:] if name]
        if node.op_type not in LAYERS or any(
            name not in stored or readers.count(name) > 1 for name in own
        ):
            continue
        values = [numpy_helper.to_array(stored[name]) for name in own]
        layer = _layer(node, values[0], values[1] if len(values) > 1 else None)
        if layer is not None:
            layers[node.output[0]] = layer
    return layers


def _layer(node: NodeProto, weight: NDArray[Any], bias: NDArray[Any] | None) -> Layer | None:
    import numpy as np

    if weight.dtype != np.float32 or (node.op_type == "Gemm" and attribute(node, "transA", 0)):
        return None
    if node.op_type == "Gemm":
        weight = weight if attribute(node, "transB", 0) else weight.T
    shaped = weight.reshape(*weight.shape[:2], -1).astype(np.float64)
    if bias is not None and bias.size != len(shaped):
        return None
    offsets = None if bias is None else bias.reshape(-1).astype(np.float64)
    return Layer(node, shaped, offsets, attribute(node, "group", 1))


def _store(model: ModelProto, layer: Layer) -> None:
    """Write a layer's weight and bias back under their names."""
    import numpy as np

    stored = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    name = layer.node.input[1]
    weight = layer.weight
    if layer.node.op_type == "Gemm" and not attribute(layer.node, "transB", 0):
        weight = weight[:, :, 0].T
    replace_initializer(model, name, weight.reshape(stored[name]).astype(np.float32))
    if layer.bias is not None:
        name = layer.node.input[2]
        replace_initializer(model, name, layer.bias.reshape(stored[name]).astype(np.float32))


def _replace_clips(model: ModelProto) -> None:
    """Relu in place of every Clip whose floor is 0."""
    known = constants(model)
    for node in model.graph.node:
        if node.op_type != "Clip" or len(node.input) < 2:
            continue
        floor = known.get(node.input[1])
        if floor is not None and floor.size == 1 and not floor.any():
            del node.input[1:]
            node.op_type = "Relu"
    drop_unused_initializers(model)
