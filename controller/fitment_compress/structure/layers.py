"""Convolutions and matrix products behind one face: a matrix applied to rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from fitment_compress.graph import attribute, replace_initializer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto


@dataclass(frozen=True)
class Layer:
    """A convolution without groups, a Gemm, or a MatMul with a stored second operand.

    Attributes:
        weight, bias: names of initializers; `bias` is empty where there is none.
        shape: of the stored weight.
    """

    node: NodeProto
    weight: str
    bias: str
    shape: tuple[int, ...]

    @property
    def features(self) -> int:
        """How many numbers each output is computed from."""
        return prod(self.shape) // self.outputs

    @property
    def outputs(self) -> int:
        """How many numbers are computed at each position."""
        return self.shape[0] if self._output_first else self.shape[-1]

    @property
    def _output_first(self) -> bool:
        return self.node.op_type == "Conv" or bool(attribute(self.node, "transB", 0))

    def matrix(self, weight: NDArray[Any]) -> NDArray[Any]:
        """The stored weight as (features, outputs)."""
        return weight.reshape(self.outputs, -1).T if self._output_first else weight

    def stored(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """A (features, outputs) matrix as the weight is stored."""
        return (matrix.T if self._output_first else matrix).reshape(self.shape)

    def positions(self, output: NDArray[Any]) -> int:
        """At how many positions the layer computed its output, samples of a batch included."""
        return output.size // self.outputs

    def input_rows(self, value: NDArray[Any], chosen: NDArray[Any]) -> NDArray[Any]:
        """What the layer reads at the chosen positions, as (positions, features)."""
        if self.node.op_type != "Conv":
            rows: NDArray[Any] = value.reshape(-1, value.shape[-1])[chosen]
            return rows
        return _patches(self.node, value, self.shape[2:], chosen)

    def output_rows(self, value: NDArray[Any], chosen: NDArray[Any]) -> NDArray[Any]:
        """What a layer of any width gave at the chosen positions, as (positions, outputs)."""
        import numpy as np

        last = np.moveaxis(value, 1, -1) if self.node.op_type == "Conv" else value
        rows: NDArray[Any] = last.reshape(-1, last.shape[-1])[chosen]
        return rows

    def store(self, model: ModelProto, matrix: NDArray[Any], bias: NDArray[Any] | None) -> None:
        """Put new numbers in place of the old; None where the layer has no bias."""
        import numpy as np

        replace_initializer(model, self.weight, self.stored(matrix).astype(np.float32))
        if bias is not None:
            replace_initializer(model, self.bias, bias.astype(np.float32))


def layer_of(node: NodeProto, stored: Mapping[str, NDArray[Any]]) -> Layer | None:
    """The node as a layer; None where it is something else.

    Args:
        node: of the main graph.
        stored: the model's initializers.
    """
    if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in stored:
        return None
    weight = stored[node.input[1]]
    if str(weight.dtype) != "float32" or (node.op_type == "MatMul" and weight.ndim != 2):
        return None
    bias = node.input[2] if len(node.input) > 2 else ""
    if node.op_type == "Conv":
        padded = attribute(node, "auto_pad", b"NOTSET")
        if attribute(node, "group", 1) != 1 or padded not in (b"NOTSET", b"VALID"):
            return None
    if node.op_type == "Gemm":
        scaled = attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0
        if scaled or attribute(node, "transA", 0):
            return None
    layer = Layer(node, node.input[1], bias, weight.shape)
    if bias and (bias not in stored or stored[bias].shape != (layer.outputs,)):
        return None
    return layer


def _patches(
    node: NodeProto, value: NDArray[Any], kernel: tuple[int, ...], chosen: NDArray[Any]
) -> NDArray[Any]:
    import numpy as np

    rank = len(kernel)
    pads = list(attribute(node, "pads", [0] * 2 * rank))
    strides = attribute(node, "strides", [1] * rank)
    dilations = attribute(node, "dilations", [1] * rank)
    around = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    reach = tuple((size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(value, around), reach, axis=tuple(range(2, 2 + rank))
    )
    strided = (slice(None), slice(None), *(slice(None, None, step) for step in strides))
    dilated = tuple(slice(None, None, step) for step in dilations)
    windows = np.moveaxis(windows[(*strided, *dilated)], 1, 1 + rank)
    where = np.unravel_index(chosen, windows.shape[: 1 + rank])
    rows: NDArray[Any] = windows[where].reshape(len(chosen), -1)
    return rows
