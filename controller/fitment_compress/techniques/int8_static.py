"""Static 8-bit quantisation: weights and activations, ranges from calibration samples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import model_validator

from fitment_compress.errors import TechniqueError
from fitment_compress.techniques.base import Context, Options, Requirements, Technique

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

HISTOGRAM_SAMPLES: Final = 64
"""Calibration samples used by the histogram methods, which keep every intermediate tensor of
every sample in memory at once (onnxruntime issue 10503 reports 256 GB)."""

FOLLOWERS: Final = (
    *("Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("Flatten", "Reshape", "Transpose"),
)
"""Operators that become integer where their input is integer already. They widen no range, and
each float one between two integer convolutions costs a conversion there and back: with them the
shipped watch model gained 2.6x in place of 1.8x, at one point more accuracy."""

MINMAX_SAMPLES: Final = 200
"""Calibration samples used by minmax; more of them widen ranges and rarely help."""


class Int8StaticOptions(Options):
    """How to quantise.

    Attributes:
        activation, weight: `u8` is asymmetric, `s8` symmetric (zero points of 0, as TensorRT asks).
        per_channel: one scale per output channel of a weight instead of one per weight.
        reduce_range: 7-bit weights, so that pairs of products cannot saturate the 16-bit sums of
            x86 CPUs without VNNI.
        calibration: how activation ranges are found.
        operators: which operators become integer, and `FOLLOWERS` behind them. `all` quantises
            everything that the quantiser can, which destroys models with wide-range elementwise
            arithmetic: accuracies of 4 % at attractive latency have been seen. It exists to be
            measured and refused.
    """

    activation: Literal["u8", "s8"] = "u8"
    weight: Literal["s8", "u8"] = "s8"
    per_channel: bool = True
    reduce_range: bool = False
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    operators: tuple[str, ...] | Literal["all"] = ("Conv", "MatMul", "Gemm")

    @model_validator(mode="after")
    def _known_flavour(self) -> Int8StaticOptions:
        if (self.activation, self.weight) == ("s8", "u8"):
            raise ValueError("no runtime has kernels for s8 activations with u8 weights")
        return self


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
        return (
            f"{options.activation}{options.weight}",
            "per-channel" if options.per_channel else "per-tensor",
            *(("reduce-range",) if options.reduce_range else ()),
            *(("all-operators",) if options.operators == "all" else ()),
        )

    def apply(self, model: ModelProto, options: Int8StaticOptions, context: Context) -> ModelProto:
        """See `Technique.apply`."""
        import onnx
        from onnxruntime.quantization import (
            CalibrationMethod,
            QuantFormat,
            QuantType,
            quantize_static,
        )

        symmetric = options.activation == "s8"
        everything = options.operators == "all"
        output = context.scratch / "int8-static.onnx"
        quantize_static(
            model,
            output,
            _Reader(_spread(context.calibration, _sample_limit(options))),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=None if everything else [*options.operators, *FOLLOWERS],
            nodes_to_exclude=None if everything else stragglers(model, options.operators),
            per_channel=options.per_channel,
            reduce_range=options.reduce_range,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8 if options.weight == "s8" else QuantType.QUInt8,
            calibrate_method=getattr(CalibrationMethod, _METHODS[options.calibration]),
            extra_options={"ActivationSymmetric": symmetric},
        )
        quantised = onnx.load(output)
        if not any(node.op_type == "QuantizeLinear" for node in quantised.graph.node):
            raise TechniqueError("The quantiser found nothing in this model that it can quantise.")
        return quantised


_METHODS: Final = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}


def stragglers(model: ModelProto, operators: Collection[str]) -> list[str]:
    """The names of followers that follow no integer operator; unnamed nodes get names.

    Args:
        model: whose nodes are in topological order, as the standard asks.
        operators: the types that become integer anywhere.
    """
    integer: set[str] = set()
    excluded = []
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}.{index}"
        if node.op_type in operators or (node.op_type in FOLLOWERS and node.input[0] in integer):
            integer.update(node.output)
        elif node.op_type in FOLLOWERS:
            excluded.append(node.name)
    return excluded


def _sample_limit(options: Int8StaticOptions) -> int:
    return MINMAX_SAMPLES if options.calibration == "minmax" else HISTOGRAM_SAMPLES


def _spread(
    feeds: Sequence[Mapping[str, NDArray[Any]]], limit: int
) -> list[Mapping[str, NDArray[Any]]]:
    """At most `limit` feeds from the whole length: data files are often sorted."""
    step = max(1.0, len(feeds) / limit)
    return [feeds[int(index * step)] for index in range(min(limit, len(feeds)))]


class _Reader:
    """Calibration feeds in the shape that onnxruntime's calibrators read them."""

    def __init__(self, feeds: Sequence[Mapping[str, NDArray[Any]]]) -> None:
        self._feeds: Iterator[Mapping[str, NDArray[Any]]] = iter(feeds)

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        return next(self._feeds, None)
