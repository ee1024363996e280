"""Half-precision weights and arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import opset
from fitment_compress.techniques.base import Context, Options, Requirements, Technique

if TYPE_CHECKING:
    from onnx import ModelProto


HALF_SCALES_OPSET: Final = 19
"""The first in which QuantizeLinear and DequantizeLinear know half precision."""


class Fp16Options(Options):
    """There is nothing to choose: inputs and outputs keep their types."""


class Fp16(Technique[Fp16Options]):
    """Weights and activations in 16-bit floating point.

    On CPUs without half-precision kernels the runtime inserts casts and gets slower than fp32;
    accelerators and metered links are what it is for.
    """

    name = "fp16"
    summary = "weights and activations in 16-bit floating point"
    options = Fp16Options

    def needs(self, options: Fp16Options) -> Requirements:
        """Any model."""
        return Requirements()

    def traits(self, options: Fp16Options) -> tuple[str, ...]:
        """`fp16`."""
        return ("fp16",)

    def apply(self, model: ModelProto, options: Fp16Options, context: Context) -> ModelProto:
        """See `Technique.apply`."""
        from onnxruntime.transformers.float16 import convert_float_to_float16

        _refuse_integers(model)
        converted: ModelProto = convert_float_to_float16(
            _typed(model), keep_io_types=True, disable_shape_infer=True
        )
        return converted


def _typed(model: ModelProto) -> ModelProto:
    """With the types of inner tensors: operators that stay float get their casts by them."""
    from onnx import shape_inference

    try:
        typed: ModelProto = shape_inference.infer_shapes(model)
    except Exception:  # noqa: BLE001 - most models need no such cast; the runtime tells the others
        return model
    return typed


def _refuse_integers(model: ModelProto) -> None:
    """Quantisers' operators take 32-bit floats; the file would fail when loaded."""
    static = () if opset(model) >= HALF_SCALES_OPSET else ("QuantizeLinear", "DequantizeLinear")
    refused = {*static, "DynamicQuantizeLinear", "DynamicQuantizeLSTM"}
    found = sorted(refused.intersection(node.op_type for node in model.graph.node))
    if found:
        raise TechniqueError(
            f"{' and '.join(found)} of this quantised model take no half precision at opset "
            f"{opset(model)}. Use either fp16 or 8 bits."
        )
