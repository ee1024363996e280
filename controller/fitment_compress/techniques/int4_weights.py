"""4-bit weights for matrix products, expanded while running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import attribute, constants, drop_unused_initializers
from fitment_compress.techniques.base import Context, Options, Requirements, Technique

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto


class Int4WeightsOptions(Options):
    """How finely to scale.

    Attributes:
        block_size: weights along the inner axis that share one scale.
    """

    block_size: Literal[16, 32, 64, 128] = 32


class Int4Weights(Technique[Int4WeightsOptions]):
    """Weights of matrix products in 4 bits, rounded to nearest, one scale and zero per block.

    The operator is onnxruntime's MatMulNBits. It pays in size; whether it pays in speed depends
    on the CPU.
    """

    name = "int4-weights"
    summary = "4-bit weights of matrix products, expanded while running"
    options = Int4WeightsOptions

    def needs(self, options: Int4WeightsOptions) -> Requirements:
        """Matrix products with constant weights."""
        return Requirements(any_operator=("MatMul", "Gemm"), constant_weights=True)

    def traits(self, options: Int4WeightsOptions) -> tuple[str, ...]:
        """`int4` and `weights-only`."""
        return ("int4", "weights-only")

    def apply(self, model: ModelProto, options: Int4WeightsOptions, context: Context) -> ModelProto:
        """See `Technique.apply`."""
        from onnx import helper

        known = constants(model)
        nodes: list[NodeProto] = []
        for node in model.graph.node:
            weight = _weight(node, known)
            if weight is None:
                nodes.append(node)
            else:
                nodes.extend(_replacement(model, node, weight, options.block_size))
        if not any(node.op_type == "MatMulNBits" for node in nodes):
            raise TechniqueError(
                "No matrix product of this model multiplies with a plain matrix of 32-bit floats: "
                "two axes, no factors alpha and beta. Put the step before fp16, or leave it out."
            )
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        drop_unused_initializers(model)
        if not any(entry.domain == "com.microsoft" for entry in model.opset_import):
            model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return model


def _weight(node: NodeProto, known: dict[str, NDArray[Any]]) -> NDArray[Any] | None:
    """The constant weight of a plain matrix product as float32[K, N], or None."""
    if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in known:
        return None
    weight = known[node.input[1]]
    if weight.ndim != 2 or weight.dtype != "float32":
        return None
    if node.op_type == "Gemm":
        scaled = attribute(node, "alpha", 1.0) != 1.0 or attribute(node, "beta", 1.0) != 1.0
        if scaled or attribute(node, "transA", 0):
            return None
        return weight.T if attribute(node, "transB", 0) else weight
    return weight


def _replacement(
    model: ModelProto, node: NodeProto, weight: NDArray[Any], block_size: int
) -> list[NodeProto]:
    """MatMulNBits in place of `node`, followed by Add where `node` had a bias."""
    from onnx import helper, numpy_helper

    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    stem = node.output[0]
    tensors = dict(zip(("q4", "scales", "zeros"), quantise_blocks(weight, block_size), strict=True))
    names = [f"{stem}.{suffix}" for suffix in tensors]
    for name, values in zip(names, tensors.values(), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    product = helper.make_node(
        "MatMulNBits",
        [node.input[0], *names],
        [f"{stem}.product" if bias else stem],
        name=node.name,
        domain="com.microsoft",
        K=weight.shape[0],
        N=weight.shape[1],
        bits=4,
        block_size=block_size,
    )
    if bias is None:
        return [product]
    return [product, helper.make_node("Add", [product.output[0], bias], [stem])]


def quantise_blocks(
    weight: NDArray[Any], block_size: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Quantise to 4 bits, per output column and block of the inner axis, rounding to nearest.

    Args:
        weight: float32[K, N].
        block_size: rows per block; the last block is padded with zeroes.

    Returns:
        Packed weights uint8[N, blocks, block_size / 2] (low nibble first), scales
        float32[N, blocks] and packed zero points uint8[N, ceil(blocks / 2)], as the operator
        MatMulNBits of onnxruntime's contributed operators wants them.
    """
    import numpy as np

    inner, outer = weight.shape
    blocks = -(-inner // block_size)
    padded = np.zeros((outer, blocks * block_size), np.float32)
    padded[:, :inner] = weight.T
    grouped = padded.reshape(outer, blocks, block_size)
    low = np.minimum(grouped.min(axis=2), 0.0)
    high = np.maximum(grouped.max(axis=2), 0.0)
    scales = np.where(high > low, (high - low) / 15.0, 1.0).astype(np.float32)
    zeros = np.clip(np.rint(-low / scales), 0, 15).astype(np.uint8)
    levels = np.rint(grouped / scales[:, :, None]) + zeros[:, :, None]
    packed = _pack_nibbles(np.clip(levels, 0, 15).astype(np.uint8))
    return packed, scales, _pack_nibbles(zeros)


def _pack_nibbles(values: NDArray[Any]) -> NDArray[Any]:
    """Pairs of 4-bit values along the last axis in one byte, the first in the low nibble."""
    import numpy as np

    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)
    packed: NDArray[Any] = values[..., 0::2] | (values[..., 1::2] << 4)
    return packed
