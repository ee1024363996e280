"""One layer as two thin ones: a product of rank r in place of a full matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fitment_compress.graph import constants
from fitment_compress.structure.graphs import replace_node, store, unused_name
from fitment_compress.structure.layers import Layer
from fitment_compress.structure.probe import Feeds, look

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto


@dataclass(frozen=True)
class Spectrum:
    """In which directions a layer's outputs vary.

    Attributes:
        directions: (outputs, outputs), one per column, the strongest first.
        energies: of each direction, descending, not negative.
        mean: of the outputs, which the directions start from; None: they start from the bias.
    """

    directions: NDArray[Any]
    energies: NDArray[Any]
    mean: NDArray[Any] | None = None

    def rank_for(self, share: float) -> int:
        """The least rank that keeps a share of the energy, 0 to 1."""
        import numpy as np

        total = np.cumsum(self.energies)
        return int(np.searchsorted(total, share * total[-1] * (1 - 1e-12))) + 1


def weight_spectrum(model: ModelProto, layer: Layer) -> Spectrum:
    """Of the weights alone: truncating it is the truncated singular value decomposition."""
    matrix = layer.matrix(constants(model)[layer.weight]).astype("float64")
    return _spectrum(matrix.T @ matrix, None)


def response_spectra(model: ModelProto, layers: Sequence[Layer], feeds: Feeds) -> list[Spectrum]:
    """Of what the layers give on samples.

    "Accelerating Very Deep Convolutional Networks for Classification and Detection" (Zhang et
    al., 2015, section 3.1): responses fill a smaller space than weights do.

    Args:
        model: not changed.
        layers: of this model.
        feeds: calibration samples, at least one.
    """
    import numpy as np

    names = [layer.node.output[0] for layer in layers]
    moments: list[Any] = [0.0] * len(layers)
    sums: list[Any] = [0.0] * len(layers)
    counts = [0] * len(layers)
    for seen in look(model, names, feeds):
        for index, layer in enumerate(layers):
            value = seen[names[index]]
            rows = layer.output_rows(value, np.arange(layer.positions(value))).astype(np.float64)
            moments[index] = moments[index] + rows.T @ rows
            sums[index] = sums[index] + rows.sum(axis=0)
            counts[index] += len(rows)
    spectra = []
    for layer, moment, total, count in zip(layers, moments, sums, counts, strict=True):
        mean = total / count if layer.bias else None
        centre = 0.0 if mean is None else np.outer(mean, mean)
        spectra.append(_spectrum(moment / count - centre, mean))
    return spectra


def split(model: ModelProto, layer: Layer, spectrum: Spectrum, rank: int) -> None:
    """Put two layers in the place of one, the first `rank` wide, the second giving its output.

    Args:
        model: changed in place; names of tensors stay.
        layer: of this model; out of date afterwards.
        spectrum: of this layer.
        rank: 1 to the layer's outputs.
    """
    import numpy as np

    stored = constants(model)
    basis = spectrum.directions[:, :rank]
    inner = layer.matrix(stored[layer.weight]).astype(np.float64) @ basis
    output = layer.node.output[0]
    between = unused_name(model, f"{output}.thin")
    parts = [store(model, f"{output}.in", _stored(layer, inner, first=True))]
    parts.append(store(model, f"{output}.out", _stored(layer, basis.T, first=False)))
    bias = []
    if layer.bias:
        old = stored[layer.bias].astype(np.float64)
        mean = spectrum.mean
        new = old if mean is None else mean + (old - mean) @ basis @ basis.T
        bias = [store(model, f"{output}.bias", new)]
    thin = _node(layer, [layer.node.input[0], parts[0]], between)
    wide = _node(layer, [between, parts[1], *bias], output)
    if layer.node.op_type == "Conv":
        thin.attribute.extend(layer.node.attribute)
    replace_node(model, layer.node, [thin, wide])


def _node(layer: Layer, inputs: list[str], output: str) -> NodeProto:
    from onnx import helper

    return helper.make_node(layer.node.op_type, inputs, [output], output)


def _stored(layer: Layer, matrix: NDArray[Any], first: bool) -> NDArray[Any]:
    """A (features, outputs) matrix as the first or the second layer stores it."""
    if layer.node.op_type != "Conv":
        return matrix
    kernel = layer.shape[1:] if first else (len(matrix), *[1] * (len(layer.shape) - 2))
    return matrix.T.reshape(-1, *kernel)


def _spectrum(moment: NDArray[Any], mean: NDArray[Any] | None) -> Spectrum:
    import numpy as np

    energies, directions = np.linalg.eigh(moment)
    return Spectrum(directions[:, ::-1], np.maximum(energies[::-1], 0.0), mean)
