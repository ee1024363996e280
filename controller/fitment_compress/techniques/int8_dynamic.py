"""Dynamic 8-bit quantisation: weights in advance, activations while running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import constants
from fitment_compress.techniques.base import Context, Options, Requirements, Technique

if TYPE_CHECKING:
    from onnx import ModelProto

OPERATORS: Final = ("MatMul", "Gemm", "LSTM")
"""Never Conv: ConvInteger has no kernel on some runtimes and is up to ten times slower than fp32
where it has one (onnxruntime issues 12558, 15888)."""

_DYNAMIC: Final = ("DynamicQuantizeLinear", "DynamicQuantizeLSTM")


class Int8DynamicOptions(Options):
    """How to quantise the weights.

    Attributes:
        per_channel: one scale per output channel.
        reduce_range: 7-bit weights for x86 CPUs without VNNI.
    """

    per_channel: bool = False
    reduce_range: bool = False


class Int8Dynamic(Technique[Int8DynamicOptions]):
    """8-bit weights of matrix products and LSTMs; activation ranges are found at run time."""

    name = "int8-dynamic"
    summary = "8-bit weights of matrix products and LSTMs, activation ranges at run time"
    options = Int8DynamicOptions

    def needs(self, options: Int8DynamicOptions) -> Requirements:
        """Matrix products or LSTMs with constant weights."""
        return Requirements(any_operator=OPERATORS, constant_weights=True)

    def traits(self, options: Int8DynamicOptions) -> tuple[str, ...]:
        """`dynamic`."""
        return ("dynamic", *(("reduce-range",) if options.reduce_range else ()))

    def apply(self, model: ModelProto, options: Int8DynamicOptions, context: Context) -> ModelProto:
        """See `Technique.apply`."""
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        _refuse_half_precision(model)
        output = context.scratch / "int8-dynamic.onnx"
        quantize_dynamic(
            model,
            output,
            op_types_to_quantize=list(OPERATORS),
            per_channel=options.per_channel,
            reduce_range=options.reduce_range,
            weight_type=QuantType.QInt8,
        )
        quantised = onnx.load(output)
        if not any(node.op_type in _DYNAMIC for node in quantised.graph.node):
            raise TechniqueError(
                "The quantiser found nothing in this model that it can quantise: a Gemm must have "
                "alpha and beta of 1, and no transposed input. Leave int8-dynamic out."
            )
        return quantised


def _refuse_half_precision(model: ModelProto) -> None:
    """DynamicQuantizeLinear knows 32-bit floats only; the file would fail when loaded."""
    known = constants(model)
    for node in model.graph.node:
        weight = known.get(node.input[1]) if len(node.input) > 1 else None
        if node.op_type in OPERATORS and weight is not None and weight.dtype == "float16":
            raise TechniqueError(
                f"{node.op_type} {node.name or node.output[0]} computes in half precision, which "
                "int8-dynamic cannot read. Use either fp16 or int8-dynamic."
            )
