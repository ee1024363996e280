"""Static 8-bit quantisation: weights and activations, ranges from calibration samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from fitment_compress.quantisation.bias import nearer_if_possible
from fitment_compress.quantisation.placement import find_layers, name_nodes
from fitment_compress.quantisation.qdq import calibrate_layers, quantise
from fitment_compress.techniques.base import Context, Options, Requirements, Technique

if TYPE_CHECKING:
    from onnx import ModelProto


class Int8StaticOptions(Options):
    """How to quantise.

    Attributes:
        activation, weight: `u8` is asymmetric. `s8` activations are symmetric unless `symmetric`
            says otherwise.
        symmetric: zero points of 0 for activations, as TensorRT asks; None means for `s8`. It costs
            onnxruntime its fusions of ReLU, which needs the zero point at the end of the range.
        per_channel: one scale per output channel of a weight instead of one per weight.
        reduce_range: 7-bit weights, so that pairs of products cannot saturate the 16-bit sums of
            x86 CPUs without VNNI.
        calibration: how activation ranges are found; see `quantisation.calibration`.
        percentile: share of the magnitudes, in percent, that `percentile` keeps within the range.
        operators: which operators become integer, and followers behind them. `all` quantises
            everything that the quantiser can, which destroys models with wide-range elementwise
            arithmetic: accuracies of 4 % at attractive latency have been seen. It exists to be
            measured and refused.
        stem: `float` keeps convolutions of the model's input in floating point whose outputs sum
            up few products; see `quantisation.placement`.
        correct_bias: give layers back the means that rounding moved, where that brings the outputs
            nearer to those of the model before; see `quantisation.bias`.
    """

    activation: Literal["u8", "s8"] = "u8"
    weight: Literal["s8", "u8"] = "s8"
    symmetric: bool | None = None
    per_channel: bool = True
    reduce_range: bool = False
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    percentile: Annotated[float, Field(gt=50.0, le=100.0)] = 99.99
    operators: tuple[str, ...] | Literal["all"] = ("Conv", "MatMul", "Gemm")
    stem: Literal["float", "integer"] = "float"
    correct_bias: bool = False

    @model_validator(mode="after")
    def _known_flavour(self) -> Int8StaticOptions:
        if (self.activation, self.weight) == ("s8", "u8"):
            raise ValueError("no runtime has kernels for s8 activations with u8 weights")
        return self

    def is_symmetric(self) -> bool:
        """Whether the zero points of activations are 0."""
        return self.activation == "s8" if self.symmetric is None else self.symmetric

    def flavour(self) -> tuple[str, ...]:
        """The traits of a model that was quantised like this."""
        usual = self.is_symmetric() == (self.activation == "s8")
        return (
            f"{self.activation}{self.weight}",
            "per-channel" if self.per_channel else "per-tensor",
            *(() if usual else ("symmetric" if self.is_symmetric() else "asymmetric",)),
            *(("reduce-range",) if self.reduce_range else ()),
            *(("all-operators",) if self.operators == "all" else ()),
            *(("bias-corrected",) if self.correct_bias else ()),
        )


class Int8Static(Technique[Int8StaticOptions]):
    """Weights and activations in 8 bits, written as QuantizeLinear/DequantizeLinear pairs.

    CPUs disagree about which flavour is fast and even about which is accurate, so the default
    recipes build several.
    """

    name = "int8-static"
    summary = "8-bit weights and activations, ranges from calibration samples"
    options = Int8StaticOptions

    def needs(self, options: Int8StaticOptions) -> Requirements:
        """The operators that are to become integer."""
        operators = () if options.operators == "all" else options.operators
        # Below opset 13 DequantizeLinear has no axis: per-channel files are written, and fail
        # only when they are loaded.
        return Requirements(opset=13, any_operator=operators)

    def traits(self, options: Int8StaticOptions) -> tuple[str, ...]:
        """Flavour and granularity."""
        return options.flavour()

    def apply(self, model: ModelProto, options: Int8StaticOptions, context: Context) -> ModelProto:
        """See `Technique.apply`."""
        name_nodes(model)
        layers = find_layers(model, options)
        ranges = calibrate_layers(model, layers, context.calibration, options)
        quantised = quantise(model, layers, ranges, options)
        if options.correct_bias:
            quantised, note = nearer_if_possible(quantised, model, context.calibration)
            context.findings.notes.append(note)
        return quantised
