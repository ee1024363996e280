"""Bias correction of a quantised model against the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fitment_compress.errors import TechniqueError
from fitment_compress.quantisation.bias import nearer
from fitment_compress.quantisation.placement import name_nodes
from fitment_compress.techniques.base import Context, Options, Requirements, Technique

if TYPE_CHECKING:
    from onnx import ModelProto


class BiasCorrectOptions(Options):
    """There is nothing to choose."""


class BiasCorrect(Technique[BiasCorrectOptions]):
    """Layers of a quantised model get back the means that they have in the source.

    Steps that change what a layer gives (`equalise`, retraining) leave no counterpart to compare
    it with; behind them `correct_bias` of `int8-static` compares with the model it quantised.
    """

    name = "bias-correct"
    summary = "biases that undo what rounding did to the means; after int8"
    options = BiasCorrectOptions

    def needs(self, options: BiasCorrectOptions) -> Requirements:
        """A quantised model."""
        return Requirements(any_operator=("DequantizeLinear",))

    def traits(self, options: BiasCorrectOptions) -> tuple[str, ...]:
        """`bias-corrected`."""
        return ("bias-corrected",)

    def apply(self, model: ModelProto, options: BiasCorrectOptions, context: Context) -> ModelProto:
        """See `Technique.apply`."""
        import onnx

        if context.source is None:
            raise TechniqueError("Bias correction needs the source model to compare with.")
        source = onnx.load(context.source)
        name_nodes(source)
        corrected, note = nearer(model, source, context.calibration)
        context.findings.notes.append(note)
        return corrected
