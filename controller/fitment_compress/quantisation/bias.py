"""Empirical bias correction: layers of a quantised model get back the means that rounding moved.

From Nagel et al., "Data-free quantization through weight equalization and bias correction", 2019,
section 4.2: rounding a layer's weights shifts the mean of each of its outputs, because the inputs
of a layer behind a ReLU are not centred. The shift is measured here, not derived, and layers are
corrected in their order, so that each is measured behind corrected ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from fitment_compress.errors import TechniqueError
from fitment_compress.quantisation.calibration import Feeds, spread
from fitment_compress.quantisation.probe import Probe
from fitment_compress.quantisation.sensitivity import noise_ratio, run_all

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

LAYERS: Final = ("Conv", "Gemm")

SAMPLES: Final = 64
"""Samples for the means, and as many to judge; each layer runs all of them."""

Samples = Sequence[Mapping[str, "NDArray[Any]"]]


class NothingToCorrect(TechniqueError):
    """There is no bias to move, or nothing to measure by."""


def nearer_if_possible(
    model: ModelProto, reference: ModelProto, feeds: Feeds
) -> tuple[ModelProto, str]:
    """`nearer`, for steps that can do without: where there is nothing to correct, biases stay."""
    try:
        return nearer(model, reference, feeds)
    except NothingToCorrect as nothing:
        return model, f"Biases stay: {nothing.problem}"


def nearer(model: ModelProto, reference: ModelProto, feeds: Feeds) -> tuple[ModelProto, str]:
    """The corrected model, if its outputs are nearer to the reference's; otherwise `model`.

    Every other sample tells the means, and the rest of them whether it helped: clipped ranges, for
    one, move means that a bias cannot bring back.

    Args:
        model: with QuantizeLinear/DequantizeLinear pairs, in topological order. Not changed.
        reference: the same network in floating point.
        feeds: single samples.

    Returns:
        The model, and a sentence about what was done.

    Raises:
        NothingToCorrect: there are too few samples, or no integer layer of this name has a bias.
    """
    samples = list(spread(feeds, 2 * SAMPLES))
    if len(samples) < 2:
        raise NothingToCorrect(
            "Bias correction needs two calibration samples at least.", "Give more."
        )
    corrected = type(model)()
    corrected.CopyFrom(model)
    count = correct_biases(corrected, reference, samples[::2])
    if not count:
        raise NothingToCorrect(
            "No integer layer with a bias has a counterpart of its name and width to be corrected "
            "by.",
            "Put the step right behind the one that quantises.",
        )
    exact = run_all(reference, samples[1::2])
    before = noise_ratio(exact, run_all(model, samples[1::2]))
    after = noise_ratio(exact, run_all(corrected, samples[1::2]))
    told = f"from {before:.3g} to {after:.3g} of the outputs' power"
    if after >= before:
        return model, f"Biases stay: correcting {count} layers moves the noise {told}."
    return corrected, f"Biases of {count} layers corrected: the noise goes {told}."


def correct_biases(model: ModelProto, reference: ModelProto, samples: Samples) -> int:
    """Move the biases of a quantised model so that its layers have their means again.

    Args:
        model: with QuantizeLinear/DequantizeLinear pairs, in topological order; changed.
        reference: the same network in floating point. Layers are matched by their names.
        samples: feeds of single samples.

    Returns:
        How many layers were corrected.
    """
    exact = {node.name: node for node in reference.graph.node if node.op_type in LAYERS}
    matched = [
        node
        for node in model.graph.node
        if node.name in exact and exact[node.name].op_type == node.op_type
    ]
    quantised = [node for node in matched if _bias(model, node) is not None]
    if not quantised:
        return 0
    targets = {node.name: exact[node.name].output[0] for node in quantised}
    expected = _means(reference, targets.values(), samples)
    corrected = 0
    for node in quantised:
        target = expected[targets[node.name]]
        found = _means(model, [node.output[0]], samples)[node.output[0]]
        if found.shape == target.shape:
            _shift(model, node, target - found)
            corrected += 1
    return corrected


def _means(model: ModelProto, names: Iterable[str], samples: Samples) -> dict[str, NDArray[Any]]:
    """The mean of each channel (axis 1) of tensors over samples and positions, float64."""
    import numpy as np

    probe = Probe(model, list(names))
    sums: dict[str, Any] = dict.fromkeys(probe.names, 0.0)
    counts = dict.fromkeys(probe.names, 0)
    for sample in samples:
        for name, values in probe.run(sample).items():
            channels = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
            sums[name] = sums[name] + channels.sum(axis=1, dtype=np.float64)
            counts[name] += channels.shape[1]
    return {name: sums[name] / counts[name] for name in probe.names}


def _bias(model: ModelProto, node: NodeProto) -> NodeProto | None:
    """The DequantizeLinear that gives an integer layer its bias, stored and no other's bias too."""
    if len(node.input) < 3:
        return None
    stored = {tensor.name for tensor in model.graph.initializer}
    readers = sum(node.input[2] in other.input for other in model.graph.node)
    makers: list[NodeProto] = [other for other in model.graph.node if node.input[2] in other.output]
    for maker in makers:
        if maker.op_type == "DequantizeLinear" and readers == 1 and maker.input[0] in stored:
            return maker
    return None


def _shift(model: ModelProto, node: NodeProto, shift: NDArray[Any]) -> None:
    """Add float64[channels] to the bias of a layer, to the nearest of its own steps."""
    import numpy as np
    from onnx import numpy_helper

    source = _bias(model, node)
    assert source is not None
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    tensor = stored[source.input[0]]
    scale = numpy_helper.to_array(stored[source.input[1]]).astype(np.float64)
    steps = numpy_helper.to_array(tensor) + np.rint(shift / scale)
    limits = np.iinfo(np.int32)
    whole = np.clip(steps, limits.min, limits.max).astype(np.int32)
    tensor.CopyFrom(numpy_helper.from_array(whole, tensor.name))
