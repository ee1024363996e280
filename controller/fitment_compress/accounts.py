"""What can be read off a model file without running it, in any format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fitment_compress.formats import ONNX
from fitment_compress.graph import count_parameters, dominant_precision, opset
from fitment_compress.macs import count_macs, peak_activation_bytes

if TYPE_CHECKING:
    from onnx import ModelProto

_INTEGER_OPERATORS: Final = frozenset(
    {
        *("QuantizeLinear", "DynamicQuantizeLinear", "MatMulNBits"),
        *("MatMulInteger", "DynamicQuantizeLSTM"),
    }
)


@dataclass(frozen=True)
class Account:
    """What a model file is.

    Attributes:
        precision: of most of its weights.
        is_integer: some of the arithmetic is meant to run on integers.
        parameters: stored numbers that were learnt, in whatever precision.
        macs: multiply-accumulates of one inference; None when shapes are unknown.
        opset: the ai.onnx opset; None in other formats.
        peak_activation_bytes: see `fitment_contract.portfolio.PortfolioEntry`; None when unknown.
    """

    precision: str
    is_integer: bool
    parameters: int
    macs: int | None
    opset: int | None = None
    peak_activation_bytes: int | None = None


def account_of(model: Any, file_format: str) -> Account:
    """The account of an `onnx.ModelProto`, or of the bytes of a .tflite file."""
    if file_format == ONNX:
        return _of_graph(model)
    from fitment_compress.converter.flatbuffer import file_facts

    facts = file_facts(model)
    return Account(facts.precision, facts.integer, facts.parameters, facts.macs)


def _of_graph(model: ModelProto) -> Account:
    return Account(
        precision=dominant_precision(model),
        is_integer=any(node.op_type in _INTEGER_OPERATORS for node in model.graph.node),
        parameters=count_parameters(model),
        macs=count_macs(model),
        opset=opset(model),
        peak_activation_bytes=peak_activation_bytes(model),
    )
