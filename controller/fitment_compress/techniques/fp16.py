"""Half-precision weights and arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fitment_compress.techniques.base import Context, Options, Requirements, Technique

if TYPE_CHECKING:
    from onnx import ModelProto


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

        # Shapes were inferred when the model was cleaned, or could not be; neither is worth a
        # second attempt that may fail.
        converted: ModelProto = convert_float_to_float16(
            model, keep_io_types=True, disable_shape_infer=True
        )
        return converted
